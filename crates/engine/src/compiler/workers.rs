//! Compiling in child processes: the engine's side.
//!
//! Who has a turn to compile takes an idle worker or has one started, so there are at most as many
//! workers as turns. A thread of its own starts them, and ends those that stay idle. It has to be
//! one that lives as long as they are wanted: the kernel kills a worker when the thread that started
//! it ends.

mod idle;
mod process;
mod supervisor;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{CompileError, Confinement};
use crate::StartError;
use crate::artifact::Artifact;
use crate::background::Background;
use crate::compiler::protocol::{Answer, JobHeader, MAXIMUM_WASM};
use crate::config::{EngineConfig, Profile, WorkerCommand};
use idle::Idle;
use process::{Broken, Worker};
use supervisor::{Starter, Supervisor};

/// After so many modules a worker is replaced, so that what a compiler may leak stays bounded.
const MODULES_PER_WORKER: u64 = 1000;

/// The compile workers of an engine. Dropping it kills and reaps those that are idle; those that
/// compile belong to whoever waits for them.
#[derive(Debug)]
pub(super) struct Workers {
    // Before the idle ones: it could add to them.
    supervisor: Supervisor,
    idle: Arc<Idle>,
    confinement: Confinement,
    limits: Limits,
    modules_per_worker: u64,
}

/// Limits of one compilation.
#[derive(Clone, Copy, Debug)]
struct Limits {
    wall: Duration,
    /// In whole seconds, which is how the kernel counts it.
    cpu_seconds: u64,
    memory_bytes: u64,
}

impl Limits {
    fn new(config: &EngineConfig) -> Self {
        let cpu = config.compile_cpu;
        Self {
            wall: config.compile_timeout,
            cpu_seconds: cpu.as_secs().saturating_add(u64::from(cpu.subsec_nanos() > 0)).max(1),
            memory_bytes: config.compile_memory_bytes,
        }
    }
}

impl Workers {
    /// Starts the first worker and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not start, or the calling thread is not of a Tokio runtime.
    pub(super) fn start(config: &EngineConfig, command: WorkerCommand) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|error| StartError::Worker(io::Error::other(error)))?;
        let starter = Starter::new(config, command).map_err(StartError::Wasmtime)?;
        let idle = Arc::new(Idle::new());
        let turns = config.concurrent_compilations;
        let (supervisor, confinement) =
            Supervisor::start(starter, runtime, Arc::clone(&idle), turns)?;
        let (limits, modules_per_worker) = (Limits::new(config), MODULES_PER_WORKER);
        Ok(Self { supervisor, idle, confinement, limits, modules_per_worker })
    }

    pub(super) fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// Compiles one module; the caller has a turn.
    pub(super) async fn compile(
        &self,
        background: &Background,
        profile: Profile,
        wasm: &[u8],
    ) -> Result<Artifact, CompileError> {
        let length = wasm.len() as u64;
        if length > MAXIMUM_WASM {
            let reason = format!("a module has at most {MAXIMUM_WASM} bytes");
            return Err(CompileError::Compiler(wasmtime::Error::msg(reason)));
        }
        let job = JobHeader { profile, cpu_seconds: self.limits.cpu_seconds, length };
        let worker = self.worker().await.map_err(CompileError::Worker)?;
        match self.compile_with(worker, background, job, wasm).await {
            Err(CompileError::Killed { report }) => {
                // It may have been ended before it knew of the module, and others with it.
                tracing::warn!(report, "a compile worker was ended from outside");
                let worker = self.supervisor.fresh_worker().await.map_err(CompileError::Worker)?;
                self.compile_with(worker, background, job, wasm).await
            }
            compiled => compiled,
        }
    }

    async fn compile_with(
        &self,
        mut worker: Worker,
        background: &Background,
        job: JobHeader,
        wasm: &[u8],
    ) -> Result<Artifact, CompileError> {
        match tokio::time::timeout(self.limits.wall, worker.run(job, wasm)).await {
            Ok(Ok(Answer::Compiled(code))) => {
                self.keep(background, worker);
                Ok(Artifact::Bytes(Arc::from(code)))
            }
            Ok(Ok(Answer::Refused(message))) => {
                self.keep(background, worker);
                Err(CompileError::Compiler(wasmtime::Error::msg(message)))
            }
            Ok(Ok(Answer::OutOfMemory)) => {
                self.replace(background, worker);
                Err(CompileError::MemoryLimit { limit: self.limits.memory_bytes })
            }
            Ok(Ok(Answer::Panicked(message))) => {
                self.replace(background, worker);
                Err(CompileError::Crashed { report: format!("it panicked: {message}") })
            }
            Ok(Err(broken)) => Err(self.explain(background, worker, &broken).await),
            Err(_) => {
                self.replace(background, worker);
                Err(CompileError::Timeout { limit: self.limits.wall })
            }
        }
    }

    /// An idle worker, or a new one.
    async fn worker(&self) -> io::Result<Worker> {
        match self.idle.take() {
            Some(worker) => Ok(worker),
            None => self.supervisor.worker().await,
        }
    }

    /// Keeps a worker that did what it should for the next module, unless it is worn out.
    fn keep(&self, background: &Background, worker: Worker) {
        if worker.modules() < self.modules_per_worker {
            self.idle.put(worker);
        } else {
            self.replace(background, worker);
        }
    }

    /// Kills a worker, and has another one started if there is no other.
    fn replace(&self, background: &Background, mut worker: Worker) {
        worker.kill();
        // It takes the kernel a while to take a large process apart.
        background.spawn_blocking(move || drop(worker));
        self.supervisor.warm_up();
    }

    /// Why a worker did not answer.
    async fn explain(
        &self,
        background: &Background,
        worker: Worker,
        broken: &Broken,
    ) -> CompileError {
        let ended = background.spawn_blocking(move || worker.end()).await;
        let error = match ended {
            Ok(Ok(ended)) if ended.by_cpu_limit() => {
                CompileError::CpuLimit { limit: Duration::from_secs(self.limits.cpu_seconds) }
            }
            Ok(Ok(ended)) if ended.out_of_memory() => {
                CompileError::MemoryLimit { limit: self.limits.memory_bytes }
            }
            // What could still speak was killed by nobody but us. One that retries gets a fresh one.
            Ok(Ok(ended)) if matches!(broken, Broken::Pipe(_)) && ended.by_others() => {
                return CompileError::Killed { report: ended.report(broken) };
            }
            Ok(Ok(ended)) => CompileError::Crashed { report: ended.report(broken) },
            Ok(Err(error)) => CompileError::Crashed { report: format!("{broken}; {error}") },
            Err(error) => CompileError::Crashed { report: format!("{broken}; {error}") },
        };
        self.supervisor.warm_up();
        error
    }
}

#[cfg(test)]
mod tests;
