//! Settings of the server's process: its threads and its log.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::SettingsError;
use super::sources::Sources;

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(super) struct ProcessOptions {
    /// Threads that serve requests [default: one for each core]
    #[arg(long, env = "WASM_EXEC_WORKERS", value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// What to log, such as warn or info,wasm_exec=debug [default: info]
    #[arg(long, env = "WASM_EXEC_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How to log, to stderr [default: auto]
    #[arg(long, env = "WASM_EXEC_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Lines for people
    Human,
    /// A JSON object a line
    Json,
    /// Human on a terminal, JSON elsewhere
    Auto,
}

/// What is not logged unless it is asked for by its name: Kademlia warns whenever it knows of nobody to
/// ask, which a node that is alone need not be told.
const QUIET: &str = "libp2p_kad::behaviour=error";

/// The server's process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Threads that serve requests.
    pub(crate) workers: NonZeroUsize,
    /// What is logged.
    pub(crate) log: EnvFilter,
    /// How it is written.
    pub(crate) log_format: LogFormat,
}

impl ProcessOptions {
    pub(super) fn resolve(self, sources: &mut Sources<'_>) -> Result<Process, SettingsError> {
        let Self { workers, log, log_format } = self;
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let workers = sources.pick("workers", workers, cores)?;
        let log = sources.pick("log", log, "info".to_owned())?;
        let log_format = sources.pick("log-format", log_format, LogFormat::Auto)?;
        let log = EnvFilter::builder()
            .parse(format!("{QUIET},{log}"))
            .map_err(|source| SettingsError::LogFilter { filter: log, source })?;
        Ok(Process { workers, log, log_format })
    }
}
