//! `run`: the server's main job without the server. The files are registered in memory, and the
//! function is called once.

mod links;
mod params;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::value::RawValue;
use wasm_exec::{
    Answer, BacktraceFrame, Call, Digest, Exec, Failure, Limits, Links, RequestedLimits, Setting,
    StorageError, Style, Target,
};
use wasm_exec_engine::{ArtifactStore, Engine, EngineConfig, StartError};
use wasm_exec_registry::{RedbBackend, Registry};

use super::module_file::FileError;
use super::settings::Size;
use links::{LinkArgument, LinkError, ModuleFile};

pub(super) use params::quote_negative_specials;

/// Room for the compiled code of one call's modules, in bytes.
const ARTIFACTS_BYTES: u64 = 256 << 20;

/// Room for the database's cache, in bytes, on top of what it keeps.
const STORE_CACHE_BYTES: usize = 16 << 20;

/// The call to make.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Wasm or WebAssembly text; - is standard input
    file: PathBuf,
    /// Exported function to call
    function: String,
    /// Parameters: JSON as the server takes it, strings also without quotes, such as inf or nan:0x1
    #[arg(value_name = "PARAM", allow_negative_numbers = true)]
    params: Vec<String>,
    /// Satisfy imports from module NAME with FILE, which may import from other links; repeatable
    #[arg(long = "link", value_name = "NAME=FILE")]
    links: Vec<LinkArgument>,
    /// Milliseconds the call may take
    #[arg(long, value_name = "N", default_value_t = 1000)]
    timeout_ms: u64,
    /// Memory the call may use
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    memory_bytes: Size,
    /// Fuel the call may use, about one for an instruction; without, it is not metered
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
}

/// Why the function could not be called, or its results not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A file holds no module.
    #[error(transparent)]
    File(#[from] FileError),
    /// The links do not go together.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A parameter cannot be written as JSON.
    #[error("cannot read the parameters")]
    Param(#[source] serde_json::Error),
    /// The thread for the call cannot be set up.
    #[error("cannot start the call's thread")]
    Runtime(#[source] io::Error),
    /// The engine cannot be started.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The registry in memory cannot be made.
    #[error("cannot make a registry in memory")]
    Registry(#[source] StorageError),
    /// A file's module cannot be used as it was to be.
    #[error("{}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<wasm_exec::Error>,
    },
    /// The results are not the JSON that they always are.
    #[error("cannot read the results")]
    Results(#[source] serde_json::Error),
    /// Stdout cannot be written.
    #[error("cannot print the results")]
    Print(#[source] io::Error),
}

impl RunError {
    fn in_file(path: &Path) -> impl FnOnce(wasm_exec::Error) -> Self {
        move |error| Self::Module { path: path.to_owned(), source: Box::new(error) }
    }
}

/// Calls the function and prints its results, or why the guest failed.
///
/// # Errors
///
/// When the call cannot be made.
pub(crate) fn execute(args: &RunArgs) -> Result<ExitCode, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let (answer, files) = runtime.block_on(call(args))?;
    match answer.result {
        Ok(results) => {
            super::print(&lines(&results).map_err(RunError::Results)?).map_err(RunError::Print)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            print_failure(&failure, &files);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The path of each module's file, for backtraces.
type Files = BTreeMap<Digest, PathBuf>;

async fn call(args: &RunArgs) -> Result<(Answer, Files), RunError> {
    let params: Result<Vec<_>, _> =
        args.params.iter().map(|param| params::to_json(param)).collect();
    let params = params.map_err(RunError::Param)?;
    let config = engine_config(args);
    let limits = limits(args, &config);
    let engine = Engine::new(config, ArtifactStore::in_memory(ARTIFACTS_BYTES))?;
    let root = ModuleFile::read(&engine, &args.file)?;
    let links = links::read(&engine, &args.links)?;
    let order = links::order(&root, &links)?;
    let backend = RedbBackend::in_memory(STORE_CACHE_BYTES).map_err(RunError::Registry)?;
    let exec = Exec::new(engine, Registry::new(Arc::new(backend)), limits);
    let (links, mut files) = register(&exec, &root, &order).await?;
    let call = Call {
        target: Target::Inline { wasm: root.wasm, links },
        function: &args.function,
        params: &params.iter().map(Box::as_ref).collect::<Vec<_>>(),
        memory: None,
        limits: RequestedLimits { fuel: args.fuel, ..RequestedLimits::default() },
        style: Style::Plain,
        client: None,
    };
    let answer = exec.call(call).await.map_err(RunError::in_file(&root.path))?;
    files.insert(answer.module, root.path);
    Ok((answer, files))
}

/// Registers links in their order. Returns the links of `root` and the files of the others.
///
/// By digest and not by name, because import modules need not be names of the registry.
async fn register(
    exec: &Exec,
    root: &ModuleFile,
    order: &[(&str, &ModuleFile)],
) -> Result<(Links, Files), RunError> {
    let mut files = Files::new();
    let mut registered = BTreeMap::new();
    for &(name, file) in order {
        let links = file.pinned(&registered);
        let module = exec.register(None, file.wasm.clone(), links, None).await;
        let digest = module.map_err(RunError::in_file(&file.path))?.module.record.digest;
        registered.insert(name, digest);
        files.insert(digest, file.path.clone());
    }
    Ok((root.pinned(&registered), files))
}

fn engine_config(args: &RunArgs) -> EngineConfig {
    let config = EngineConfig::default();
    EngineConfig {
        memory_maximum: config.memory_maximum.max(args.memory_bytes.in_memory()),
        concurrent_calls: 1,
        ..config
    }
}

/// The call may have what was asked for: who runs it decides what their machine does.
fn limits(args: &RunArgs, config: &EngineConfig) -> Limits {
    Limits {
        timeout_ms: Setting { default: args.timeout_ms, maximum: args.timeout_ms },
        memory_bytes: Setting {
            default: args.memory_bytes.bytes(),
            maximum: config.memory_maximum as u64,
        },
        fuel_maximum: u64::MAX,
        output_bytes: Setting { default: u64::MAX, maximum: u64::MAX },
        ..Limits::default()
    }
}

/// The results, which come as a JSON array, one a line.
fn lines(results: &str) -> serde_json::Result<String> {
    let results: Vec<&RawValue> = serde_json::from_str(results)?;
    Ok(results.iter().map(|result| format!("{result}\n")).collect())
}

/// Prints why the guest failed, and where.
fn print_failure(failure: &Failure, files: &Files) {
    super::print_error(&failure.detail);
    let backtrace = failure.trap.iter().flat_map(|trap| &trap.backtrace);
    for BacktraceFrame { module, function, index, offset } in backtrace {
        let function = function.as_deref().unwrap_or("function without a name");
        let file =
            files.get(module).map_or_else(|| module.to_string(), |path| path.display().to_string());
        let offset = offset.map(|offset| format!(", offset {offset:#x}")).unwrap_or_default();
        let frame = format!("  at {function} ({file}, function {index}{offset})");
        // As for the error itself: without stderr, the exit status has to do.
        let _ = writeln!(io::stderr(), "{}", super::printable(&frame));
    }
}
