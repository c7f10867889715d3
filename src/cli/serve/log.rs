//! The server's log, on stderr.

use std::io::{self, IsTerminal};

use crate::cli::settings::{LogFormat, Process};

/// Starts logging.
pub(super) fn start(process: &Process) {
    let is_terminal = io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(process.log.clone()).with_writer(io::stderr);
    match process.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Auto if !is_terminal => log.json().init(),
        LogFormat::Human | LogFormat::Auto => log.with_ansi(is_terminal).init(),
    }
}
