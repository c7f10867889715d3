//! Settings of how large modules may be, and what they are linked to.

use std::num::NonZeroUsize;

use clap::Args;
use wasm_exec::GraphLimits;

use super::SettingsError;
use super::sources::Sources;
use super::values::{Period, Size, count};

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of a module")]
pub(super) struct ModuleOptions {
    /// Size of a module [default: 32MiB]
    #[arg(long, env = "WASM_EXEC_WASM_BYTES", value_name = "SIZE")]
    wasm_bytes: Option<Size>,
    /// Size of a request's body [default: 3 times --wasm-bytes and 1MiB]
    #[arg(long, env = "WASM_EXEC_REQUEST_BYTES", value_name = "SIZE")]
    request_bytes: Option<Size>,
    /// Modules in a linked graph [default: 64]
    #[arg(long, env = "WASM_EXEC_GRAPH_MODULES", value_name = "N")]
    graph_modules: Option<NonZeroUsize>,
    /// Modules on a path through a linked graph [default: 16]
    #[arg(long, env = "WASM_EXEC_GRAPH_DEPTH", value_name = "N")]
    graph_depth: Option<NonZeroUsize>,
    /// Time to compile a module [default: 1m]
    #[arg(long, env = "WASM_EXEC_COMPILE_TIMEOUT", value_name = "TIME")]
    compile_timeout: Option<Period>,
    /// Processor time to compile a module, in whole seconds [default: 1m]
    #[arg(long, env = "WASM_EXEC_COMPILE_CPU", value_name = "TIME")]
    compile_cpu: Option<Period>,
    /// Memory to compile a module [default: 2GiB]
    #[arg(long, env = "WASM_EXEC_COMPILE_MEMORY", value_name = "SIZE")]
    compile_memory: Option<Size>,
}

/// How large modules may be, and what they are linked to.
#[derive(Debug)]
pub(crate) struct ModuleSettings {
    /// Size of a module.
    pub(crate) wasm: Size,
    /// Size of a request's body; at least that of a module.
    pub(crate) request: Size,
    /// How large a linked graph may be.
    pub(crate) graph: GraphLimits,
    /// Time to compile a module.
    pub(crate) compile_timeout: Period,
    /// Processor time to compile a module.
    pub(crate) compile_cpu: Period,
    /// Memory to compile a module.
    pub(crate) compile_memory: Size,
}

impl ModuleOptions {
    pub(super) fn resolve(
        self,
        sources: &mut Sources<'_>,
    ) -> Result<ModuleSettings, SettingsError> {
        let Self {
            wasm_bytes,
            request_bytes,
            graph_modules,
            graph_depth,
            compile_timeout,
            compile_cpu,
            compile_memory,
        } = self;
        let wasm = sources.pick("wasm-bytes", wasm_bytes, Size::mib(32))?;
        let request = sources.pick("request-bytes", request_bytes, wasm.of_request())?;
        sources.at_most(("wasm-bytes", wasm), ("request-bytes", request))?;
        let modules = sources.pick("graph-modules", graph_modules, count(64))?.get();
        let depth = sources.pick("graph-depth", graph_depth, count(16))?.get();
        let graph = GraphLimits { modules, depth };
        Ok(ModuleSettings {
            wasm,
            request,
            graph,
            compile_timeout: sources.pick(
                "compile-timeout",
                compile_timeout,
                Period::seconds(60),
            )?,
            compile_cpu: sources.pick("compile-cpu", compile_cpu, Period::seconds(60))?,
            compile_memory: sources.pick("compile-memory", compile_memory, Size::gib(2))?,
        })
    }
}
