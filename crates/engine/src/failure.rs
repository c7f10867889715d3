//! What an error of Wasmtime means to the caller.

use wasmtime::{GcHeapOutOfMemory, PoolConcurrencyLimitError, ThrownException, WasmBacktrace};

use crate::access::AccessError;
use crate::call::CallError;
use crate::limiter::{Exhausted, Limiter, NoRoom};
use crate::outcome::{Failure, Frame, Trap, TrapKind, shorten};
use crate::store::TimeIsUp;

/// What an error of Wasmtime means to the caller. `node_of` says which node of the graph a module of
/// the backtrace is.
///
/// # Errors
///
/// When it is not the guest's doing.
pub(crate) fn of(
    error: wasmtime::Error,
    limiter: &Limiter,
    node_of: impl Fn(&wasmtime::Module) -> usize,
) -> Result<Failure, CallError> {
    if error.is::<TimeIsUp>() {
        return Ok(Failure::Timeout);
    }
    match error.downcast_ref::<AccessError>() {
        Some(AccessError::Range(range)) => return Ok(Failure::MemoryRange(*range)),
        Some(AccessError::Allocator(pointer)) => return Ok(Failure::BadPointer(*pointer)),
        None => {}
    }
    if error.is::<PoolConcurrencyLimitError>() || error.is::<Exhausted>() {
        return Err(CallError::Overloaded);
    }
    let cause = error.downcast_ref::<wasmtime::Trap>();
    if cause == Some(&wasmtime::Trap::OutOfFuel) {
        return Ok(Failure::FuelExhausted);
    }
    let trap = trap(&error, node_of);
    if limiter.refused() || error.is::<NoRoom>() {
        return Ok(Failure::MemoryLimit { detail: limiter.refusal(), trap });
    }
    if cause == Some(&wasmtime::Trap::AllocationTooLarge) {
        let detail = "an allocation on the garbage-collected heap is too large".into();
        return Ok(Failure::MemoryLimit { detail, trap });
    }
    if error.is::<GcHeapOutOfMemory<()>>() {
        // Wasmtime collects garbage and tries again instead of passing on why growing failed.
        if limiter.exhausted() {
            return Err(CallError::Overloaded);
        }
        let detail = "the garbage-collected heap is exhausted".into();
        return Ok(Failure::MemoryLimit { detail, trap });
    }
    match trap {
        Some(trap) if trap.kind == TrapKind::StackOverflow => Ok(Failure::StackOverflow(trap)),
        Some(trap) => Ok(Failure::Trap(trap)),
        None => Err(CallError::Engine(error)),
    }
}

fn trap(error: &wasmtime::Error, node_of: impl Fn(&wasmtime::Module) -> usize) -> Option<Trap> {
    let kind = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => TrapKind::from(*trap),
        None if error.is::<ThrownException>() => TrapKind::Exception,
        None => return None,
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let backtrace = frames
        .iter()
        .take(Trap::MAX_FRAMES)
        .map(|frame| Frame {
            node: node_of(frame.module()),
            function: frame.func_name().map(shorten),
            index: frame.func_index(),
            offset: frame.module_offset(),
        })
        .collect();
    Some(Trap { kind, backtrace })
}
