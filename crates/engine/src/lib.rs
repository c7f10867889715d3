//! Compiles, links, instantiates and calls WebAssembly, within limits.
//!
//! The engine knows neither HTTP nor storage: it is given bytes and edges, and gives outcomes.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use wasm_exec_engine::{
//!     ArtifactStore, CallLimits, Engine, EngineConfig, GraphNode, Profile, Value,
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Arc::new(Engine::new(EngineConfig::default(), ArtifactStore::in_memory(1 << 20))?);
//! let wasm = wasm_exec_engine::text::parse(
//!     r#"(module (func (export "double") (param i32) (result i32)
//!          (i32.mul (local.get 0) (i32.const 2))))"#,
//! )?;
//! let module = engine.compile(Arc::new(wasm), Profile::Fast, None).await?;
//! let program = Arc::new(engine.link(vec![GraphNode { module, links: Vec::new() }])?);
//! let double = program.function("double").expect("it is exported");
//! let limits =
//!     CallLimits { timeout: Duration::from_secs(1), memory_bytes: 64 << 20, fuel: None };
//! let outcome = engine.call(&program, double, &[Value::I32(2)], limits).await?;
//! assert_eq!(outcome.result, Ok(vec![Value::I32(4)]));
//! # Ok(())
//! # }
//! ```

mod access;
mod admission;
mod artifact;
mod background;
mod call;
mod calling;
mod compiler;
mod config;
mod describe;
mod door;
mod entry;
mod failure;
mod limiter;
mod module;
mod occupancy;
mod outcome;
mod pace;
mod profile;
mod program;
mod session;
mod store;
pub mod text;
mod ticker;
mod turn;
mod value;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use access::ReadRoom;
use artifact::Artifact;
use background::Background;
use compiler::Compiler;
use describe::Bodies;
use door::Refusal;
use limiter::GuestMemory;
use ticker::Ticker;

pub use access::{
    Access, BadPointer, BytesParam, InvalidAccess, MemoryName, MemoryRange, MemoryReads, Quantity,
    Read, ReadOutcome, Write,
};
pub use admission::{Admission, Full, Patience, Place, Queue, SharedAdmission, SharedPlace};
pub use artifact::{ArtifactStore, WasmId};
pub use background::LARGE_WASM;
pub use call::{CallError, Values};
pub use compiler::{CompileError, Confinement, WorkerError, run_compile_worker};
pub use config::{
    CallLimits, ClientKey, CompilerPlace, EngineConfig, Profile, SessionLimits, WorkerCommand,
};
pub use describe::{Description, Export, Import, InvalidModule, Item};
pub use door::{LimitExceeded, ModuleLimit, ModuleLimits};
pub use module::{Cost, Module};
pub use occupancy::Occupancy;
pub use outcome::{Failure, Frame, Outcome, Trap, TrapKind, Usage};
pub use program::{Function, GraphNode, LinkError, Program};
pub use session::{
    LinkedProgram, MemoryBounds, ModuleId, NamedInstance, NewInstance, Session, SessionEnd,
    SessionError, SessionLink, SessionLinkError, SessionOutcome, SessionShare, SessionValue,
};
pub use turn::Turn;
pub use value::{ReferenceKind, Value, ValueType};

/// Wasm bytes that may be compiled on another thread.
pub type WasmBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Artifacts of more bytes than this are checked and loaded off the threads that serve requests.
const LARGE_ARTIFACT: u64 = 1 << 20;

/// How many calls that are known to be long run at once for each core.
const LONG_CALLS_PER_CORE: u32 = 16;

/// How long a call waits for a place. A server that has more to do than it can soon says so: answers
/// that come after their callers gave up are work for nothing, and a long queue outlives the overload.
const CALL_PATIENCE: Duration = Duration::from_secs(1);

/// How many threads work in the background besides those that may compile: on large modules, which are
/// decoded, hashed, checked and printed there.
const CHECKS: usize = 2;

/// Compiles, links and calls modules. Cheap to share behind an [`Arc`].
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    fast: Running,
    /// Made when the first metered call comes.
    metered: OnceLock<Running>,
    /// Made when the first session does.
    sessions: OnceLock<Running>,
    /// Held while it is made: making two would reserve the address space of two.
    making: Mutex<()>,
    /// Calls of both profiles.
    calls: Admission,
    /// Calls that are known to be long. Without a bound of their own, so many would share the cores
    /// that none ended in time.
    long_calls: SharedAdmission,
    /// Calls that turned out to be long. Their places are as many again, so that what they have done
    /// already need not wait behind what has not begun.
    prolonged_calls: SharedAdmission,
    /// The same in sessions, where they go on without a place in the end.
    prolonged_in_sessions: Admission,
    /// Calls in turns, which wait for as long as it takes: half as many as may be long, so that they
    /// leave places of each kind to others whatever they turn out to be.
    turns: Admission,
    guests: Arc<GuestMemory>,
    /// What all sessions have together.
    all_sessions: SessionShare,
    reads: ReadRoom,
    artifacts: ArtifactStore,
    compiler: Compiler,
    background: Background,
}

/// What one profile needs to run.
#[derive(Debug)]
struct Running {
    // Before the engine: the ticker's thread must not outlive what it ticks.
    ticker: Ticker,
    engine: wasmtime::Engine,
    compatibility: u64,
    /// As many slots of the pool as every call that is admitted has without asking.
    reserved_slots: u32,
    /// The rest of the pool, for calls that take more.
    slots: Admission,
}

/// The engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Wasmtime refused the configuration, or could not reserve its memory.
    #[error("cannot start Wasmtime")]
    Wasmtime(#[source] wasmtime::Error),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The first compile worker does not get ready.
    #[error("cannot start a compile worker")]
    Worker(#[source] std::io::Error),
}

/// How many calls that are known to be long run at once: enough to keep the cores busy while some wait,
/// and few enough that each ends soon.
fn long_calls(calls: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores)
        .unwrap_or(u32::MAX)
        .saturating_mul(LONG_CALLS_PER_CORE)
        .clamp(1, calls.max(1))
}

fn queue(config: &EngineConfig) -> Queue {
    Queue { length: config.queued_calls, patience: CALL_PATIENCE }
}

impl Running {
    /// Whether a call has to ask for so many slots of the pool.
    fn asks(&self, slots: u32) -> bool {
        slots > self.reserved_slots
    }

    fn start(config: &EngineConfig, profile: Profile) -> Result<Self, StartError> {
        let engine = profile::running_engine(config, profile).map_err(StartError::Wasmtime)?;
        let (reserved_slots, shared_slots) = profile::divide_slots(config);
        Ok(Self {
            ticker: Ticker::start(engine.clone()).map_err(StartError::Thread)?,
            compatibility: module::compatibility(&engine),
            reserved_slots,
            slots: Admission::new(shared_slots, queue(config)),
            engine,
        })
    }
}

impl Engine {
    /// Starts an engine. If it compiles in workers, this is called on a thread of the Tokio runtime
    /// that will use it, and waits until the first worker is ready.
    ///
    /// # Errors
    ///
    /// When address space cannot be reserved, or threads or a compile worker cannot be started.
    pub fn new(config: EngineConfig, artifacts: ArtifactStore) -> Result<Self, StartError> {
        let calls = u32::try_from(config.concurrent_calls).unwrap_or(u32::MAX);
        let guests = Arc::new(GuestMemory::new(config.guest_memory, calls.max(1) as usize));
        Ok(Self {
            fast: Running::start(&config, Profile::Fast)?,
            metered: OnceLock::new(),
            sessions: OnceLock::new(),
            making: Mutex::new(()),
            calls: Admission::new(calls.max(1), queue(&config)),
            long_calls: SharedAdmission::new(long_calls(calls), queue(&config)),
            prolonged_calls: SharedAdmission::new(long_calls(calls), queue(&config)),
            prolonged_in_sessions: Admission::new(long_calls(calls), queue(&config)),
            turns: Admission::new((long_calls(calls) / 2).max(1), queue(&config)),
            all_sessions: SessionShare::of_all(&guests, calls as usize),
            guests,
            reads: ReadRoom::new(),
            artifacts,
            compiler: Compiler::start(&config)?,
            background: Background::start(config.concurrent_compilations + CHECKS)
                .map_err(StartError::Thread)?,
            config,
        })
    }

    /// The settings it was started with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Validates a module and says what it exports and imports.
    ///
    /// # Errors
    ///
    /// When the bytes are not a valid module, have more of something than may be compiled, or use
    /// what is switched off here.
    pub fn validate(&self, wasm: &[u8]) -> Result<Description, InvalidModule> {
        // Limits first: validating takes time that grows with products as well.
        match door::check(wasm, &self.config.module_limits) {
            Err(Refusal::Limit(exceeded)) => Err(InvalidModule::Limit(exceeded)),
            // The validator says it better.
            Err(Refusal::Malformed(error)) => self
                .describe_with(wasm, Bodies::Validate)
                .and_then(|_| Err(describe::invalid(&error))),
            Ok(()) => self.describe_with(wasm, Bodies::Validate),
        }
    }

    /// Checks a module that is about to be compiled against the limits, without validating it.
    async fn check(self: &Arc<Self>, wasm: &WasmBytes) -> Result<(), CompileError> {
        let (this, bytes) = (Arc::clone(self), Arc::clone(wasm));
        let check = move || {
            door::check((*bytes).as_ref(), &this.config.module_limits).map_err(|refusal| {
                match refusal {
                    Refusal::Limit(exceeded) => InvalidModule::Limit(exceeded),
                    Refusal::Malformed(error) => describe::invalid(&error),
                }
            })
        };
        if (**wasm).as_ref().len() <= LARGE_WASM {
            return check().map_err(CompileError::Module);
        }
        // It does not panic.
        let checked = self.in_background(check).await;
        let checked =
            checked.map_err(|error| CompileError::Crashed { report: error.to_string() })?;
        checked.map_err(CompileError::Module)
    }

    /// Runs a function that takes long on a thread of lower priority than those that serve requests; it
    /// goes on to its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// When the function panics.
    pub async fn in_background<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        self.background.spawn_blocking(function).await
    }

    /// Says what a module exports and imports, without validating its functions' bodies or checking
    /// its limits again.
    ///
    /// # Errors
    ///
    /// When the bytes are not a valid module, or use what is switched off here.
    pub fn describe(&self, wasm: &[u8]) -> Result<Description, InvalidModule> {
        self.describe_with(wasm, Bodies::Trust)
    }

    fn describe_with(&self, wasm: &[u8], bodies: Bodies) -> Result<Description, InvalidModule> {
        let features = self.fast.engine.get_wasm_features();
        describe::describe(wasm, features, bodies)
    }

    /// Loads a module whose artifact is kept, if it is.
    ///
    /// # Errors
    ///
    /// When the engine of the profile cannot be started.
    pub async fn load(
        self: &Arc<Self>,
        id: WasmId,
        profile: Profile,
    ) -> Result<Option<Module>, StartError> {
        let running = self.running(profile)?;
        let compatibility = running.compatibility;
        let loading = match self.artifacts.size(&id, profile, compatibility) {
            None => return Ok(None),
            Some(size) if size > LARGE_ARTIFACT => {
                let this = Arc::clone(self);
                let loading = move || this.load_kept(id, profile, compatibility);
                // A crash of it would be in the log already; the module is compiled again.
                self.in_background(loading).await.unwrap_or(Ok(None))
            }
            Some(_) => self.load_kept(id, profile, compatibility),
        };
        Ok(loading.unwrap_or_else(|error| {
            tracing::warn!(?error, "an artifact does not load and is compiled again");
            self.artifacts.remove(&id, profile, compatibility);
            None
        }))
    }

    /// Checks and loads an artifact. Blocks for as long as reading it takes.
    fn load_kept(
        &self,
        id: WasmId,
        profile: Profile,
        compatibility: u64,
    ) -> wasmtime::Result<Option<Module>> {
        let engine = &self.running(profile)?.engine;
        let artifact = self.artifacts.get(&id, profile, compatibility);
        artifact.map(|artifact| module::load(engine, profile, artifact)).transpose()
    }

    /// What confines compiling; `None` if modules are compiled in this process.
    pub fn confinement(&self) -> Option<Confinement> {
        self.compiler.confinement()
    }

    /// Compiles and loads a module. `client` is whom it is for, if that is known: one client is
    /// given at most half of the places.
    ///
    /// Once it has started, the compilation goes on even if the future is dropped.
    ///
    /// # Errors
    ///
    /// When the module exceeds the limits, the compiler refuses it, fails on it or needs more than it
    /// may have, the pool cannot hold it, or too many modules are being compiled already.
    pub async fn compile(
        self: &Arc<Self>,
        wasm: WasmBytes,
        profile: Profile,
        client: Option<ClientKey>,
    ) -> Result<Module, CompileError> {
        self.check(&wasm).await?;
        let turn = self.compiler.turn(client).await?;
        let this = Arc::clone(self);
        // A task of its own, which nobody ends.
        let compiling = tokio::spawn(async move {
            this.compiler.compile(&this.background, turn, profile, wasm).await
        });
        let artifact = compiling
            .await
            .unwrap_or_else(|error| Err(CompileError::Crashed { report: error.to_string() }))?;
        self.load_artifact(artifact, profile).await.map_err(unloadable)
    }

    /// Keeps the artifact of a module, so that [`load`](Self::load) finds it, also after a restart.
    /// `id` is the SHA-256 of the Wasm it was compiled from. A failure is only logged: it costs a
    /// compilation later.
    pub async fn keep(self: &Arc<Self>, id: WasmId, module: &Module) {
        let Ok(running) = self.running(module.profile) else { return };
        let (this, module) = (Arc::clone(self), module.clone());
        let compatibility = running.compatibility;
        let keeping = self.background.spawn_blocking(move || {
            let artifacts = &this.artifacts;
            if artifacts.size(&id, module.profile, compatibility).is_some() {
                return;
            }
            match module.inner.serialize() {
                Ok(bytes) => artifacts.put(&id, module.profile, compatibility, &bytes.into()),
                Err(error) => tracing::warn!(?error, "an artifact cannot be kept"),
            }
        });
        // A crash of it would be in the log already.
        let _ = keeping.await;
    }

    async fn load_artifact(
        self: &Arc<Self>,
        artifact: Artifact,
        profile: Profile,
    ) -> wasmtime::Result<Module> {
        let engine = self.running(profile)?.engine.clone();
        if artifact.size() > LARGE_ARTIFACT {
            let loading = move || module::load(&engine, profile, artifact);
            return self.in_background(loading).await?;
        }
        module::load(&engine, profile, artifact)
    }

    /// Links a graph, dependencies first, the root last. All modules are of one profile.
    ///
    /// # Errors
    ///
    /// When imports and exports do not fit; see [`LinkError`].
    ///
    /// # Panics
    ///
    /// When the graph is empty or links to a node that does not come earlier.
    pub fn link(&self, graph: Vec<GraphNode>) -> Result<Program, LinkError> {
        let profile = graph.first().map_or(Profile::Fast, |node| node.module.profile);
        let engine = match profile {
            Profile::Fast => &self.fast.engine,
            // A metered module exists, so its engine does.
            Profile::Metered => self.metered.get().map_or(&self.fast.engine, |run| &run.engine),
            Profile::Session => self.sessions.get().map_or(&self.fast.engine, |run| &run.engine),
        };
        Program::link(engine, graph, self.config.memory_maximum)
    }

    /// A module by itself, for instances in sessions; its profile is [`Session`](Profile::Session).
    pub fn single(&self, module: Module) -> Program {
        Program::single(module)
    }

    /// What the sessions of one client may have together.
    pub fn session_share(&self) -> SessionShare {
        self.all_sessions.half()
    }

    /// A new session; without a share it may have what all sessions have.
    ///
    /// # Errors
    ///
    /// When what runs sessions cannot be started.
    pub fn session(
        self: &Arc<Self>,
        limits: SessionLimits,
        share: Option<&SessionShare>,
    ) -> Result<Session, StartError> {
        Session::new(self, limits, share.unwrap_or(&self.all_sessions))
    }

    fn running_for(&self, program: &Program) -> Result<&Running, CallError> {
        let running = self.running(program.profile);
        running.map_err(|error| CallError::Engine(wasmtime::Error::new(error)))
    }

    fn running(&self, profile: Profile) -> Result<&Running, StartError> {
        let cell = match profile {
            Profile::Fast => return Ok(&self.fast),
            Profile::Metered => &self.metered,
            Profile::Session => &self.sessions,
        };
        if let Some(running) = cell.get() {
            return Ok(running);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = cell.get() {
            return Ok(running);
        }
        let made = Running::start(&self.config, profile)?;
        Ok(cell.get_or_init(|| made))
    }
}

/// What it means that fresh code does not load: the machine could not do it, or the module is more than
/// a place of the pool holds.
fn unloadable(error: wasmtime::Error) -> CompileError {
    let machine = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<std::io::Error>()
            || cause.is::<rustix::io::Errno>()
            || cause.is::<tokio::task::JoinError>()
    };
    match error.chain().any(machine) {
        true => CompileError::Worker(std::io::Error::other(error)),
        false => CompileError::Unsupported(error.root_cause().to_string()),
    }
}
