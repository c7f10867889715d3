//! The servers that are compared, all on one core.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::target::{SERVER_CORE, Target, binary, pinned};

impl Target {
    /// The bare axum server.
    pub(crate) fn floor() -> Self {
        let this = std::env::current_exe().expect("it runs");
        Self::start(pinned(SERVER_CORE).arg(this).arg("--floor"))
    }

    /// The server with its store in memory.
    pub(crate) fn in_memory() -> Self {
        Self::server(SERVER_CORE, &["--memory"])
    }

    /// The server with its store in a directory.
    pub(crate) fn on(directory: &Path) -> Self {
        Self::server(SERVER_CORE, &["--data-directory", &directory.display().to_string()])
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Resident memory that is not of a file, in bytes.
    pub(crate) fn anonymous(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// What the kernel says of the process's memory, in bytes.
    fn status(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("Linux says");
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>();
        kibibytes.expect("it is a number") << 10
    }
}

/// Has the server's file read from the disk when it is started next. How large the pieces are in which
/// the kernel keeps it decides how much it maps for each page that is touched, and they are larger if
/// it was just written: the same server has up to 5 MiB more.
pub(crate) fn forget_program() {
    let file = File::open(binary()).expect("it is there");
    file.sync_all().expect("it is written");
    fadvise(&file, 0, None, Advice::DontNeed).expect("it is advice");
}
