//! The servers that are compared, all on one core.

use std::path::Path;

use crate::target::{SERVER_CORE, Target, pinned};

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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says");
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>();
        kibibytes.expect("it is a number") << 10
    }
}
