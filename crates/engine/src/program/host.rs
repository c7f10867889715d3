//! Memories that a graph's modules import from where no link leads: the host provides them.
//!
//! They are memories of a module that is made for the graph and has nothing else, so they come from
//! the same pool as all others, are counted with them, and cost a call as little.

use std::collections::HashMap;

use wasmtime::{ExternType, InstancePre, Linker, MemoryType, MemoryTypeBuilder, ModuleExport};

use super::{LinkError, matching};
use crate::module::{self, Cost};
use crate::outcome::shorten;
use crate::profile::MAXIMUM_PER_MODULE;
use crate::store::State;

/// The module whose memories a graph imports from the host.
pub(crate) struct Host {
    pub(crate) pre: InstancePre<State>,
    memories: Box<[HostMemory]>,
}

/// A memory that the host provides.
pub(crate) struct HostMemory {
    /// The module that it is imported from.
    pub(crate) module: Box<str>,
    /// Its name there.
    pub(crate) name: Box<str>,
    export: ModuleExport,
}

impl Host {
    /// The memories, in the order in which the graph's modules import them.
    pub(crate) fn memories(&self) -> &[HostMemory] {
        &self.memories
    }

    /// The memory that is imported from `module` as `name`.
    pub(crate) fn export(&self, module: &str, name: &str) -> Option<&ModuleExport> {
        let is = |memory: &&HostMemory| *memory.module == *module && *memory.name == *name;
        self.memories.iter().find(is).map(|memory| &memory.export)
    }

    pub(super) fn nth(&self, memory: usize) -> ModuleExport {
        self.memories[memory].export
    }

    pub(super) fn cost(&self) -> Cost {
        let names = |memory: &HostMemory| memory.module.len() + memory.name.len();
        let names: usize = self.memories.iter().map(names).sum();
        let mut cost = module::cost(self.pre.module(), module::MAPPINGS_IN_MEMORY);
        cost.bytes += names as u64;
        cost
    }
}

/// What the modules of a graph want of the host.
#[derive(Default)]
pub(super) struct Wanted {
    memories: Vec<WantedMemory>,
    by_name: HashMap<(Box<str>, Box<str>), usize>,
}

/// A memory, with those who narrowed down what it has to be.
struct WantedMemory {
    first: Want,
    largest_minimum: Want,
    smallest_maximum: Option<Want>,
}

/// The type that a node's import of a memory has.
#[derive(Clone)]
struct Want {
    node: usize,
    ty: MemoryType,
}

impl Wanted {
    /// Adds the import of a node; gives the memory's index.
    ///
    /// # Errors
    ///
    /// When no memory can be both this and what another import of it has to be.
    pub(super) fn add(
        &mut self,
        node: usize,
        (module, name): (&str, &str),
        ty: MemoryType,
    ) -> Result<usize, LinkError> {
        let want = Want { node, ty };
        let key = (Box::from(module), Box::from(name));
        let Some(&index) = self.by_name.get(&key) else {
            let index = self.memories.len();
            self.by_name.insert(key, index);
            self.memories.push(WantedMemory::new(want));
            return Ok(index);
        };
        self.memories[index].narrow(want).map_err(|(want, other)| LinkError::HostMemory {
            node: want.node,
            module: shorten(module),
            name: shorten(name),
            expected: want.describe(),
            other: other.node,
            found: other.describe(),
        })?;
        Ok(index)
    }

    /// Makes the memories; `None` if none are wanted.
    ///
    /// # Errors
    ///
    /// When there are more, or larger ones, than a call can have.
    pub(super) fn provide(
        self,
        engine: &wasmtime::Engine,
        memory_maximum: usize,
    ) -> Result<Option<Host>, LinkError> {
        if self.memories.is_empty() {
            return Ok(None);
        }
        let asked = u32::try_from(self.memories.len()).unwrap_or(u32::MAX);
        if asked > MAXIMUM_PER_MODULE {
            return Err(LinkError::TooManyHostMemories { asked, maximum: MAXIMUM_PER_MODULE });
        }
        let unavailable = |error: wasmtime::Error| LinkError::Unavailable(format!("{error:#}"));
        let mut text = String::from("(module");
        for (index, memory) in self.memories.iter().enumerate() {
            let bytes = memory.initial_bytes();
            if bytes > memory_maximum as u64 {
                return Err(LinkError::InitialMemory { bytes, maximum: memory_maximum as u64 });
            }
            let ty = memory.ty().map_err(unavailable)?;
            let memory = matching::describe(&ExternType::Memory(ty));
            text += &format!(" {memory} (export \"{index}\" (memory {index}))");
        }
        text.push(')');
        let wasm =
            crate::text::parse(&text).map_err(|error| LinkError::Unavailable(error.to_string()))?;
        // There is no function to compile in it, and nothing of it is a guest's but these numbers.
        let module = wasmtime::Module::new(engine, &wasm).map_err(unavailable)?;
        let pre = Linker::new(engine).instantiate_pre(&module).map_err(unavailable)?;
        let mut names: Vec<_> = self.by_name.into_iter().collect();
        names.sort_unstable_by_key(|(_, index)| *index);
        let memories = names.into_iter().map(|((import, name), index)| {
            let export = module.get_export_index(&index.to_string());
            let export = export.ok_or_else(|| LinkError::Unavailable("no export".into()))?;
            Ok(HostMemory { module: import, name, export })
        });
        let memories = memories.collect::<Result<_, LinkError>>()?;
        Ok(Some(Host { pre, memories }))
    }
}

impl WantedMemory {
    fn new(want: Want) -> Self {
        let smallest_maximum = want.ty.maximum().map(|_| want.clone());
        Self { first: want.clone(), largest_minimum: want, smallest_maximum }
    }

    /// Makes it fit one more import. The error has that import and one that it contradicts.
    fn narrow(&mut self, want: Want) -> Result<(), (Want, Want)> {
        let first = &self.first.ty;
        if first.is_64() != want.ty.is_64() || first.page_size() != want.ty.page_size() {
            return Err((want, self.first.clone()));
        }
        if let Some(smallest) = &self.smallest_maximum
            && smallest.ty.maximum().is_some_and(|maximum| want.ty.minimum() > maximum)
        {
            return Err((want, smallest.clone()));
        }
        if want.ty.maximum().is_some_and(|maximum| maximum < self.largest_minimum.ty.minimum()) {
            return Err((want, self.largest_minimum.clone()));
        }
        if let Some(maximum) = want.ty.maximum() {
            let smallest = self.smallest_maximum.as_ref().and_then(|want| want.ty.maximum());
            if smallest.is_none_or(|smallest| maximum < smallest) {
                self.smallest_maximum = Some(want.clone());
            }
        }
        if want.ty.minimum() > self.largest_minimum.ty.minimum() {
            self.largest_minimum = want;
        }
        Ok(())
    }

    fn initial_bytes(&self) -> u64 {
        let ty = &self.largest_minimum.ty;
        ty.minimum().saturating_mul(ty.page_size())
    }

    /// The type that satisfies all imports.
    fn ty(&self) -> wasmtime::Result<MemoryType> {
        let first = &self.first.ty;
        MemoryTypeBuilder::new()
            .min(self.largest_minimum.ty.minimum())
            .max(self.smallest_maximum.as_ref().and_then(|want| want.ty.maximum()))
            .memory64(first.is_64())
            .page_size_log2(first.page_size_log2())
            .build()
    }
}

impl Want {
    fn describe(&self) -> String {
        matching::describe(&ExternType::Memory(self.ty.clone()))
    }
}
