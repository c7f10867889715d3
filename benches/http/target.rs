//! Servers under test: child processes pinned to a core.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The core that servers run on; the load runs on [`LOAD_CORE`].
pub(crate) const SERVER_CORE: &str = "0";
/// The core that the load runs on.
pub(crate) const LOAD_CORE: &str = "1";

/// A running server. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Target {
    child: Child,
    pub(crate) url: String,
}

impl Target {
    /// The bare axum server.
    pub(crate) fn floor() -> Self {
        let this = std::env::current_exe().expect("it runs");
        Self::start(pinned(SERVER_CORE).arg(this).arg("--floor"))
    }

    /// The server with its store in memory.
    pub(crate) fn in_memory() -> Self {
        Self::server(&["--memory"])
    }

    /// The server with its store in a directory.
    pub(crate) fn on(directory: &Path) -> Self {
        Self::server(&["--data-directory", &directory.display().to_string()])
    }

    fn server(arguments: &[&str]) -> Self {
        let binary = env!("CARGO_BIN_EXE_wasm-exec-api");
        let mut command = pinned(SERVER_CORE);
        Self::start(command.arg(binary).args(["--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Starts a server and waits for the line that says where it listens.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let url = line.split([' ', ',']).find(|word| word.starts_with("http://"));
        Self { url: url.expect("it says where it listens").trim().to_owned(), child }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says");
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>();
        kibibytes.expect("it is a number") << 10
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs on one core.
pub(crate) fn pinned(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]);
    command
}
