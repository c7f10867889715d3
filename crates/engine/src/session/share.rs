//! What sessions have together, at most: all of them, and those of one client.

use std::sync::Arc;

use super::ModuleId;
use crate::limiter::{Exhausted, GuestMemory};
use crate::module::Footprint;

/// How many memory mappings all sessions may have, of the 65,530 that Linux gives a process. Programs
/// that are ready have their own bound, and the pools of ordinary calls need some thousands.
const MAXIMUM_MAPPINGS: usize = 16_384;

/// Mappings of a store: its stack and the guard below, and a garbage-collected heap like a memory.
const STORE_MAPPINGS: usize = 2 + MEMORY_MAPPINGS;

/// Mappings of a memory: what is in use, what is reserved, and what it was initialised from. The 4 GiB
/// of address space that each reserves are bounded by this as well.
const MEMORY_MAPPINGS: usize = 3;

/// Mappings of a loaded module: its code, its data, and the rest of its image.
const MODULE_MAPPINGS: usize = 3;

/// What some sessions may have together: half of what all sessions have, which is half of what all
/// guests have.
#[derive(Clone, Debug)]
pub struct SessionShare {
    pub(super) memory: Arc<GuestMemory>,
    /// Mappings, counted as memory is.
    mappings: Arc<GuestMemory>,
    /// Calls that run at once, counted as memory is.
    calls: Arc<GuestMemory>,
}

impl SessionShare {
    /// What all sessions have.
    pub(crate) fn of_all(guests: &Arc<GuestMemory>, calls: usize) -> Self {
        Self {
            calls: Arc::new(GuestMemory::of((calls / 2).max(2))),
            memory: Arc::new(GuestMemory::half(guests)),
            mappings: Arc::new(GuestMemory::of(MAXIMUM_MAPPINGS)),
        }
    }

    /// Half of it, for one client.
    pub(crate) fn half(&self) -> Self {
        Self {
            memory: Arc::new(GuestMemory::half(&self.memory)),
            mappings: Arc::new(GuestMemory::half(&self.mappings)),
            calls: Arc::new(GuestMemory::half(&self.calls)),
        }
    }

    /// Takes one of the calls that run at once.
    pub(super) fn begin_call(&self) -> Result<RunningCall, Exhausted> {
        self.calls.take(1)?;
        Ok(RunningCall(Arc::clone(&self.calls)))
    }
}

/// A call that runs, until it is dropped.
pub(super) struct RunningCall(Arc<GuestMemory>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.give(1);
    }
}

/// What new instances take besides their guests' memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    pub(super) instances: usize,
    pub(super) memories: usize,
    /// For the instances, in bytes.
    records: usize,
    /// Those that the session does not have yet.
    pub(super) modules: usize,
    /// For these modules, in bytes.
    images: usize,
}

impl Needs {
    /// Adds what an instance takes of a module, which is one of those that are `known` or not.
    pub(super) fn add(
        &mut self,
        module: &wasmtime::Module,
        known: &[(wasmtime::Module, ModuleId)],
    ) {
        let Footprint { loaded, instance } = Footprint::of(module);
        self.instances += 1;
        self.memories += module.resources_required().num_memories as usize;
        self.records += instance;
        if !known.iter().any(|(known, _)| wasmtime::Module::same(known, module)) {
            self.modules += 1;
            self.images += loaded;
        }
    }

    /// In bytes.
    pub(super) fn bytes(&self) -> usize {
        self.records + self.images
    }

    /// The same for modules that the session has by now.
    pub(super) fn without_modules(self) -> Self {
        Self { modules: 0, images: 0, ..self }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            instances: self.instances + other.instances,
            memories: self.memories + other.memories,
            records: self.records + other.records,
            modules: self.modules + other.modules,
            images: self.images + other.images,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            instances: self.instances.saturating_sub(other.instances),
            memories: self.memories.saturating_sub(other.memories),
            records: self.records.saturating_sub(other.records),
            modules: self.modules.saturating_sub(other.modules),
            images: self.images.saturating_sub(other.images),
        }
    }
}

/// The mappings of one session, given back when it is dropped.
pub(super) struct Mappings {
    share: Arc<GuestMemory>,
    taken: usize,
}

impl Mappings {
    pub(super) fn new(share: &SessionShare) -> Self {
        Self { share: Arc::clone(&share.mappings), taken: 0 }
    }

    /// Takes what so many more modules and memories need.
    pub(super) fn take(&mut self, modules: usize, memories: usize) -> Result<(), Exhausted> {
        let store = if self.taken == 0 { STORE_MAPPINGS } else { 0 };
        let more = store + modules * MODULE_MAPPINGS + memories * MEMORY_MAPPINGS;
        self.share.take(more)?;
        self.taken += more;
        Ok(())
    }

    /// Gives back those of so many modules and memories.
    pub(super) fn give(&mut self, modules: usize, memories: usize) {
        let less = modules * MODULE_MAPPINGS + memories * MEMORY_MAPPINGS;
        self.share.give(less);
        self.taken -= less;
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        self.share.give(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_half_to_the_others() {
        let guests = Arc::new(GuestMemory::of(1 << 20));
        let all = SessionShare::of_all(&guests, 8);
        let (one, two) = (all.half(), all.half());
        let mut first = Mappings::new(&one);
        first.take(1_000, 1_000).unwrap();
        assert!(first.take(1_000, 1_000).is_err(), "half of all is 8,192");
        first.give(500, 500);
        first.take(500, 500).unwrap();
        let mut second = Mappings::new(&two);
        second.take(1_000, 1_000).unwrap();
        drop(first);
        assert!(Mappings::new(&one).take(1_000, 1_000).is_ok());
        assert!(one.memory.take(1 << 18).is_ok());
        assert!(one.memory.take(1).is_err());
        assert!(two.memory.take(1 << 18).is_ok());
        assert!(guests.take(1 << 19).is_ok(), "sessions leave half to calls");
        let calls = [(); 2].map(|()| one.begin_call().unwrap());
        assert!(one.begin_call().is_err(), "half of the half that sessions have");
        assert!(two.begin_call().is_ok());
        drop(calls);
        assert!(one.begin_call().is_ok());
    }
}
