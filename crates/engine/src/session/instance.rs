//! Instances of sessions: those that there are, and what new ones are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limiter::LARGE_MEMORY;
use crate::program::Program;

/// Tells modules apart in backtraces; what it stands for is the caller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleId(pub [u8; 32]);

/// A linked program of profile [`Session`](Profile::Session), and what its nodes are called.
#[derive(Clone, Debug)]
pub struct LinkedProgram {
    /// The program.
    pub program: Arc<Program>,
    /// One for each of its nodes, in their order.
    pub nodes: Vec<ModuleId>,
}

/// What satisfies the imports of one import module.
#[derive(Clone, Debug)]
pub enum SessionLink {
    /// An instance of the session, by its name.
    Instance(String),
    /// A program, of which each node gets an instance of its own for this instantiation.
    Program(LinkedProgram),
}

/// An instance that is to be made.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// What it will be called.
    pub name: String,
    /// Its module, as [`Engine::single`](crate::Engine::single) gives it.
    pub module: Arc<Program>,
    /// What the module is called in backtraces.
    pub id: ModuleId,
    /// Import module → what satisfies it. Of others, the session's instance of that name does.
    pub links: BTreeMap<String, SessionLink>,
}

/// An instance that a session has.
#[derive(Debug)]
pub struct NamedInstance {
    pub(super) instance: wasmtime::Instance,
    pub(super) id: ModuleId,
    pub(super) module: Arc<Program>,
}

impl NamedInstance {
    /// What its module is called.
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// Its module, which says what it exports.
    pub fn module(&self) -> &Program {
        &self.module
    }
}

impl NewInstance {
    /// Whether making it takes longer than a short call may wait.
    pub(super) fn is_large(&self) -> bool {
        let linked = self.links.values().filter_map(|link| match link {
            SessionLink::Instance(_) => None,
            SessionLink::Program(linked) => Some(linked.program.initial_memory),
        });
        let sum = linked.fold(self.module.initial_memory, u64::saturating_add);
        sum > LARGE_MEMORY as u64
    }
}
