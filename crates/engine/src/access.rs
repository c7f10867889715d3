//! Bytes that a call puts into memories before its function runs, and takes out after it.
//!
//! The order: the instances are made (start functions included), parameters that are bytes are
//! allocated and written, then [`Access::writes`] are written, then the function is called, then
//! [`Access::reads`] are read, whether it returned or not. Nothing here knows of a
//! [`Call`](crate::call::Call): whoever has a store and an instance in it can use it.

mod allocator;
mod request;
mod room;
#[cfg(test)]
mod tests;

use std::ops::Range;

use wasmtime::{Instance, Memory, Store, Val};

pub(crate) use allocator::Allocator;
pub use request::{
    Access, BadPointer, BytesParam, InvalidAccess, MemoryName, MemoryRange, MemoryReads, Quantity,
    Read, ReadOutcome, Write,
};
pub(crate) use room::{READ_BYTES, ReadRoom};

use crate::program::{Host, Program};
use crate::store::State;
use crate::value::ValueType;

/// A call that copies more bytes than this starts in the background.
const LARGE_ACCESS: u64 = 1 << 20;

/// Why the function was not called although the instances were made. Raised before the call, found
/// again in the error it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// A write does not fit its memory.
    #[error("a write is out of range")]
    Range(MemoryRange),
    /// The guest's allocator gave a null pointer, or one to space that is not in the memory.
    #[error("the allocator gave a bad pointer")]
    Allocator(BadPointer),
}

/// Where an access finds memories and functions once instances are made.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// `None` if the call ended before there was one.
    pub(crate) root: Option<Instance>,
    pub(crate) host: Option<(Instance, &'a Host)>,
}

impl Reach<'_> {
    fn memory(&self, store: &mut Store<State>, name: &MemoryName) -> Option<Memory> {
        match name {
            MemoryName::Export(name) => self.root?.get_memory(store, name),
            MemoryName::Import { module, name } => {
                let (instance, host) = self.host?;
                instance.get_module_export(store, host.export(module, name)?)?.into_memory()
            }
        }
    }
}

impl Access {
    /// Whether copying takes longer than a short call may.
    pub(crate) fn is_large(&self) -> bool {
        let put = self.params.iter().map(|param| param.bytes.len());
        let put: usize = put.chain(self.writes.iter().map(|write| write.bytes.len())).sum();
        self.most_read().saturating_add(put as u64) > LARGE_ACCESS
    }

    /// The most bytes that all reads together take out.
    fn most_read(&self) -> u64 {
        let lengths = self.reads.iter().map(|read| match read.length {
            Quantity::Bytes(length) => length,
            Quantity::Result(_) => u64::MAX,
        });
        lengths.fold(0, u64::saturating_add).min(self.maximum_read)
    }

    /// Checks all that can be checked before there is a store.
    pub(crate) fn check(
        &self,
        program: &Program,
        params: &[ValueType],
        results: &[ValueType],
    ) -> Result<(), InvalidAccess> {
        self.check_params(params, |allocator, address| program.allocates(allocator, address))?;
        self.check_memories(|memory| program.has_memory(memory), || program.memories())?;
        self.check_results(results)
    }

    /// Whether the parameters that are bytes fit the function, and there is an allocator for them.
    pub(crate) fn check_params(
        &self,
        params: &[ValueType],
        allocates: impl Fn(&Allocator, ValueType) -> bool,
    ) -> Result<(), InvalidAccess> {
        for BytesParam { index, .. } in &self.params {
            let address = match params.get(*index..).unwrap_or_default() {
                [address @ (ValueType::I32 | ValueType::I64), length, ..] if address == length => {
                    *address
                }
                _ => return Err(InvalidAccess::NoPair { index: *index }),
            };
            if !allocator::ALL.iter().any(|allocator| allocates(allocator, address)) {
                return Err(InvalidAccess::NoAllocator { address });
            }
        }
        Ok(())
    }

    /// Whether there are the memories that are named; `all` gives some of those that there are.
    pub(crate) fn check_memories(
        &self,
        is_there: impl Fn(&MemoryName) -> bool,
        all: impl FnOnce() -> Vec<MemoryName>,
    ) -> Result<(), InvalidAccess> {
        match self.memories().find(|memory| !is_there(memory)) {
            Some(asked) => {
                Err(InvalidAccess::UnknownMemory { asked: asked.clone(), memories: all() })
            }
            None => Ok(()),
        }
    }

    /// Whether the results that are named are integers.
    pub(crate) fn check_results(&self, results: &[ValueType]) -> Result<(), InvalidAccess> {
        for (read, Read { offset, length, .. }) in self.reads.iter().enumerate() {
            for quantity in [offset, length] {
                let Quantity::Result(result) = *quantity else { continue };
                let found = results.get(result).copied();
                if !matches!(found, Some(ValueType::I32 | ValueType::I64)) {
                    let results = results.len();
                    return Err(InvalidAccess::Result { read, result, results, found });
                }
            }
        }
        Ok(())
    }

    /// The memories that are needed, some several times.
    fn memories(&self) -> impl Iterator<Item = &MemoryName> {
        let params = self.params.iter().map(|_| &self.memory);
        let writes = self.writes.iter().map(|write| self.named(&write.memory));
        let reads = self.reads.iter().map(|read| self.named(&read.memory));
        params.chain(writes).chain(reads)
    }

    fn named<'a>(&'a self, memory: &'a Option<MemoryName>) -> &'a MemoryName {
        memory.as_ref().unwrap_or(&self.memory)
    }

    /// Passes the parameters that are bytes and writes what is to be written, after the instances are
    /// made and before the function is called.
    pub(crate) async fn begin(
        &self,
        store: &mut Store<State>,
        reach: Reach<'_>,
        params: &mut [Val],
    ) -> wasmtime::Result<()> {
        for param in &self.params {
            self.pass(param, store, reach, params).await?;
        }
        self.write(store, reach)
    }

    async fn pass(
        &self,
        param: &BytesParam,
        store: &mut Store<State>,
        reach: Reach<'_>,
        params: &mut [Val],
    ) -> wasmtime::Result<()> {
        let missing = || wasmtime::format_err!("an allocator or its memory is missing");
        let Some([address, length]) = params.get_mut(param.index..param.index + 2) else {
            return Err(missing());
        };
        let root = reach.root.ok_or_else(missing)?;
        let allocator = allocator::find(store, root, address).ok_or_else(missing)?;
        let pointer = allocator.allocate(store, param.bytes.len()).await?;
        let wanted = param.bytes.len() as u64;
        if wanted > 0 {
            let memory = reach.memory(store, &self.memory).ok_or_else(missing)?;
            let memory = memory.data_mut(&mut *store);
            let target = unsigned(&pointer).filter(|pointer| *pointer != 0);
            let target = target.and_then(|pointer| range(pointer, wanted, memory.len()));
            let Some(target) = target else {
                return Err(AccessError::Allocator(BadPointer {
                    allocator: allocator.name(),
                    pointer: unsigned(&pointer).unwrap_or_default(),
                    length: wanted,
                    memory_bytes: memory.len() as u64,
                })
                .into());
            };
            memory[target].copy_from_slice(&param.bytes);
        }
        *length = allocator::integer_like(&pointer, wanted)?;
        *address = pointer;
        Ok(())
    }

    fn write(&self, store: &mut Store<State>, reach: Reach<'_>) -> wasmtime::Result<()> {
        let mut targets = Vec::with_capacity(self.writes.len());
        for (index, Write { memory, offset, bytes }) in self.writes.iter().enumerate() {
            let memory = reach
                .memory(store, self.named(memory))
                .ok_or_else(|| wasmtime::format_err!("a memory is missing"))?;
            let (offset, length) = (*offset, bytes.len() as u64);
            let size = memory.data_size(&*store);
            let range = range(offset, length, size).ok_or_else(|| {
                let memory_bytes = size as u64;
                AccessError::Range(MemoryRange { index, offset, length, memory_bytes })
            })?;
            targets.push((memory, range));
        }
        for (Write { bytes, .. }, (memory, range)) in self.writes.iter().zip(targets) {
            memory.data_mut(&mut *store)[range].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Reads what is to be read, after the call; `results` is `None` if the function did not return.
    /// Waits until there is room for it. `None` if nothing was to be read.
    pub(crate) async fn end(
        &self,
        store: &mut Store<State>,
        reach: Reach<'_>,
        results: Option<&[Val]>,
        room: &ReadRoom,
    ) -> Option<MemoryReads> {
        if self.reads.is_empty() {
            return None;
        }
        let found: Vec<_> =
            self.reads.iter().map(|read| self.find(read, store, reach, results)).collect();
        let length = |(_, range): &(Memory, Range<usize>)| range.len() as u64;
        let total = found.iter().flatten().map(length).fold(0, u64::saturating_add);
        let fits = total <= self.maximum_read;
        let room = if fits { room.take(total).await } else { None };
        let read = found.into_iter().map(|found| match found {
            Ok((memory, range)) if fits => ReadOutcome::Bytes {
                offset: range.start as u64,
                bytes: memory.data(&*store)[range].to_vec(),
            },
            Ok(found) => ReadOutcome::OverLimit { length: length(&found) },
            Err(outcome) => outcome,
        });
        Some(MemoryReads { reads: read.collect(), _room: room })
    }

    /// Which bytes a read means, or why it means none.
    fn find(
        &self,
        read: &Read,
        store: &mut Store<State>,
        reach: Reach<'_>,
        results: Option<&[Val]>,
    ) -> Result<(Memory, Range<usize>), ReadOutcome> {
        let number = |place| match place {
            Quantity::Bytes(number) => Ok(number),
            Quantity::Result(index) => {
                let result = results.and_then(|results| results.get(index));
                result.and_then(unsigned).ok_or(ReadOutcome::NoResult)
            }
        };
        let (offset, length) = (number(read.offset)?, number(read.length)?);
        let memory = reach.memory(store, self.named(&read.memory)).ok_or(ReadOutcome::NoMemory)?;
        let range = range(offset, length, memory.data_size(&*store));
        Ok((memory, range.ok_or(ReadOutcome::OutOfRange)?))
    }
}

/// The bytes from `offset` on, if a memory of `size` bytes has so many there.
fn range(offset: u64, length: u64, size: usize) -> Option<Range<usize>> {
    let end = usize::try_from(offset.checked_add(length)?).ok()?;
    // What comes before the end fits as well.
    (end <= size).then(|| usize::try_from(offset).unwrap_or(end)..end)
}

/// An integer, which WebAssembly gives no sign, read without one.
fn unsigned(value: &Val) -> Option<u64> {
    match value {
        Val::I32(value) => Some(u64::from(value.cast_unsigned())),
        Val::I64(value) => Some(value.cast_unsigned()),
        _ => None,
    }
}
