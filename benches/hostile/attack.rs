//! A server under attack: started, watched while something is done to it, and how much memory it
//! took at most.

use std::process::{Command, Stdio};

use rustix::thread::gettid;

use crate::guests;
use crate::target::Target;
use crate::usage::Watch;

/// The most memory that servers took, by what was done to them.
#[derive(Debug, Default)]
pub(crate) struct Peaks(Vec<(&'static str, u64)>);

impl Peaks {
    /// Starts a server on some cores, with its store in memory and all guests registered, and has
    /// something done to it.
    pub(crate) fn attack(&mut self, name: &'static str, cores: &str, act: impl FnOnce(&Target)) {
        let server = Target::server(cores, &["--memory"]);
        guests::register_all(&server.url);
        let watch = Watch::start(server.process());
        act(&server);
        self.0.push((name, watch.finish()));
    }

    /// The most of all, and when.
    pub(crate) fn highest(&self) -> Option<(&'static str, u64)> {
        self.0.iter().copied().max_by_key(|(_, bytes)| *bytes)
    }
}

/// All cores, as `taskset` wants them.
pub(crate) fn all_cores() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("0-{}", count - 1)
}

/// Lets the calling thread run only while those that measure, which share its core, do not want to: what
/// they wait for there is not the server's. A low priority is not enough, since the kernel takes the core
/// away from a thread that has just begun, whatever its priority, only after milliseconds.
pub(crate) fn stand_back() {
    let thread = gettid().as_raw_nonzero().to_string();
    let mut command = Command::new("chrt");
    command.args(["--idle", "--pid", "0", &thread]).stdin(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => {}
        failed => eprintln!("warning: a thread keeps its priority: {failed:?}"),
    }
}
