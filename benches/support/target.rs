//! Servers under test: child processes pinned to cores.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The core that servers run on.
pub(crate) const SERVER_CORE: &str = "0";

/// The variable that names another binary than the one that was built along.
const BINARY: &str = "WASM_EXEC_API_BINARY";

/// A running server. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Target {
    child: Child,
    pub(crate) url: String,
}

impl Target {
    /// The server on these cores (`0`, `0,1`, …), on a free port. What it logs goes nowhere, as
    /// under attack it logs much.
    pub(crate) fn server(cores: &str, arguments: &[&str]) -> Self {
        let mut command = pinned(cores);
        command.arg(binary()).args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::start(command.stderr(Stdio::null()))
    }

    /// Starts a server and waits for the line that says where it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let url = line.split([' ', ',']).find(|word| word.starts_with("http://"));
        Self { url: url.expect("it says where it listens").trim().to_owned(), child }
    }

    /// The server's process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program.
pub(crate) fn binary() -> OsString {
    let built = || OsString::from(env!("CARGO_BIN_EXE_wasm-exec-api"));
    std::env::var_os(BINARY).unwrap_or_else(built)
}

/// A command that runs on some cores.
pub(crate) fn pinned(cores: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]);
    command
}
