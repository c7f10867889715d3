//! What the server does under attack: hostile guests, compile bombs, overload, sockets that are held
//! open, and hours of everything at once.
//!
//! `cargo bench --bench hostile` prints a Markdown table with a goal for each figure. The load runs
//! on one core. The server runs on another, or on all where guests are to take them all. The
//! variable `WASM_EXEC_API_BINARY` names another server than the one that was built along, and the
//! server's own variables (`WASM_EXEC_CONNECTIONS`, …) set it up.
//!
//! `-- --rounds N --seconds N` changes how long it takes; names of measurements run only those. The
//! soak runs only if it is named: `-- soak --minutes N`.

mod attack;
mod beside;
mod bombs;
#[path = "../support/client.rs"]
mod client;
mod compiling;
mod guests;
mod light;
mod memory;
mod overload;
#[path = "../support/report.rs"]
mod report;
mod soak;
mod sockets;
#[path = "../support/target.rs"]
mod target;
mod usage;

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use attack::Peaks;
use report::{mebibytes, row};

/// The core that the load runs on.
const LOAD_CORE: usize = 1;

/// How long and what to measure.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: usize,
    seconds: u64,
    minutes: u64,
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { rounds: 3, seconds: 5, minutes: 20, only: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse().ok());
                let positive = value.filter(|number| *number > 0);
                positive.ok_or_else(|| format!("{argument}: expected a number above 0"))
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number()? as usize,
                "--seconds" => options.seconds = number()?,
                "--minutes" => options.minutes = number()?,
                // What cargo says to every benchmark.
                "--bench" => {}
                name => options.only.push(name.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether a measurement was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.names(name)
    }

    /// Whether it was asked for by its name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    take_descriptors();
    stay_on_one_core();
    report::head();
    let mut peaks = Peaks::default();
    beside::measure(&options, &mut peaks);
    compiling::measure(&options, &mut peaks);
    overload::measure(&options, &mut peaks);
    sockets::measure(&options, &mut peaks);
    memory::measure(&options);
    soak::measure(&options, &mut peaks);
    if let Some((when, bytes)) = peaks.highest() {
        let measured = format!("{} (during: {when})", mebibytes(bytes));
        row("highest resident memory of the server and its children", &measured, "–");
    }
    ExitCode::SUCCESS
}

/// Takes as many file descriptors as the system allows, for itself and the servers it starts.
fn take_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("warning: the limit of file descriptors stays: {error}");
    }
}

/// Keeps all threads of the load off the servers' core.
fn stay_on_one_core() {
    let mut core = CpuSet::new();
    core.set(LOAD_CORE);
    if let Err(error) = sched_setaffinity(None, &core) {
        eprintln!("warning: the load runs on all cores: {error}");
    }
}
