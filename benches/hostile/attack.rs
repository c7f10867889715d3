//! A server under attack: started, watched while something is done to it, and how much memory it
//! took at most.

use rustix::process::setpriority_process;

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

/// Lets the calling thread run after those that measure, which share its core: what they wait for there
/// is not the server's.
pub(crate) fn stand_back() {
    const NICE: i32 = 19;
    // Linux applies the "process" priority of id 0 to the calling thread.
    if let Err(error) = setpriority_process(None, NICE) {
        eprintln!("warning: an attacker keeps its priority: {error}");
    }
}
