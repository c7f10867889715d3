//! A linked graph, checked and resolved once, ready to be instantiated for every call.

mod host;
pub(crate) mod matching;
mod resolve;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wasmtime::{
    ExportType, ExternType, Instance, InstancePre, Linker, ModuleExport, Mutability, ValType,
};

use crate::access::{Allocator, MemoryName, Reach};
use crate::config::Profile;
use crate::describe::Export;
use crate::limiter::LARGE_MEMORY;
use crate::module::{Cost, Module};
use crate::outcome::shorten;
use crate::pace::Pace;
use crate::store::State;
use crate::value::ValueType;
pub(crate) use host::Host;
use host::Wanted;
use resolve::{Found, resolve};

/// One module of a graph that is to become a program.
#[derive(Debug)]
pub struct GraphNode {
    /// The module.
    pub module: Module,
    /// For each import module that a link satisfies: its name, and which earlier node it is.
    pub links: Vec<(String, usize)>,
}

/// A graph that was compiled, linked and checked: what can be done before a call is done.
pub struct Program {
    pub(crate) nodes: Box<[Node]>,
    /// Instantiated before the nodes, if there is one.
    pub(crate) host: Option<Box<Host>>,
    /// Mostly few: found without hashing a name, and in order.
    functions: BTreeMap<Box<str>, Function>,
    /// The first functions' names, in order.
    listed: Box<[String]>,
    /// The root's exports that are not functions.
    others: HashMap<Box<str>, ExternType>,
    pub(crate) profile: Profile,
    /// How many slots of the pool a call takes.
    pub(crate) slots: u32,
    /// What its memories begin with at most, in bytes.
    pub(crate) initial_memory: u64,
    /// Whether a call starts in the background.
    pub(crate) large: bool,
    cost: Cost,
}

pub(crate) struct Node {
    pub(crate) module: wasmtime::Module,
    pub(crate) instantiate: Instantiate,
}

/// How a node becomes an instance.
pub(crate) enum Instantiate {
    /// It imports nothing: type-checked once and for all.
    Alone(InstancePre<State>),
    /// Its imports, in the module's order, from earlier instances.
    Linked(Box<[Source]>),
}

/// Where an import comes from.
pub(crate) struct Source {
    /// Which of the instances, in the order in which they are made: the host's first, if there is
    /// one, then the nodes'.
    pub(crate) instance: usize,
    pub(crate) export: ModuleExport,
}

impl Node {
    fn new(
        engine: &wasmtime::Engine,
        module: wasmtime::Module,
        imports: Vec<Found>,
        host: Option<&Host>,
    ) -> Self {
        if imports.is_empty() {
            // It fails only for an import without a definition, and there is none.
            if let Ok(pre) = Linker::new(engine).instantiate_pre(&module) {
                return Self { module, instantiate: Instantiate::Alone(pre) };
            }
        }
        let first = usize::from(host.is_some());
        let sources = imports.into_iter().filter_map(|found| match found {
            Found::Export(node, export) => Some(Source { instance: first + node, export }),
            // What the host does not have was not found in it.
            Found::HostMemory(memory) => {
                host.map(|host| Source { instance: 0, export: host.nth(memory) })
            }
        });
        Self { instantiate: Instantiate::Linked(sources.collect()), module }
    }
}

/// An exported function of a program's root module.
pub struct Function {
    pub(crate) export: ModuleExport,
    pub(crate) param_types: Box<[ValType]>,
    pub(crate) result_types: Box<[ValType]>,
    params: Box<[ValueType]>,
    results: Box<[ValueType]>,
    pub(crate) pace: Pace,
}

impl Function {
    /// About what it takes in memory: an export of a few bytes can have two thousand types.
    fn bytes(&self, name: &str) -> u64 {
        let types = self.param_types.len() + self.result_types.len();
        let each = size_of::<ValType>() + size_of::<ValueType>();
        (name.len() + size_of::<Self>() + types * each) as u64
    }

    /// The types of its parameters.
    pub fn params(&self) -> &[ValueType] {
        &self.params
    }

    /// The types of its results.
    pub fn results(&self) -> &[ValueType] {
        &self.results
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function")
            .field("params", &self.params)
            .field("results", &self.results)
            .finish_non_exhaustive()
    }
}

/// Why a graph cannot be linked. `node` is the one whose import it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing satisfies an import: no link, and it is no memory, which the host would provide.
    #[error("import {module:?} {name:?} ({expected}) is not satisfied: no link for {module:?}")]
    NoLink {
        /// The node whose import it is.
        node: usize,
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Its type.
        expected: String,
    },
    /// The linked module has no export of that name.
    #[error(
        "import {module:?} {name:?} ({expected}) is not satisfied: the linked module has no such export"
    )]
    NoExport {
        /// The node whose import it is.
        node: usize,
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Its type.
        expected: String,
    },
    /// The linked module's export is something else.
    #[error("import {module:?} {name:?} is {expected}, but the linked module exports {found}")]
    Mismatch {
        /// The node whose import it is.
        node: usize,
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// The import's type.
        expected: String,
        /// The export's type.
        found: String,
    },
    /// A link's module name is imported by nobody.
    #[error("link {module:?} is not used: nothing is imported from {module:?}")]
    Unused {
        /// The node whose link it is.
        node: usize,
        /// The link's import module.
        module: String,
    },
    /// Two imports of one memory of the host's want what no memory can be.
    #[error(
        "import {module:?} {name:?} is {expected}, but where the graph imports it elsewhere it is {found}: the host provides one memory for both, and none is both"
    )]
    HostMemory {
        /// The node whose import it is.
        node: usize,
        /// The imports' module.
        module: String,
        /// The imports' name.
        name: String,
        /// The import's type.
        expected: String,
        /// The node whose import contradicts it, which can be the same.
        other: usize,
        /// That import's type.
        found: String,
    },
    /// The graph imports too many memories from the host.
    #[error("the graph imports {asked} memories from the host; at most {maximum} are possible")]
    TooManyHostMemories {
        /// How many it imports.
        asked: u32,
        /// How many it may.
        maximum: u32,
    },
    /// A memory that the host is to provide is larger than any call can have.
    #[error("the host is to provide a memory of {bytes} bytes; at most {maximum} are possible")]
    InitialMemory {
        /// What it starts with.
        bytes: u64,
        /// The most that a memory may have.
        maximum: u64,
    },
    /// The host's memories cannot be made. It is not the graph's doing.
    #[error("the host's memories cannot be made: {0}")]
    Unavailable(String),
    /// One graph would take more of the pool than a call may.
    #[error("the graph has {asked} instances, memories or tables; at most {maximum} are possible")]
    TooLarge {
        /// How many of the most numerous kind it has.
        asked: u32,
        /// How many a call may have.
        maximum: u32,
    },
}

impl LinkError {
    /// The node of the graph whose import or link it is; `None` if it is the graph as a whole.
    pub fn node(&self) -> Option<usize> {
        match self {
            Self::NoLink { node, .. }
            | Self::NoExport { node, .. }
            | Self::Mismatch { node, .. }
            | Self::HostMemory { node, .. }
            | Self::Unused { node, .. } => Some(*node),
            Self::TooManyHostMemories { .. }
            | Self::InitialMemory { .. }
            | Self::Unavailable(_)
            | Self::TooLarge { .. } => None,
        }
    }

    /// Another node whose import contradicts it.
    pub fn other_node(&self) -> Option<usize> {
        match self {
            Self::HostMemory { other, .. } => Some(*other),
            _ => None,
        }
    }
}

impl Program {
    /// Links a graph, dependencies first, the root last. Memories that are imported from where no
    /// link leads are the host's, each of at most `memory_maximum` bytes to begin with.
    ///
    /// # Errors
    ///
    /// When an import has no link, or the link's module lacks the export or has it with another
    /// type, or a link is not used, or the host cannot provide the memories.
    ///
    /// # Panics
    ///
    /// When the graph is empty, or links to a node that does not come earlier.
    pub(crate) fn link(
        engine: &wasmtime::Engine,
        graph: Vec<GraphNode>,
        memory_maximum: usize,
    ) -> Result<Self, LinkError> {
        let mut modules: Vec<wasmtime::Module> = Vec::with_capacity(graph.len());
        let mut imports = Vec::with_capacity(graph.len());
        let mut wanted = Wanted::default();
        let mut cost = Cost::default();
        let mut pool = PoolUse::default();
        let mut profile = Profile::Fast;
        for GraphNode { module, links } in graph {
            profile = module.profile;
            cost += module.cost();
            pool.add(&module.inner);
            imports.push(resolve(&modules, &module.inner, &links, &mut wanted)?);
            modules.push(module.inner);
        }
        let host = wanted.provide(engine, memory_maximum)?;
        if let Some(host) = &host {
            cost += host.cost();
            pool.add(host.pre.module());
        }
        let slots = pool.slots()?;
        let node = |(module, imports)| Node::new(engine, module, imports, host.as_ref());
        let nodes = modules.into_iter().zip(imports).map(node).collect();
        let program = Self::of_nodes(nodes, profile, cost, (slots, pool.initial_memory));
        Ok(Self { host: host.map(Box::new), ..program })
    }

    /// A module by itself, whose imports are satisfied when a session makes an instance of it.
    pub(crate) fn single(module: Module) -> Self {
        let mut pool = PoolUse::default();
        pool.add(&module.inner);
        let (cost, profile) = (module.cost(), module.profile);
        let instantiate = Instantiate::Linked(Box::default());
        let node = Node { module: module.inner, instantiate };
        Self::of_nodes([node].into(), profile, cost, (0, pool.initial_memory))
    }

    fn of_nodes(
        nodes: Box<[Node]>,
        profile: Profile,
        mut cost: Cost,
        (slots, initial_memory): (u32, u64),
    ) -> Self {
        let root = &nodes.last().expect("a graph has a root").module;
        let (functions, others) = exports(root);
        cost.bytes += functions.iter().map(|(name, function)| function.bytes(name)).sum::<u64>();
        let listed =
            functions.keys().take(Self::MAXIMUM_LISTED).map(|name| shorten(name)).collect();
        Self {
            functions,
            listed,
            others,
            profile,
            slots,
            initial_memory,
            large: initial_memory > LARGE_MEMORY as u64,
            cost,
            nodes,
            host: None,
        }
    }

    /// The root module.
    pub(crate) fn root(&self) -> &wasmtime::Module {
        &self.nodes.last().expect("a graph has a root").module
    }

    /// An exported function.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// The kind of an export that is not a function.
    pub fn other_export(&self, name: &str) -> Option<&'static str> {
        self.others.get(name).map(matching::kind)
    }

    /// The type of an exported global, and whether it can be set.
    pub fn global(&self, name: &str) -> Option<(ValueType, bool)> {
        let global = self.others.get(name)?.global()?;
        let mutable = global.mutability() == Mutability::Var;
        Some((ValueType::from(global.content()), mutable))
    }

    /// All that the root module exports, in its order.
    pub fn exports(&self) -> Vec<Export> {
        let export = |export: ExportType<'_>| Export {
            name: export.name().to_owned(),
            item: matching::item(&export.ty()),
        };
        self.root().exports().map(export).collect()
    }

    /// The modules that something has to be imported from, each once.
    pub fn import_modules(&self) -> BTreeSet<&str> {
        self.root().imports().map(|import| import.module()).collect()
    }

    /// How many names [`function_names`](Self::function_names) gives at most.
    pub const MAXIMUM_LISTED: usize = 100;

    /// The names of the first exported functions in alphabetical order, long ones shortened: for a
    /// person to read.
    pub fn function_names(&self) -> &[String] {
        &self.listed
    }

    /// Whether a call can select this memory.
    pub(crate) fn has_memory(&self, memory: &MemoryName) -> bool {
        match memory {
            MemoryName::Export(name) => self.other_export(name) == Some("memory"),
            MemoryName::Import { module, name } => {
                self.host.as_ref().is_some_and(|host| host.export(module, name).is_some())
            }
        }
    }

    /// The first memories that a call can select, long names shortened: for a person to read.
    pub(crate) fn memories(&self) -> Vec<MemoryName> {
        let exported = self.others.iter().filter(|(_, ty)| ty.memory().is_some());
        let mut exported: Vec<&str> = exported.map(|(name, _)| &**name).collect();
        // There can be tens of thousands, and anybody can ask.
        if exported.len() > Self::MAXIMUM_LISTED {
            exported.select_nth_unstable(Self::MAXIMUM_LISTED);
            exported.truncate(Self::MAXIMUM_LISTED);
        }
        exported.sort_unstable();
        let exported = exported.into_iter().map(|name| MemoryName::Export(shorten(name)));
        let provided = self.host.iter().flat_map(|host| host.memories());
        let provided = provided.map(|memory| MemoryName::Import {
            module: shorten(&memory.module),
            name: shorten(&memory.name),
        });
        exported.chain(provided).take(Self::MAXIMUM_LISTED).collect()
    }

    /// Whether the root exports this allocator, with the signature that it has where addresses are of
    /// type `address`.
    pub(crate) fn allocates(&self, allocator: &Allocator, address: ValueType) -> bool {
        let function = self.function(allocator.name);
        function
            .is_some_and(|function| allocator.is(function.params(), function.results(), address))
    }

    /// How many instances are made before those of the nodes.
    pub(crate) fn host_instances(&self) -> usize {
        usize::from(self.host.is_some())
    }

    /// Where memories and functions are found once these instances are made, which are the first of
    /// a call's.
    pub(crate) fn reach(&self, instances: &[Instance]) -> Reach<'_> {
        let complete = instances.len() == self.host_instances() + self.nodes.len();
        Reach {
            root: if complete { instances.last().copied() } else { None },
            host: instances.first().copied().zip(self.host.as_deref()),
        }
    }

    /// What keeping it ready takes, its modules included.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("modules", &self.nodes.len())
            .field("functions", &self.functions.len())
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

type Exports = (BTreeMap<Box<str>, Function>, HashMap<Box<str>, ExternType>);

fn exports(root: &wasmtime::Module) -> Exports {
    let mut functions = BTreeMap::new();
    let mut others = HashMap::new();
    for export in root.exports() {
        match (export.ty(), root.get_export_index(export.name())) {
            (ExternType::Func(ty), Some(index)) => {
                let param_types: Box<[ValType]> = ty.params().collect();
                let result_types: Box<[ValType]> = ty.results().collect();
                let params = param_types.iter().map(ValueType::from).collect();
                let results = result_types.iter().map(ValueType::from).collect();
                functions.insert(
                    export.name().into(),
                    Function {
                        export: index,
                        param_types,
                        result_types,
                        params,
                        results,
                        pace: Pace::default(),
                    },
                );
            }
            (ty, _) => {
                others.insert(export.name().into(), ty);
            }
        }
    }
    (functions, others)
}

/// What a call takes from the engine's pool.
#[derive(Default)]
struct PoolUse {
    instances: u32,
    memories: u32,
    tables: u32,
    initial_memory: u64,
}

impl PoolUse {
    fn add(&mut self, module: &wasmtime::Module) {
        let needs = module.resources_required();
        self.instances += 1;
        self.memories += needs.num_memories;
        self.tables += needs.num_tables;
        // The largest initial memory bounds each of the module's memories from above.
        let largest = needs.max_initial_memory_size.unwrap_or(0);
        self.initial_memory = largest
            .saturating_mul(u64::from(needs.num_memories))
            .saturating_add(self.initial_memory);
    }

    fn slots(&self) -> Result<u32, LinkError> {
        // One more memory for the garbage-collected heap.
        let asked = self.instances.max(self.memories + 1).max(self.tables);
        let maximum = crate::profile::MAXIMUM_CALL_SLOTS;
        if asked > maximum { Err(LinkError::TooLarge { asked, maximum }) } else { Ok(asked) }
    }
}
