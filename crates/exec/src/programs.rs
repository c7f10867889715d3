//! Programs that are ready to be called, loaded on demand and kept within bounds.
//!
//! A program takes memory, entries in the kernel's table of mappings and sometimes a file
//! descriptor; a hundred thousand registered modules would exhaust all three. So as many are kept
//! as three bounds allow (their number, bytes and mappings), and the least useful go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::OnceCell;
use wasm_exec_engine::{Cost, Module, Profile, Program, WasmId};
use wasm_exec_registry::Digest;

use crate::error::Error;
use crate::limits::Limits;

/// A program and what its nodes are called.
#[derive(Debug)]
pub struct ReadyProgram {
    /// The module digest of the root.
    pub digest: Digest,
    /// The module digest of each node of the graph, the root last.
    pub nodes: Vec<Digest>,
    /// What can be called.
    pub program: Arc<Program>,
    /// The nodes' modules, shared with other programs while this one is ready.
    pub(crate) modules: Vec<ModuleCell>,
}

type Key = (Digest, Profile);

/// The bounded cache of ready programs.
#[derive(Debug)]
pub(crate) struct Programs {
    ready: Cache<Key, Arc<ReadyProgram>, Share>,
    modules: Modules,
}

/// Few, since each shard takes only its part of the whole, which a large program must fit; and a
/// single one where the whole is small.
const SHARDS: usize = 4;
const SMALL: u64 = 1024;

impl Programs {
    pub(crate) fn new(limits: &Limits) -> Self {
        let options = OptionsBuilder::new()
            .shards(if limits.ready_programs < SMALL { 1 } else { SHARDS })
            .estimated_items_capacity(usize::try_from(limits.ready_programs).unwrap_or(usize::MAX))
            .weight_capacity(Share::WHOLE)
            .build();
        let share = Share {
            programs: limits.ready_programs,
            bytes: limits.ready_bytes,
            mappings: limits.ready_mappings,
        };
        let ready = match options {
            Ok(options) => {
                Cache::with_options(options, share, Default::default(), Default::default())
            }
            // Both that it wants are set above.
            Err(_) => Cache::with_weighter(1, Share::WHOLE, share),
        };
        Self { ready, modules: Modules::default() }
    }

    /// A program that is ready.
    pub(crate) fn get(&self, digest: Digest, profile: Profile) -> Option<Arc<ReadyProgram>> {
        self.ready.get(&(digest, profile))
    }

    /// A program, made by `load` if it is not ready. Of concurrent callers one loads, the others
    /// wait for it.
    pub(crate) async fn get_or_load(
        &self,
        digest: Digest,
        profile: Profile,
        load: impl Future<Output = Result<Arc<ReadyProgram>, Error>>,
    ) -> Result<Arc<ReadyProgram>, Error> {
        self.ready.get_or_insert_async(&(digest, profile), load).await
    }

    /// The modules that programs share.
    pub(crate) fn modules(&self) -> &Modules {
        &self.modules
    }

    /// How many programs are ready.
    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }
}

/// Weighs a program by the largest of its three shares of the bounds, so that the sum of weights
/// stays within the whole only if each of the three sums does.
#[derive(Clone, Debug)]
struct Share {
    programs: u64,
    bytes: u64,
    mappings: u64,
}

impl Share {
    const WHOLE: u64 = 1 << 40;

    fn of(&self, Cost { bytes, mappings }: Cost) -> u64 {
        let share = |part: u64, whole: u64| {
            let share = u128::from(part) * u128::from(Self::WHOLE) / u128::from(whole.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        share(1, self.programs)
            .max(share(bytes, self.bytes))
            .max(share(mappings, self.mappings))
            .max(1)
    }
}

impl Weighter<Key, Arc<ReadyProgram>> for Share {
    fn weight(&self, _: &Key, ready: &Arc<ReadyProgram>) -> u64 {
        self.of(ready.program.cost())
    }
}

/// A module, once it is loaded.
pub(crate) type ModuleCell = Arc<OnceCell<Module>>;

type WeakCell = Weak<OnceCell<Module>>;

/// Modules that are loaded, shared by the programs that have them in their graph, and loaded once
/// however many ask at the same time. Only programs keep them alive.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    cells: Mutex<HashMap<(WasmId, Profile), WeakCell>>,
}

impl Modules {
    /// The module's cell: empty if nobody has loaded it yet.
    pub(crate) fn cell(&self, id: WasmId, profile: Profile) -> ModuleCell {
        // A panic elsewhere cannot leave the map half changed.
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&(id, profile)).and_then(Weak::upgrade) {
            return cell;
        }
        // Before the map would grow, the entries of modules that are gone make room.
        if cells.len() == cells.capacity() {
            cells.retain(|_, cell| cell.strong_count() > 0);
        }
        let cell = ModuleCell::default();
        cells.insert((id, profile), Arc::downgrade(&cell));
        cell
    }
}
