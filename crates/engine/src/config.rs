//! What an operator can set about running guests, and what a caller can set about one call.

use std::time::Duration;

use crate::door::ModuleLimits;

/// Settings of an [`Engine`](crate::Engine), fixed for its life.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The most memory that one call can ask for, in bytes: memories and garbage-collected heap,
    /// summed over its graph. It is also the size above which a single memory is refused.
    pub memory_maximum: usize,
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
    /// What a module may have to be compiled at all.
    pub module_limits: ModuleLimits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            memory_maximum: 256 << 20,
            table_elements: 100_000,
            stack_bytes: 512 << 10,
            concurrent_calls: 256,
            queued_calls: 1024,
            concurrent_compilations: std::thread::available_parallelism().map_or(2, usize::from),
            queued_compilations: 256,
            compile_timeout: Duration::from_secs(60),
            module_limits: ModuleLimits::default(),
        }
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

/// Which of the two configurations of the compiler a module is compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Interrupted by epochs only.
    Fast,
    /// Fuel is counted, NaNs are canonical and relaxed SIMD is deterministic.
    Metered,
}

impl Profile {
    /// The profile that a call with these limits needs.
    pub fn of(limits: &CallLimits) -> Self {
        if limits.fuel.is_some() { Self::Metered } else { Self::Fast }
    }

    /// A short stable name, used in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Metered => "metered",
        }
    }
}
