//! Exported globals and memories, read and written from outside.

use wasmtime::{Instance, Memory, Mutability, RootScope};

use super::{Live, SessionError, SessionOutcome, unknown};
use crate::session::{SessionValue, value};

/// Bytes outside of a memory were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at offset {offset} are not in the memory, which has {memory_bytes}")]
pub struct MemoryBounds {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
    /// How many bytes the memory has.
    pub memory_bytes: u64,
}

impl Live {
    pub(in super::super) fn global(
        &mut self,
        instance: Instance,
        name: &str,
    ) -> Result<SessionValue, SessionError> {
        let mut scope = RootScope::new(&mut self.store);
        let global = instance.get_global(&mut scope, name);
        let global = global.ok_or_else(|| unknown("global", name))?;
        let value = global.get(&mut scope);
        value::from_wasmtime(&value, &mut scope).map_err(SessionError::Engine)
    }

    pub(in super::super) async fn set_global(
        &mut self,
        instance: Instance,
        name: &str,
        value: &SessionValue,
    ) -> Result<SessionOutcome<()>, SessionError> {
        let mut scope = RootScope::new(&mut self.store);
        let global = instance.get_global(&mut scope, name);
        let global = global.ok_or_else(|| unknown("global", name))?;
        let ty = global.ty(&scope);
        if ty.mutability() == Mutability::Const {
            return Err(SessionError::Immutable(name.to_owned()));
        }
        let value = value::to_wasmtime(value, ty.content(), &mut scope).await;
        let set = match value {
            Ok(Some(value)) => global.set(&mut scope, value),
            Ok(None) => return Err(SessionError::Values),
            Err(error) => Err(error),
        };
        drop(scope);
        self.outcome(set, false)
    }

    pub(in super::super) fn read_memory<R>(
        &mut self,
        instance: Instance,
        name: &str,
        (offset, length): (u64, Option<u64>),
        copy: impl FnOnce(&[u8]) -> Option<R>,
    ) -> Result<R, SessionError> {
        let memory = self.memory(instance, name)?;
        let data = memory.data(&self.store);
        let length = length.unwrap_or_else(|| (data.len() as u64).saturating_sub(offset));
        let range = range(offset, length, data.len())?;
        copy(&data[range]).ok_or(SessionError::Overloaded)
    }

    pub(in super::super) fn write_memory(
        &mut self,
        instance: Instance,
        name: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let memory = self.memory(instance, name)?;
        let data = memory.data_mut(&mut self.store);
        let range = range(offset, bytes.len() as u64, data.len())?;
        data[range].copy_from_slice(bytes);
        Ok(())
    }

    fn memory(&mut self, instance: Instance, name: &str) -> Result<Memory, SessionError> {
        let memory = instance.get_memory(&mut self.store, name);
        memory.ok_or_else(|| unknown("memory", name))
    }
}

/// The bytes from `offset` on as a range within `size`.
fn range(offset: u64, length: u64, size: usize) -> Result<std::ops::Range<usize>, MemoryBounds> {
    let end = offset.checked_add(length).filter(|end| *end <= size as u64);
    match end {
        // Both are at most `size`.
        Some(end) => Ok(offset as usize..end as usize),
        None => Err(MemoryBounds { offset, length, memory_bytes: size as u64 }),
    }
}
