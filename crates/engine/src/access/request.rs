//! What can be asked of memories, and what comes of it.

use std::fmt;

use tokio::sync::OwnedSemaphorePermit;

use super::allocator;
use crate::value::ValueType;

/// The exported memory that is meant if none is named.
const DEFAULT_MEMORY: &str = "memory";

/// What a call does with memories besides calling a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The memory of parameters, and of writes and reads that name none.
    pub memory: MemoryName,
    /// Bytes that stand for two parameters each.
    pub params: Vec<BytesParam>,
    /// What is put in before the function is called: all of it or nothing.
    pub writes: Vec<Write>,
    /// What is taken out afterwards.
    pub reads: Vec<Read>,
    /// How many bytes all reads together may take out.
    pub maximum_read: u64,
}

/// Which memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryName {
    /// One that the root module exports.
    Export(String),
    /// One that the host provides.
    Import {
        /// The module that it is imported from.
        module: String,
        /// Its name there.
        name: String,
    },
}

impl Default for MemoryName {
    fn default() -> Self {
        Self::Export(DEFAULT_MEMORY.to_owned())
    }
}

impl fmt::Display for MemoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Export(name) => write!(f, "export {name:?}"),
            Self::Import { module, name } => write!(f, "import {module:?} {name:?}"),
        }
    }
}

/// Bytes that are passed as two parameters, the address of a copy and its length. The space comes
/// from an allocator that the root module exports, which is asked also if there are no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesParam {
    /// Which parameter of the function is the address; the next is the length. Both are `i32`, or both
    /// `i64`.
    pub index: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Bytes to put into a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which memory, if not the access's.
    pub memory: Option<MemoryName>,
    /// Where, in bytes.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// Bytes to take out of a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which memory, if not the access's.
    pub memory: Option<MemoryName>,
    /// From where, in bytes.
    pub offset: Quantity,
    /// How many bytes.
    pub length: Quantity,
}

/// An offset or a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// So many bytes.
    Bytes(u64),
    /// What the function gives as this result, counted from 0: an `i32` or `i64`, without sign.
    Result(usize),
}

/// What was read, and the room that it takes until it is dropped.
#[derive(Debug)]
pub struct MemoryReads {
    /// In the order in which it was asked for.
    pub reads: Vec<ReadOutcome>,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What became of a [`Read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The bytes.
    Bytes {
        /// From where they are.
        offset: u64,
        /// What was there.
        bytes: Vec<u8>,
    },
    /// The memory ends before it, or within it.
    OutOfRange,
    /// It names a result, and the function gave none.
    NoResult,
    /// The memory was never made, since the call ended before.
    NoMemory,
    /// All reads together are more than [`Access::maximum_read`], so none was made.
    OverLimit {
        /// How many bytes this one would be.
        length: u64,
    },
}

/// Why an access cannot be made whatever the guest does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccess {
    /// There is no such memory.
    #[error("there is no memory {asked}{}", among(.memories))]
    UnknownMemory {
        /// What was asked for.
        asked: MemoryName,
        /// The first of those that there are.
        memories: Vec<MemoryName>,
    },
    /// A read names a result that the function does not have, or that is no integer.
    #[error("memory.read[{read}]: result {result} is {}", found.map_or_else(|| format!("not there: the function has {results}"), |ty| format!("of type {ty}, not i32 or i64")))]
    Result {
        /// Which read.
        read: usize,
        /// Which result it names.
        result: usize,
        /// How many results the function has.
        results: usize,
        /// The result's type, if it is there.
        found: Option<ValueType>,
    },
    /// The root module exports no allocator.
    #[error("the module exports no allocator for bytes: none of {}", allocator::signatures(*.address))]
    NoAllocator {
        /// The type of the addresses that are wanted, `i32` or `i64`.
        address: ValueType,
    },
    /// Bytes are passed where the function has no two parameters of one integer type.
    #[error("the parameters {index} and {} are no address and length", .index + 1)]
    NoPair {
        /// Which parameter would be the address.
        index: usize,
    },
}

fn among(memories: &[MemoryName]) -> String {
    const SHOWN: usize = 10;
    if memories.is_empty() {
        return "; there is none that can be read or written".to_owned();
    }
    let shown: Vec<_> = memories.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if memories.len() > SHOWN { ", …" } else { "" };
    format!("; there are {}{more}", shown.join(", "))
}

/// A write that does not fit its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Which write.
    pub index: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// How many bytes the memory has.
    pub memory_bytes: u64,
}

/// What a guest's allocator gave that it should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPointer {
    /// The allocator's name.
    pub allocator: &'static str,
    /// What it gave.
    pub pointer: u64,
    /// How many bytes it was asked for.
    pub length: u64,
    /// How many bytes the memory has.
    pub memory_bytes: u64,
}
