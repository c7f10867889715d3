//! The door before the compiler: one pass over a module against published limits.
//!
//! A few kilobytes of valid WebAssembly can cost an optimising compiler minutes and gigabytes,
//! because parts of it take time or memory that grows with a product of two things, like a
//! function's blocks and the values that they pass. The door counts those things and multiplies
//! them, without compiling and without validating. It allocates a few bytes for each type, function
//! and global, and for each level of nesting, all of which are limited themselves; nothing in it is
//! recursive. What it lets pass can still be slow to compile, only not out of all proportion.
//!
//! Tables and memories have no limit here: the validator takes a hundred of each, the pool fewer.

mod function;
mod limits;
mod module;
mod tally;

use wasmparser::BinaryReaderError;

pub use limits::{ModuleLimit, ModuleLimits};
pub use tally::LimitExceeded;

/// Why the door does not let a module pass.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It has more of something than may be compiled.
    Limit(LimitExceeded),
    /// It cannot be read to its end.
    Malformed(BinaryReaderError),
}

impl From<LimitExceeded> for Refusal {
    fn from(error: LimitExceeded) -> Self {
        Self::Limit(error)
    }
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}

/// Reads a module once, from its first byte to its last.
///
/// # Errors
///
/// At the first limit that is exceeded, or the first byte that cannot be read. A module that passes
/// need not be valid.
pub(crate) fn check(wasm: &[u8], limits: &ModuleLimits) -> Result<(), Refusal> {
    module::Pass::new(limits, wasm).read(wasm)
}

#[cfg(test)]
mod tests;
