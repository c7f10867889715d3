//! A linked graph, checked and resolved once, ready to be instantiated for every call.

mod matching;

use std::collections::HashMap;

use wasmtime::{ExternType, InstancePre, Linker, ModuleExport, ValType};

use crate::config::Profile;
use crate::limiter::LARGE_MEMORY;
use crate::module::{Cost, Module};
use crate::outcome::shorten;
use crate::pace::Pace;
use crate::store::State;
use crate::value::ValueType;

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
    functions: HashMap<Box<str>, Function>,
    /// The first functions' names, in order.
    listed: Box<[String]>,
    /// Names and kinds of the root's exports that are not functions.
    others: HashMap<Box<str>, &'static str>,
    pub(crate) profile: Profile,
    /// How many slots of the pool a call takes.
    pub(crate) slots: u32,
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
    /// Its imports, in the module's order, from earlier nodes.
    Linked(Box<[Source]>),
}

/// Where an import comes from.
pub(crate) struct Source {
    pub(crate) node: usize,
    pub(crate) export: ModuleExport,
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
    /// Nothing satisfies an import.
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
            | Self::Unused { node, .. } => Some(*node),
            Self::TooLarge { .. } => None,
        }
    }
}

impl Program {
    /// Links a graph, dependencies first, the root last.
    ///
    /// # Errors
    ///
    /// When an import has no link, or the link's module lacks the export or has it with another
    /// type, or a link is not used.
    ///
    /// # Panics
    ///
    /// When the graph is empty, or links to a node that does not come earlier.
    pub(crate) fn link(
        engine: &wasmtime::Engine,
        graph: Vec<GraphNode>,
    ) -> Result<Self, LinkError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(graph.len());
        let mut cost = Cost::default();
        let mut pool = PoolUse::default();
        let mut profile = Profile::Fast;
        for (index, GraphNode { module, links }) in graph.into_iter().enumerate() {
            profile = module.profile;
            cost.bytes += module.cost().bytes;
            cost.mappings += module.cost().mappings;
            pool.add(&module.inner);
            let instantiate = if module.inner.imports().len() == 0 && links.is_empty() {
                match Linker::new(engine).instantiate_pre(&module.inner) {
                    Ok(pre) => Instantiate::Alone(pre),
                    // It fails only for an import without a definition, and there is none.
                    Err(_) => Instantiate::Linked(Box::default()),
                }
            } else {
                Instantiate::Linked(resolve(&nodes, index, &module.inner, &links)?)
            };
            nodes.push(Node { module: module.inner, instantiate });
        }
        let root = &nodes.last().expect("a graph has a root").module;
        let (functions, others) = exports(root);
        cost.bytes += functions.iter().map(|(name, function)| function.bytes(name)).sum::<u64>();
        let mut listed: Vec<String> = functions.keys().map(|name| shorten(name)).collect();
        listed.sort_unstable();
        listed.truncate(Self::MAXIMUM_LISTED);
        Ok(Self {
            functions,
            listed: listed.into_boxed_slice(),
            others,
            profile,
            slots: pool.slots()?,
            large: pool.initial_memory > LARGE_MEMORY as u64,
            cost,
            nodes: nodes.into_boxed_slice(),
        })
    }

    /// An exported function.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// The kind of an export that is not a function.
    pub fn other_export(&self, name: &str) -> Option<&'static str> {
        self.others.get(name).copied()
    }

    /// How many names [`function_names`](Self::function_names) gives at most.
    pub const MAXIMUM_LISTED: usize = 100;

    /// The names of the first exported functions in alphabetical order, long ones shortened: for a
    /// person to read.
    pub fn function_names(&self) -> &[String] {
        &self.listed
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

type Exports = (HashMap<Box<str>, Function>, HashMap<Box<str>, &'static str>);

fn exports(root: &wasmtime::Module) -> Exports {
    let mut functions = HashMap::new();
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
                others.insert(export.name().into(), matching::kind(&ty));
            }
        }
    }
    (functions, others)
}

/// Finds each import's source among earlier nodes.
fn resolve(
    nodes: &[Node],
    node: usize,
    module: &wasmtime::Module,
    links: &[(String, usize)],
) -> Result<Box<[Source]>, LinkError> {
    let links: HashMap<&str, usize> =
        links.iter().map(|(name, node)| (name.as_str(), *node)).collect();
    let mut unused = links.clone();
    let mut sources = Vec::with_capacity(module.imports().len());
    for import in module.imports() {
        unused.remove(import.module());
        let module = || shorten(import.module());
        let name = || shorten(import.name());
        let wanted = import.ty();
        let expected = || shorten(&matching::describe(&wanted));
        let Some(&target) = links.get(import.module()) else {
            return Err(LinkError::NoLink {
                node,
                module: module(),
                name: name(),
                expected: expected(),
            });
        };
        let provider = &nodes[target].module;
        let found = provider.get_export(import.name());
        let index = provider.get_export_index(import.name());
        let (Some(found), Some(export)) = (found, index) else {
            return Err(LinkError::NoExport {
                node,
                module: module(),
                name: name(),
                expected: expected(),
            });
        };
        if !matching::matches(&found, &wanted) {
            return Err(LinkError::Mismatch {
                node,
                module: module(),
                name: name(),
                expected: expected(),
                found: shorten(&matching::describe(&found)),
            });
        }
        sources.push(Source { node: target, export });
    }
    match unused.into_keys().min() {
        Some(module) => Err(LinkError::Unused { node, module: shorten(module) }),
        None => Ok(sources.into_boxed_slice()),
    }
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
