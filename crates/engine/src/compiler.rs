//! Turning Wasm into artifacts: a bounded number at a time, on threads of this process or in child
//! processes that confine themselves.

mod confinement;
mod in_process;
mod protocol;
mod worker;
mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Full, Patience, Queue, SharedAdmission, SharedPlace};
use crate::artifact::Artifact;
use crate::background::Background;
use crate::config::{ClientKey, CompilerPlace, EngineConfig, Profile};
use crate::{InvalidModule, StartError, WasmBytes};
use in_process::InProcess;
use workers::Workers;

pub use confinement::Confinement;
pub use worker::{WorkerError, run_compile_worker};

/// How long a compilation waits for its turn: longer than a call, since those before it may be large.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// It took too much processor time.
    #[error("compiling takes more than {} s of processor time", limit.as_secs_f64())]
    CpuLimit {
        /// The limit.
        limit: Duration,
    },
    /// It took too much memory.
    #[error("compiling takes more than {limit} bytes of memory")]
    MemoryLimit {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The compiler gave up: the module is invalid, or beyond what it can translate.
    #[error("the compiler gave up on this module")]
    Compiler(#[source] wasmtime::Error),
    /// The compiler crashed.
    #[error("the compiler failed on this module")]
    Crashed {
        /// What is known about it, for the log: signal, exit status, the end of what it printed.
        report: String,
    },
    /// The compiler was ended from outside, and so was the next that was given this module. Whether
    /// that has to do with the module is not known.
    #[error("the compiler was ended from outside, twice")]
    Killed {
        /// What is known about the second end, for the log.
        report: String,
    },
    /// The module is more than a place of the engine's pool holds.
    #[error("{0}")]
    Unsupported(String),
    /// As many modules as may be compiled or wait for it are.
    #[error("too many modules are being compiled")]
    Overloaded,
    /// There is no compile worker, and none could be started. The module is not at fault.
    #[error("cannot start a compile worker")]
    Worker(#[source] io::Error),
}

/// Compiles modules.
#[derive(Debug)]
pub(crate) struct Compiler {
    places: SharedAdmission,
    way: Way,
    timeout: Duration,
}

#[derive(Debug)]
enum Way {
    InProcess(Arc<InProcess>),
    Workers(Box<Workers>),
}

impl Compiler {
    /// Makes a compiler; one that has workers starts the first of them, and waits for it.
    ///
    /// # Errors
    ///
    /// When that worker does not start.
    pub(crate) fn start(config: &EngineConfig) -> Result<Self, StartError> {
        let way = match &config.compiler {
            CompilerPlace::InProcess => Way::InProcess(Arc::new(InProcess::new(config))),
            CompilerPlace::Workers(command) => {
                Way::Workers(Box::new(Workers::start(config, command.clone())?))
            }
        };
        let places = u32::try_from(config.concurrent_compilations).unwrap_or(u32::MAX);
        let queue = Queue { length: config.queued_compilations, patience: PATIENCE };
        let places = SharedAdmission::new(places, queue);
        Ok(Self { places, way, timeout: config.compile_timeout })
    }

    /// What confines compiling; `None` if it happens in this process.
    pub(crate) fn confinement(&self) -> Option<Confinement> {
        match &self.way {
            Way::InProcess(_) => None,
            Way::Workers(workers) => Some(workers.confinement()),
        }
    }

    /// How many modules are being compiled, and how many wait for it.
    pub(crate) fn occupied(&self) -> (usize, usize) {
        (self.places.taken(), self.places.waiting())
    }

    /// Waits for a turn.
    pub(crate) async fn turn(
        &self,
        client: Option<ClientKey>,
    ) -> Result<SharedPlace, CompileError> {
        let turn = self.places.enter(client, Patience::Bounded).await;
        turn.map_err(|Full| CompileError::Overloaded)
    }

    /// Compiles one module. The turn ends with the compilation.
    pub(crate) async fn compile(
        &self,
        background: &Background,
        turn: SharedPlace,
        profile: Profile,
        wasm: WasmBytes,
    ) -> Result<Artifact, CompileError> {
        match &self.way {
            Way::InProcess(compiler) => {
                let compiler = Arc::clone(compiler);
                in_process::compile(compiler, background, self.timeout, turn, profile, wasm).await
            }
            Way::Workers(workers) => {
                let compiled = workers.compile(background, profile, (*wasm).as_ref()).await;
                drop(turn);
                compiled
            }
        }
    }
}
