//! What the server does over HTTP, against a bare axum server in the same run.
//!
//! `cargo bench --bench http` prints a Markdown table. The server is pinned to one core and the load
//! (wrk, from Debian's package of that name) to another; the targets take turns, round by round, and
//! what counts is the median of the rounds' ratios: the machine's mood cancels out.
//!
//! `-- --rounds N --seconds N` changes how long it takes; names of measurements run only those.

#[path = "../support/client.rs"]
mod client;
mod floor;
mod guests;
mod load;
mod measure;
#[path = "../support/report.rs"]
mod report;
mod sessions;
#[path = "../support/target.rs"]
mod target;
mod targets;
mod transfer;

use std::process::ExitCode;

/// How long and what to measure.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: usize,
    seconds: u64,
    only: Vec<String>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { rounds: 5, seconds: 3, only: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse().ok());
                value.ok_or_else(|| format!("{argument}: expected a number"))
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number()?,
                "--seconds" => options.seconds = number()? as u64,
                // What cargo says to every benchmark.
                "--bench" => {}
                name => options.only.push(name.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether a measurement was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("--floor") {
        floor::serve();
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&mut arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    report::head();
    measure::hot_calls(&options);
    measure::batch(&options);
    sessions::calls(&options);
    sessions::memory(&options);
    measure::never_seen(&options);
    measure::first_calls(&options);
    measure::fairness(&options);
    measure::idle(&options);
    measure::many_modules(&options);
    ExitCode::SUCCESS
}
