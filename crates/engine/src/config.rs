//! What an operator can set about running guests, and what a caller can set about one call.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::READ_BYTES;
use crate::door::ModuleLimits;
use crate::profile;

/// Stack for whoever polls a call and what it is polled by, in bytes: generous, since an unoptimised
/// build takes several times what an optimised one does.
const CALLERS_STACK: usize = 1280 << 10;

/// Settings of an [`Engine`](crate::Engine), fixed for its life.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The most memory that one call can ask for, in bytes: memories and garbage-collected heap,
    /// summed over its graph. It is also the size above which a single memory is refused.
    pub memory_maximum: usize,
    /// The most memory that all calls together may have, in bytes.
    pub guest_memory: usize,
    /// The most table elements that one call can have, summed over its graph.
    pub table_elements: usize,
    /// The stack a guest may use, in bytes.
    pub stack_bytes: usize,
    /// How many calls may run at once.
    pub concurrent_calls: usize,
    /// How many calls may wait for a place; one more is refused.
    pub queued_calls: usize,
    /// How many modules are compiled at once.
    pub concurrent_compilations: usize,
    /// How many compilations may wait for a place; one more is refused.
    pub queued_compilations: usize,
    /// How long a compilation may take before its callers are given up on.
    pub compile_timeout: Duration,
    /// How much processor time a compilation may take, over all its threads, rounded up to whole
    /// seconds. Kept by compile workers only.
    pub compile_cpu: Duration,
    /// How much memory a compilation may take, in bytes of address space beyond what an idle
    /// compile worker has. Kept by compile workers only.
    pub compile_memory_bytes: u64,
    /// Where modules are compiled.
    pub compiler: CompilerPlace,
    /// What a module may have to be compiled at all.
    pub module_limits: ModuleLimits,
}

/// Where modules are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CompilerPlace {
    /// On background threads of this process: nothing else is needed, but a module that costs the
    /// compiler too much costs this process, and a thread that compiles cannot be ended.
    #[default]
    InProcess,
    /// In child processes that confine themselves. The engine must then be started and used within
    /// one Tokio runtime.
    Workers(WorkerCommand),
}

/// What is executed to get a compile worker: a program that calls
/// [`run_compile_worker`](crate::run_compile_worker), built from the same source as this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<OsString>,
}

/// Tells clients apart, so that none takes all places of something; what it stands for is the
/// caller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub u64);

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            memory_maximum: 256 << 20,
            guest_memory: 4 << 30,
            table_elements: 100_000,
            stack_bytes: 512 << 10,
            concurrent_calls: 256,
            queued_calls: 1024,
            concurrent_compilations: std::thread::available_parallelism().map_or(2, usize::from),
            queued_compilations: 256,
            compile_timeout: Duration::from_secs(60),
            compile_cpu: Duration::from_secs(60),
            compile_memory_bytes: 2 << 30,
            compiler: CompilerPlace::InProcess,
            module_limits: ModuleLimits::default(),
        }
    }
}

impl EngineConfig {
    /// The stack that a thread should have which polls calls, in bytes: calls of functions that are
    /// always short run on it, if there is room.
    pub fn thread_stack(&self) -> usize {
        profile::stack(self).saturating_add(CALLERS_STACK)
    }

    /// What the engine may have in memory at most, in bytes, by what it is for. `sessions` is how many
    /// there may be.
    ///
    /// Not covered: loaded code, which whoever keeps programs bounds by their [`Cost`](crate::Cost).
    pub fn memory(&self, sessions: usize) -> [(&'static str, u64); 5] {
        let compilations = self.concurrent_compilations as u64;
        [
            ("memories and tables of guests", self.guest_memory as u64),
            ("stacks, and what is kept of memories between calls", 2 * profile::kept_bytes(self)),
            ("stacks of sessions", sessions as u64 * profile::stack(self) as u64),
            ("bytes on their way out of memories", 2 * READ_BYTES),
            ("compiling", compilations.saturating_mul(self.compile_memory_bytes)),
        ]
    }
}

/// Limits of one call. They are one budget for the whole graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// From admission to the last result, waiting for a place or for a compilation not included.
    pub timeout: Duration,
    /// Memories and garbage-collected heap, in bytes.
    pub memory_bytes: usize,
    /// Fuel, in Wasmtime's units (about one for an instruction). A call with fuel runs on the
    /// metered profile: the same server build and processor always end it the same way.
    pub fuel: Option<u64>,
}

/// Limits of a session, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Memories, garbage-collected heap and host values, in bytes, summed over its instances.
    pub memory_bytes: usize,
    /// Instances, those of linked modules and those whose start functions failed included. It can
    /// have as many memories, too.
    pub instances: usize,
}

/// What a module is compiled for, and which engine it is loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Interrupted by epochs only.
    Fast,
    /// Fuel is counted, NaNs are canonical and relaxed SIMD is deterministic.
    Metered,
    /// Compiled as for [`Fast`](Self::Fast), so artifacts are the same, but run in stores that live
    /// between calls and take nothing from the pool.
    Session,
}

impl Profile {
    /// The profile that a call with these limits needs.
    pub fn of(limits: &CallLimits) -> Self {
        if limits.fuel.is_some() { Self::Metered } else { Self::Fast }
    }

    /// The profile whose code this one runs.
    pub fn compiled_as(self) -> Self {
        match self {
            Self::Fast | Self::Session => Self::Fast,
            Self::Metered => Self::Metered,
        }
    }

    /// A short stable name of the code, used in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast | Self::Session => "fast",
            Self::Metered => "metered",
        }
    }
}
