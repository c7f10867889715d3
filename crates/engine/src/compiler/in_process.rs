//! Compiling on threads of this process: how embedders and tools do it, and what a compile worker
//! does inside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::CompileError;
use crate::WasmBytes;
use crate::admission::SharedPlace;
use crate::artifact::Artifact;
use crate::background::{Background, lower_priority};
use crate::config::{EngineConfig, Profile};
use crate::profile::base_config;

/// Modules of more bytes than this are compiled by several threads: for smaller ones, handing the
/// functions out costs more than compiling them (docs/decisions.md has the prototype's figures).
const PARALLEL_BYTES: usize = 64 << 10;

/// Compiles modules of both profiles. What that needs is made when it is needed first.
#[derive(Debug)]
pub(super) struct InProcess {
    config: EngineConfig,
    fast: OnceLock<Engines>,
    metered: OnceLock<Engines>,
    threads: OnceLock<rayon::ThreadPool>,
}

/// What compiles for one profile. The engines run nothing, so they have no pool of instances.
#[derive(Debug)]
pub(super) struct Engines {
    /// Compiles on the calling thread.
    pub(super) serial: wasmtime::Engine,
    /// Compiles on the threads that it is called from.
    parallel: wasmtime::Engine,
}

impl Engines {
    pub(super) fn new(config: &EngineConfig, profile: Profile) -> wasmtime::Result<Self> {
        let mut wasmtime = base_config(config, profile);
        let serial = wasmtime::Engine::new(&wasmtime)?;
        wasmtime.parallel_compilation(true);
        Ok(Self { serial, parallel: wasmtime::Engine::new(&wasmtime)? })
    }
}

impl InProcess {
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self {
            config: config.clone(),
            fast: OnceLock::new(),
            metered: OnceLock::new(),
            threads: OnceLock::new(),
        }
    }

    /// Makes all it will ever need, threads included.
    pub(super) fn prepare(&self) -> wasmtime::Result<()> {
        self.engines(Profile::Fast)?;
        self.engines(Profile::Metered)?;
        // Each thread gets its share of the allocator when it allocates first.
        self.threads()?.broadcast(|_| drop(std::hint::black_box(Box::new(0u8))));
        Ok(())
    }

    /// Turns Wasm into native code. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// When the module is invalid or the compiler gives up on it.
    pub(super) fn compile(&self, profile: Profile, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        let engines = self.engines(profile)?;
        if wasm.len() <= PARALLEL_BYTES {
            return engines.serial.precompile_module(wasm);
        }
        self.threads()?.install(|| engines.parallel.precompile_module(wasm))
    }

    pub(super) fn engines(&self, profile: Profile) -> wasmtime::Result<&Engines> {
        let engines = match profile {
            Profile::Fast | Profile::Session => &self.fast,
            Profile::Metered => &self.metered,
        };
        get_or_make(engines, || Engines::new(&self.config, profile))
    }

    fn threads(&self) -> wasmtime::Result<&rayon::ThreadPool> {
        get_or_make(&self.threads, || {
            Ok(rayon::ThreadPoolBuilder::new()
                .num_threads(self.config.concurrent_compilations)
                .thread_name(|index| format!("compiler-{index}"))
                .start_handler(|_| lower_priority())
                .build()?)
        })
    }
}

/// What is in a cell, or else what `make` gives; of two that are made at once, one is dropped.
fn get_or_make<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> wasmtime::Result<T>,
) -> wasmtime::Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

/// Compiles one module on a background thread.
///
/// A compilation that is given up on, by its caller or by the clock, keeps its turn until it ends.
pub(super) async fn compile(
    compiler: Arc<InProcess>,
    background: &Background,
    limit: Duration,
    turn: SharedPlace,
    profile: Profile,
    wasm: WasmBytes,
) -> Result<Artifact, CompileError> {
    let compiling = background.spawn_blocking(move || {
        let _turn = turn;
        // Some valid modules panic the compiler; they must not take a thread of the pool along.
        catch_unwind(AssertUnwindSafe(|| compiler.compile(profile, (*wasm).as_ref())))
    });
    match tokio::time::timeout(limit, compiling).await {
        Ok(Ok(Ok(Ok(code)))) => Ok(Artifact::Bytes(Arc::from(code))),
        Ok(Ok(Ok(Err(error)))) => Err(CompileError::Compiler(error)),
        Ok(Ok(Err(_)) | Err(_)) => Err(CompileError::Crashed { report: "it panicked".to_owned() }),
        Err(_) => Err(CompileError::Timeout { limit }),
    }
}
