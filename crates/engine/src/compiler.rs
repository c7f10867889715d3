//! Turning Wasm into artifacts, on threads of lower priority and a bounded number at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use crate::admission::Admission;
use crate::artifact::Artifact;
use crate::background::{Background, lower_priority};
use crate::config::{EngineConfig, Profile};
use crate::profile::base_config;
use crate::{InvalidModule, WasmBytes, module};

/// Modules of more bytes than this are compiled by several threads: for smaller ones, handing the
/// functions out costs more than compiling them (docs/decisions.md has the prototype's figures).
const PARALLEL_BYTES: usize = 64 << 10;

/// Why a module could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The module exceeds the limits, or cannot be read.
    #[error(transparent)]
    Module(InvalidModule),
    /// It took too long.
    #[error("compiling takes longer than {} s", limit.as_secs_f64())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The compiler gave up: the module is valid, but beyond what it can translate.
    #[error("the compiler gave up on this module")]
    Compiler(#[source] wasmtime::Error),
    /// The compiler crashed.
    #[error("the compiler crashed on this module")]
    Crashed,
    /// The module is more than a place of the engine's pool holds.
    #[error("{0}")]
    Unsupported(String),
    /// As many modules as may be compiled or wait for it are.
    #[error("too many modules are being compiled")]
    Overloaded,
}

/// Compiles modules of one profile.
#[derive(Debug)]
pub(crate) struct Compiler {
    profile: Profile,
    config: EngineConfig,
    /// Compiles on the calling thread.
    serial: wasmtime::Engine,
    /// Compiles on several threads; made when the first large module comes.
    parallel: OnceLock<Parallel>,
}

#[derive(Debug)]
struct Parallel {
    engine: wasmtime::Engine,
    threads: rayon::ThreadPool,
}

impl Compiler {
    pub(crate) fn new(config: EngineConfig, profile: Profile, engine: wasmtime::Engine) -> Self {
        Self { profile, config, serial: engine, parallel: OnceLock::new() }
    }

    /// Compiles. Blocks for as long as that takes.
    fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Artifact> {
        if wasm.len() <= PARALLEL_BYTES {
            return module::compile(&self.serial, wasm);
        }
        let parallel = match self.parallel.get() {
            Some(parallel) => parallel,
            None => {
                let made = Parallel::start(&self.config, self.profile)?;
                self.parallel.get_or_init(|| made)
            }
        };
        parallel.threads.install(|| module::compile(&parallel.engine, wasm))
    }
}

impl Parallel {
    fn start(config: &EngineConfig, profile: Profile) -> wasmtime::Result<Self> {
        let mut wasmtime = base_config(config, profile);
        wasmtime.parallel_compilation(true);
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(config.concurrent_compilations)
            .thread_name(|index| format!("compiler-{index}"))
            .start_handler(|_| lower_priority())
            .build()?;
        Ok(Self { engine: wasmtime::Engine::new(&wasmtime)?, threads })
    }
}

/// Compiles one module, waiting for a place and for the result.
///
/// A compilation that is given up on, by its caller or by the clock, keeps its place until it ends.
pub(crate) async fn compile(
    compiler: std::sync::Arc<Compiler>,
    background: &Background,
    admission: &Admission,
    wasm: WasmBytes,
) -> Result<Artifact, CompileError> {
    let place = admission.enter(1).await.map_err(|_| CompileError::Overloaded)?;
    let limit = compiler.config.compile_timeout;
    let compiling = background.spawn_blocking(move || {
        let _place = place;
        // Some valid modules panic the compiler; they must not take a thread of the pool along.
        catch_unwind(AssertUnwindSafe(|| compiler.compile(wasm.as_ref().as_ref())))
    });
    match tokio::time::timeout(limit, compiling).await {
        Ok(Ok(Ok(result))) => result.map_err(CompileError::Compiler),
        Ok(Ok(Err(_)) | Err(_)) => Err(CompileError::Crashed),
        Err(_) => Err(CompileError::Timeout { limit }),
    }
}
