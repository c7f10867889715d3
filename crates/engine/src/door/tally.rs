//! Counting against the limits, and what is said when one is exceeded.

use std::fmt;

use super::limits::{ModuleLimit, ModuleLimits};
use crate::background::GiveWay;

/// A module has more of something than may be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// The limit.
    pub limit: ModuleLimit,
    /// How much was found, or how much at least: counting ends where the maximum is passed.
    pub found: u64,
    /// The most there may be.
    pub maximum: u64,
    /// The function it is in, by its index in the module, if it is a function's limit.
    pub function: Option<u32>,
    /// Where the maximum was passed, in bytes from the module's start.
    pub offset: usize,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, found, maximum, function, offset } = self;
        match function {
            Some(function) => write!(f, "function {function}")?,
            None => f.write_str("the module")?,
        }
        write!(f, " has at least {found} {}", limit.what())?;
        write!(f, "; the maximum is {maximum}, and is passed at offset {offset}")
    }
}

impl std::error::Error for LimitExceeded {}

/// What was counted so far, of the module and of the function that is being read.
#[derive(Debug)]
pub(super) struct Tally {
    limits: ModuleLimits,
    counts: [u64; ModuleLimit::ALL.len()],
    function: Option<u32>,
    /// Where the part begins that is being read.
    offset: usize,
    way: GiveWay,
}

impl Tally {
    /// For a module that is about to be read.
    pub(super) fn new(limits: &ModuleLimits, wasm: &[u8]) -> Self {
        let counts = [0; ModuleLimit::ALL.len()];
        let way = GiveWay::while_reading(wasm);
        Self { limits: *limits, counts, function: None, offset: 0, way }
    }

    /// Says where the part begins that is read next.
    #[inline]
    pub(super) fn at(&mut self, offset: usize) {
        self.offset = offset;
        self.way.at(offset);
    }

    /// Begins to count for a function.
    pub(super) fn enter(&mut self, function: u32) {
        self.function = Some(function);
        self.counts[ModuleLimit::FunctionBytes as usize..].fill(0);
    }

    /// Ends to count for a function.
    pub(super) fn leave(&mut self) {
        self.function = None;
    }

    pub(super) fn count(&self, limit: ModuleLimit) -> u64 {
        self.counts[limit as usize]
    }

    /// Counts `more`.
    #[inline]
    pub(super) fn add(&mut self, limit: ModuleLimit, more: u64) -> Result<(), LimitExceeded> {
        self.set(limit, self.counts[limit as usize].saturating_add(more))
    }

    /// Sets what is not a sum.
    #[inline]
    pub(super) fn set(&mut self, limit: ModuleLimit, found: u64) -> Result<(), LimitExceeded> {
        self.counts[limit as usize] = found;
        let maximum = self.limits.maximum(limit);
        if found <= maximum { Ok(()) } else { Err(self.exceeded(limit, found, maximum)) }
    }

    /// Sets a product of two counts.
    #[inline]
    pub(super) fn multiply(
        &mut self,
        product: ModuleLimit,
        (one, other): (ModuleLimit, ModuleLimit),
    ) -> Result<(), LimitExceeded> {
        self.set(product, self.count(one).saturating_mul(self.count(other)))
    }

    #[cold]
    fn exceeded(&self, limit: ModuleLimit, found: u64, maximum: u64) -> LimitExceeded {
        let Self { function, offset, .. } = *self;
        LimitExceeded { limit, found, maximum, function, offset }
    }
}
