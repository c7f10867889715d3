//! The ways guests are compiled and run, each a Wasmtime engine of its own.

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, RegallocAlgorithm,
    Strategy,
};

use crate::config::{EngineConfig, Profile};
use crate::outcome::Trap;

/// How much of the pool one call may take: instances, memories or tables, whichever is most. An
/// eighth of what the smallest pool has for such calls, so that a few cannot keep all others out.
pub(crate) const MAXIMUM_CALL_SLOTS: u32 = 256;

/// The slots of the smallest and of the largest pool.
const POOL_SLOTS: [u32; 2] = [4096, 8192];

/// Memories and tables that one module may define.
pub(crate) const MAXIMUM_PER_MODULE: u32 = 64;

/// A slot's dirty bytes up to this many are reset by copying and kept; the rest is given back to the
/// kernel. Short calls seldom touch more, and what is kept counts as no guest's memory. It pays only
/// where the kernel tells which pages are dirty (`PAGEMAP_SCAN`, Linux 6.7): without
/// that, every page up to it would be copied after each call.
const KEEP_RESIDENT: usize = 128 << 10;

/// Stack for the host's part of a call on top of what the guest may use, in bytes.
const HOST_STACK: usize = 256 << 10;

/// The instance's own data (function references, globals) in bytes: Wasmtime's default.
const INSTANCE_BYTES: usize = 1 << 20;

/// The configuration that both running and compiling use.
///
/// Everything here that changes generated code is part of the engine's compatibility hash, which is
/// in the path of every artifact.
pub(crate) fn base_config(config: &EngineConfig, profile: Profile) -> Config {
    let mut wasmtime = Config::new();
    wasmtime
        .strategy(Strategy::Cranelift)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        // Compiling a small module in parallel costs more than it saves.
        .parallel_compilation(false)
        // A guest's loop must end, whoever wrote it.
        .epoch_interruption(true)
        .max_wasm_stack(config.stack_bytes)
        .async_stack_size(stack(config))
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(Trap::MAX_FRAMES))
        // Shared memory needs threads that wait for each other; calls here are isolated.
        .wasm_threads(false)
        .memory_init_cow(true);
    if profile == Profile::Metered {
        wasmtime
            .consume_fuel(true)
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true);
    }
    wasmtime
}

/// The engine that runs calls of one profile.
pub(crate) fn running_engine(
    config: &EngineConfig,
    profile: Profile,
) -> wasmtime::Result<wasmtime::Engine> {
    let mut wasmtime = base_config(config, profile);
    wasmtime.allocation_strategy(match profile {
        Profile::Fast | Profile::Metered => InstanceAllocationStrategy::Pooling(pool(config)),
        // A store keeps its instances and its stack until it is dropped: idle sessions would drain a
        // pool. How instances are allocated makes no difference to the code.
        Profile::Session => InstanceAllocationStrategy::OnDemand,
    });
    wasmtime::Engine::new(&wasmtime)
}

fn pool(config: &EngineConfig) -> PoolingAllocationConfig {
    let calls = u32::try_from(config.concurrent_calls).unwrap_or(u32::MAX);
    let slots = pool_slots(config);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        .total_memories(slots)
        .total_tables(slots)
        .total_stacks(calls)
        .total_gc_heaps(calls)
        .max_memories_per_module(MAXIMUM_PER_MODULE)
        .max_tables_per_module(MAXIMUM_PER_MODULE)
        .max_memory_size(config.memory_maximum)
        .table_elements(config.table_elements)
        .max_core_instance_size(INSTANCE_BYTES)
        .max_unused_warm_slots(calls);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_RESIDENT);
    }
    pool
}

/// What the pool of one profile may keep between calls at most, in bytes: the stacks, which are not given
/// back, and of each slot for a memory and for a table what is reset by copying.
pub(crate) fn kept_bytes(config: &EngineConfig) -> u64 {
    let stacks = config.concurrent_calls as u64 * stack(config) as u64;
    let slots = 2 * u64::from(pool_slots(config)) * KEEP_RESIDENT as u64;
    stacks.saturating_add(slots)
}

/// The stack that a call has, in bytes: a session keeps it between calls.
pub(crate) fn stack(config: &EngineConfig) -> usize {
    config.stack_bytes.saturating_add(HOST_STACK)
}

/// How many slots of the pool each call has without asking, and how many are left for calls that take
/// more: half of the pool each. So an ordinary call is admitted by one count instead of two.
pub(crate) fn divide_slots(config: &EngineConfig) -> (u32, u32) {
    let calls = u32::try_from(config.concurrent_calls).unwrap_or(u32::MAX).max(1);
    let slots = pool_slots(config);
    let reserved = slots / 2 / calls;
    (reserved, slots - reserved * calls)
}

/// How many instances, memories and tables the pool holds.
///
/// Each memory slot reserves a little over 4 GiB of address space, of which there are 128 TiB: about
/// 20,000 slots over all engines is what the kernel grants.
fn pool_slots(config: &EngineConfig) -> u32 {
    let calls = u32::try_from(config.concurrent_calls).unwrap_or(u32::MAX);
    let [smallest, largest] = POOL_SLOTS;
    calls.saturating_mul(4).clamp(smallest, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_divided_and_not_exceeded() {
        for calls in [1, 16, 256, 1024, 4096, 5000, 100_000] {
            let config = EngineConfig { concurrent_calls: calls, ..EngineConfig::default() };
            let (reserved, shared) = divide_slots(&config);
            let calls = u32::try_from(calls).unwrap();
            assert_eq!(reserved * calls + shared, pool_slots(&config));
            assert!(shared >= 8 * MAXIMUM_CALL_SLOTS, "the largest call fits eight times");
        }
    }
}
