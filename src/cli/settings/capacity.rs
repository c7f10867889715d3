//! Settings of what the server does and keeps at once, for all requests together.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use clap::Args;

use super::SettingsError;
use super::sources::Sources;
use super::values::{Size, count};

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Capacity")]
pub(super) struct CapacityOptions {
    /// Connections at once [default: 10000]
    #[arg(long, env = "WASM_EXEC_CONNECTIONS", value_name = "N")]
    connections: Option<NonZeroUsize>,
    /// Memory for the bodies of requests that are being read [default: 512MiB]
    #[arg(long, env = "WASM_EXEC_BODIES_BYTES", value_name = "SIZE")]
    bodies_bytes: Option<Size>,
    /// Memory for large answers that clients have not taken yet [default: 512MiB]
    #[arg(long, env = "WASM_EXEC_ANSWERS_BYTES", value_name = "SIZE")]
    answers_bytes: Option<Size>,
    /// Calls at once [default: 256]
    #[arg(long, env = "WASM_EXEC_CONCURRENT_CALLS", value_name = "N")]
    concurrent_calls: Option<NonZeroUsize>,
    /// Calls that may wait [default: 1024]
    #[arg(long, env = "WASM_EXEC_QUEUED_CALLS", value_name = "N")]
    queued_calls: Option<usize>,
    /// Compilations at once [default: one for each core]
    #[arg(long, env = "WASM_EXEC_CONCURRENT_COMPILATIONS", value_name = "N")]
    concurrent_compilations: Option<NonZeroUsize>,
    /// Compilations that may wait [default: 256]
    #[arg(long, env = "WASM_EXEC_QUEUED_COMPILATIONS", value_name = "N")]
    queued_compilations: Option<usize>,
    /// Programs that are kept ready to be called [default: 10000]
    #[arg(long, env = "WASM_EXEC_READY_PROGRAMS", value_name = "N")]
    ready_programs: Option<NonZeroUsize>,
    /// Memory and mapped files of ready programs [default: 1GiB]
    #[arg(long, env = "WASM_EXEC_READY_BYTES", value_name = "SIZE")]
    ready_bytes: Option<Size>,
    /// Memory mappings of ready programs [default: 32768]
    #[arg(long, env = "WASM_EXEC_READY_MAPPINGS", value_name = "N")]
    ready_mappings: Option<NonZeroUsize>,
}

/// What the server does and keeps at once.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// Connections.
    pub(crate) connections: usize,
    /// Memory for the bodies of requests that are being read; at least one request's.
    pub(crate) bodies: Size,
    /// Memory for large answers that clients have not taken yet.
    pub(crate) answers: Size,
    /// Calls that run.
    pub(crate) concurrent_calls: usize,
    /// Calls that wait.
    pub(crate) queued_calls: usize,
    /// Compilations that run.
    pub(crate) concurrent_compilations: usize,
    /// Compilations that wait.
    pub(crate) queued_compilations: usize,
    /// Programs that are ready.
    pub(crate) ready_programs: usize,
    /// Their memory and mapped files.
    pub(crate) ready: Size,
    /// Their memory mappings.
    pub(crate) ready_mappings: usize,
}

impl CapacityOptions {
    /// `request` is the size that one request may have.
    pub(super) fn resolve(
        self,
        sources: &mut Sources<'_>,
        request: Size,
    ) -> Result<Capacity, SettingsError> {
        let Self {
            connections,
            bodies_bytes,
            answers_bytes,
            concurrent_calls,
            queued_calls,
            concurrent_compilations,
            queued_compilations,
            ready_programs,
            ready_bytes,
            ready_mappings,
        } = self;
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let mut counted =
            |name, given: Option<NonZeroUsize>, default| -> Result<usize, SettingsError> {
                Ok(sources.pick(name, given, default)?.get())
            };
        let connections = counted("connections", connections, count(10_000))?;
        let concurrent_calls = counted("concurrent-calls", concurrent_calls, count(256))?;
        let concurrent_compilations =
            counted("concurrent-compilations", concurrent_compilations, cores)?;
        let ready_programs = counted("ready-programs", ready_programs, count(10_000))?;
        let ready_mappings = counted("ready-mappings", ready_mappings, count(32_768))?;
        let bodies = sources.pick("bodies-bytes", bodies_bytes, Size::mib(512).max(request))?;
        sources.at_most(("request-bytes", request), ("bodies-bytes", bodies))?;
        Ok(Capacity {
            connections,
            bodies,
            answers: sources.pick("answers-bytes", answers_bytes, Size::mib(512))?,
            concurrent_calls,
            queued_calls: sources.pick("queued-calls", queued_calls, 1024)?,
            concurrent_compilations,
            queued_compilations: sources.pick("queued-compilations", queued_compilations, 256)?,
            ready_programs,
            ready: sources.pick("ready-bytes", ready_bytes, Size::gib(1))?,
            ready_mappings,
        })
    }
}
