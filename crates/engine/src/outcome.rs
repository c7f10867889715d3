//! How a call ended: results or the reason there are none, and what it used.

use std::time::Duration;

use crate::Value;
use crate::access::{BadPointer, MemoryRange, MemoryReads};

/// How a call ended.
#[derive(Debug)]
pub struct Outcome {
    /// The results in the function's order, or why there are none.
    pub result: Result<Vec<Value>, Failure>,
    /// What the call used; `None` when it ended before any guest code could run.
    pub usage: Option<Usage>,
    /// What was read from memories; `None` if nothing was to be, or if the function was not called
    /// because a write did not fit.
    pub memory: Option<Box<MemoryReads>>,
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From admission to the last result.
    pub wall: Duration,
    /// Fuel consumed, for a metered call.
    pub fuel: Option<u64>,
    /// The largest sum of the graph's memories and its garbage-collected heap, in bytes.
    pub memory_bytes: u64,
    /// Whether a `memory.grow` or `table.grow` was refused because of the call's limits.
    pub growth_refused: bool,
}

/// Why a guest gave no results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The guest trapped.
    Trap(Trap),
    /// The call's time was up.
    Timeout,
    /// The call's fuel was used up.
    FuelExhausted,
    /// The initial memory did not fit, the guest's heap was exhausted, or it trapped after a growth
    /// was refused.
    MemoryLimit {
        /// What happened, for a person to read.
        detail: String,
        /// The trap that ended the call, if one did.
        trap: Option<Trap>,
    },
    /// The WebAssembly stack was exhausted.
    StackOverflow(Trap),
    /// A write does not fit its memory; the function was not called.
    MemoryRange(MemoryRange),
    /// The guest's allocator gave a pointer that cannot be used; the function was not called.
    BadPointer(BadPointer),
}

impl Failure {
    /// The trap that ended the call, if one did.
    pub(crate) fn trap(&self) -> Option<&Trap> {
        match self {
            Self::Trap(trap) | Self::StackOverflow(trap) => Some(trap),
            Self::MemoryLimit { trap, .. } => trap.as_ref(),
            Self::Timeout | Self::FuelExhausted | Self::MemoryRange(_) | Self::BadPointer(_) => {
                None
            }
        }
    }
}

/// A trap, with the stack it happened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// What went wrong.
    pub kind: TrapKind,
    /// The innermost frames first, at most [`Trap::MAX_FRAMES`].
    pub backtrace: Vec<Frame>,
}

impl Trap {
    /// How many frames a backtrace has at most.
    pub const MAX_FRAMES: usize = 20;
}

/// One frame of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The node of the program's graph that the function belongs to.
    pub node: usize,
    /// The function's name from the module's name section, if it has one.
    pub function: Option<String>,
    /// The function's index in its module.
    pub index: u32,
    /// The offset of the instruction in the Wasm binary, in bytes.
    pub offset: Option<usize>,
}

/// How many bytes of a name that a guest chose are repeated in reports.
const MAXIMUM_NAME: usize = 200;

/// A guest's name, shortened if it is long: names may have megabytes.
pub(crate) fn shorten(name: &str) -> String {
    match name.char_indices().find(|(index, _)| *index >= MAXIMUM_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// What made a guest trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// The `unreachable` instruction was executed.
    Unreachable,
    /// An integer was divided by zero.
    IntegerDivideByZero,
    /// An integer operation had no representable result.
    IntegerOverflow,
    /// A float could not be converted to an integer.
    BadConversionToInteger,
    /// A memory was accessed out of its bounds.
    MemoryOutOfBounds,
    /// A table was accessed out of its bounds.
    TableOutOfBounds,
    /// An indirect call met a null element.
    IndirectCallToNull,
    /// An indirect call met a function of another type.
    BadSignature,
    /// A null reference was used.
    NullReference,
    /// An array was accessed out of its bounds.
    ArrayOutOfBounds,
    /// A reference was cast to a type it does not have.
    CastFailure,
    /// An exception was thrown and not caught.
    Exception,
    /// The call stack was exhausted.
    StackOverflow,
    /// The host refused to go on.
    Host,
    /// Anything else.
    Other,
}

impl TrapKind {
    /// The stable name of the kind, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::IntegerDivideByZero => "integer-divide-by-zero",
            Self::IntegerOverflow => "integer-overflow",
            Self::BadConversionToInteger => "bad-conversion-to-integer",
            Self::MemoryOutOfBounds => "memory-out-of-bounds",
            Self::TableOutOfBounds => "table-out-of-bounds",
            Self::IndirectCallToNull => "indirect-call-to-null",
            Self::BadSignature => "bad-signature",
            Self::NullReference => "null-reference",
            Self::ArrayOutOfBounds => "array-out-of-bounds",
            Self::CastFailure => "cast-failure",
            Self::Exception => "exception",
            Self::StackOverflow => "stack-overflow",
            Self::Host => "host",
            Self::Other => "other",
        }
    }

    /// What happened, as a sentence's end: "the guest trapped: …".
    pub fn description(self) -> &'static str {
        match self {
            Self::Unreachable => "an `unreachable` instruction was executed",
            Self::IntegerDivideByZero => "an integer was divided by zero",
            Self::IntegerOverflow => "an integer operation overflowed",
            Self::BadConversionToInteger => "a float could not be converted to an integer",
            Self::MemoryOutOfBounds => "a memory was accessed out of its bounds",
            Self::TableOutOfBounds => "a table was accessed out of its bounds",
            Self::IndirectCallToNull => "an indirect call met a null table element",
            Self::BadSignature => "an indirect call met a function of another type",
            Self::NullReference => "a null reference was used",
            Self::ArrayOutOfBounds => "an array was accessed out of its bounds",
            Self::CastFailure => "a reference was cast to a type it does not have",
            Self::Exception => "an exception was thrown and not caught",
            Self::StackOverflow => "the call stack was exhausted",
            Self::Host => "the host refused to go on",
            Self::Other => "the guest did something that is not allowed",
        }
    }
}

impl From<wasmtime::Trap> for TrapKind {
    fn from(trap: wasmtime::Trap) -> Self {
        use wasmtime::Trap as T;
        match trap {
            T::UnreachableCodeReached => Self::Unreachable,
            T::IntegerDivisionByZero => Self::IntegerDivideByZero,
            T::IntegerOverflow => Self::IntegerOverflow,
            T::BadConversionToInteger => Self::BadConversionToInteger,
            T::MemoryOutOfBounds | T::HeapMisaligned => Self::MemoryOutOfBounds,
            T::TableOutOfBounds => Self::TableOutOfBounds,
            T::IndirectCallToNull => Self::IndirectCallToNull,
            T::BadSignature => Self::BadSignature,
            T::NullReference => Self::NullReference,
            T::ArrayOutOfBounds => Self::ArrayOutOfBounds,
            T::CastFailure => Self::CastFailure,
            T::StackOverflow => Self::StackOverflow,
            // Wasmtime's enum is not exhaustive; a kind it adds is still a trap.
            _ => Self::Other,
        }
    }
}
