//! Where the imports of an instance of a session come from, checked before anything is made.

use std::collections::{BTreeMap, HashMap};

use wasmtime::{Extern, ExternType, Instance, ModuleExport, Store};

use super::{ModuleId, SessionError, SessionLink};
use crate::outcome::shorten;
use crate::program::{Program, matching};
use crate::store::State;

/// Why the imports of an instance are not satisfied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionLinkError {
    /// Nothing satisfies an import.
    #[error(
        "import {module:?} {name:?} {expected} is not satisfied: there is no link for {module:?}, and \
         no instance of that name"
    )]
    NoSource {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Its type.
        expected: String,
    },
    /// What is linked has no export of that name.
    #[error("import {module:?} {name:?} {expected} is not satisfied: {from} has no such export")]
    NoExport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Its type.
        expected: String,
        /// What is linked.
        from: String,
    },
    /// What is linked exports something else.
    #[error("import {module:?} {name:?} is {expected}, but {from} exports {found}")]
    Mismatch {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// The import's type.
        expected: String,
        /// The export's type, of memories and tables with the size that they have now.
        found: String,
        /// What is linked.
        from: String,
    },
    /// What is linked needs memories of the host, which provides none in sessions.
    #[error(
        "link {module:?} leads to a module that imports a memory of the host, which provides none in \
         sessions"
    )]
    HostMemory {
        /// The link's import module.
        module: String,
    },
    /// Nothing is imported from a link's module.
    #[error("link {module:?} is not used: nothing is imported from {module:?}")]
    Unused {
        /// The link's import module.
        module: String,
    },
}

/// Where an import comes from.
pub(super) enum Source {
    /// An instance has it.
    Live(Extern),
    /// The root of a program that gets its instances now will have it.
    Later(ModuleId, ModuleExport),
}

/// What is known of the instances of a session.
pub(super) type Known<'a> = dyn Fn(&str) -> Option<Instance> + Sync + 'a;

/// Finds the source of each of a module's imports, in their order.
///
/// # Errors
///
/// When one is not satisfied, or a link names no instance or is not used.
pub(super) fn resolve(
    module: &Program,
    links: &BTreeMap<String, SessionLink>,
    known: &Known<'_>,
    store: &mut Store<State>,
) -> Result<Vec<Source>, SessionError> {
    let imported = module.import_modules();
    if let Some(unused) = links.keys().find(|name| !imported.contains(name.as_str())) {
        return Err(SessionLinkError::Unused { module: unused.clone() }.into());
    }
    let mut providers = HashMap::new();
    for name in imported {
        let provider = match links.get(name) {
            Some(SessionLink::Instance(instance)) => {
                let found = known(instance);
                let unknown = || SessionError::UnknownInstance(instance.clone());
                Provider::Instance(instance, found.ok_or_else(unknown)?)
            }
            Some(SessionLink::Program(linked)) if linked.program.host.is_some() => {
                return Err(SessionLinkError::HostMemory { module: shorten(name) }.into());
            }
            Some(SessionLink::Program(linked)) => match linked.nodes.last() {
                Some(root) => Provider::Program(&linked.program, *root),
                None => continue,
            },
            None => match known(name) {
                Some(instance) => Provider::Instance(name, instance),
                // Said of the first import from there.
                None => continue,
            },
        };
        providers.insert(name, provider);
    }
    module
        .root()
        .imports()
        .map(|import| {
            let (from, name, wanted) = (import.module(), import.name(), import.ty());
            let said = || (shorten(from), shorten(name), shorten(&matching::describe(&wanted)));
            let Some(provider) = providers.get(from) else {
                let (module, name, expected) = said();
                return Err(SessionLinkError::NoSource { module, name, expected }.into());
            };
            let Some((source, found, size)) = provider.find(name, store) else {
                let ((module, name, expected), from) = (said(), provider.to_string());
                return Err(SessionLinkError::NoExport { module, name, expected, from }.into());
            };
            if matching::matches_live(&found, size, &wanted) {
                return Ok(source);
            }
            let ((module, name, expected), from) = (said(), provider.to_string());
            let text = shorten(&matching::describe_live(&found, size));
            let (expected, found) = matching::tell_apart((&wanted, expected), (&found, text));
            Err(SessionLinkError::Mismatch { module, name, expected, found, from }.into())
        })
        .collect()
}

/// What the imports of one import module come from.
enum Provider<'a> {
    Instance(&'a str, Instance),
    Program(&'a Program, ModuleId),
}

impl Provider<'_> {
    /// An export, its type, and how many pages or elements it has now, if it is a live memory or
    /// table.
    fn find(
        &self,
        name: &str,
        store: &mut Store<State>,
    ) -> Option<(Source, ExternType, Option<u64>)> {
        match self {
            Self::Instance(_, instance) => {
                let export = instance.get_export(&mut *store, name)?;
                let size = match &export {
                    Extern::Memory(memory) => Some(memory.size(&*store)),
                    Extern::Table(table) => Some(table.size(&*store)),
                    _ => None,
                };
                let ty = export.ty(&*store);
                Some((Source::Live(export), ty, size))
            }
            Self::Program(program, id) => {
                let root = program.root();
                let index = root.get_export_index(name)?;
                Some((Source::Later(*id, index), root.get_export(name)?, None))
            }
        }
    }
}

impl std::fmt::Display for Provider<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instance(name, _) => write!(f, "the instance {name:?}"),
            Self::Program(..) => f.write_str("the linked module"),
        }
    }
}
