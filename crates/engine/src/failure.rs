//! What an error of Wasmtime means to the caller.

use wasmtime::{GcHeapOutOfMemory, PoolConcurrencyLimitError, ThrownException, WasmBacktrace};

use crate::access::AccessError;
use crate::call::CallError;
use crate::limiter::{Exhausted, NoRoom};
use crate::outcome::{Failure, Frame, Trap, TrapKind, shorten};
use crate::store::{SessionIsOver, State, TimeIsUp};

/// What an error of Wasmtime means to the caller. `node_of` says which node of the graph a module of
/// the backtrace is.
///
/// # Errors
///
/// When it is not the guest's doing.
pub(crate) fn of(
    error: wasmtime::Error,
    state: &State,
    node_of: impl Fn(&wasmtime::Module) -> usize,
) -> Result<Failure, CallError> {
    let limiter = state.limiter();
    if error.is::<TimeIsUp>() {
        return Ok(Failure::Timeout);
    }
    match error.downcast_ref::<AccessError>() {
        Some(AccessError::Range(range)) => return Ok(Failure::MemoryRange(*range)),
        Some(AccessError::Allocator(pointer)) => return Ok(Failure::BadPointer(*pointer)),
        None => {}
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Err(CallError::Overloaded);
    }
    if error.is::<Exhausted>() {
        return Err(CallError::Exhausted { wall: state.elapsed() });
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
            return Err(CallError::Exhausted { wall: state.elapsed() });
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

/// Whether it is that an instance got no memory or table, so that it was never made. Whatever happens
/// to one that was made is a trap, or happens in its code, or to the garbage-collected heap, which is
/// there before.
pub(crate) fn is_of_allocation(error: &wasmtime::Error) -> bool {
    !(error.is::<wasmtime::Trap>()
        || error.is::<ThrownException>()
        || error.is::<GcHeapOutOfMemory<()>>()
        || error.downcast_ref::<WasmBacktrace>().is_some()
        || error.is::<TimeIsUp>()
        || error.is::<SessionIsOver>())
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
