//! What satisfies a module's imports.

use std::collections::HashMap;

use wasmtime::{ExternType, ImportType, ModuleExport};

use super::host::Wanted;
use super::{LinkError, matching};
use crate::outcome::shorten;

/// What satisfies an import.
pub(super) enum Found {
    /// An export of an earlier node.
    Export(usize, ModuleExport),
    /// A memory that the host provides, by its index.
    HostMemory(usize),
}

/// Finds what satisfies each import, among earlier nodes or at the host.
pub(super) fn resolve(
    earlier: &[wasmtime::Module],
    module: &wasmtime::Module,
    links: &[(String, usize)],
    wanted: &mut Wanted,
) -> Result<Vec<Found>, LinkError> {
    let node = earlier.len();
    let links: HashMap<&str, usize> =
        links.iter().map(|(name, node)| (name.as_str(), *node)).collect();
    let mut unused = links.clone();
    let mut found = Vec::with_capacity(module.imports().len());
    for import in module.imports() {
        unused.remove(import.module());
        found.push(match (links.get(import.module()), import.ty()) {
            (Some(&target), _) => {
                Found::Export(target, resolve_linked(node, &earlier[target], &import)?)
            }
            (None, ExternType::Memory(ty)) => {
                Found::HostMemory(wanted.add(node, (import.module(), import.name()), ty)?)
            }
            (None, ty) => {
                return Err(LinkError::NoLink {
                    node,
                    module: shorten(import.module()),
                    name: shorten(import.name()),
                    expected: describe(&ty),
                });
            }
        });
    }
    match unused.into_keys().min() {
        Some(module) => Err(LinkError::Unused { node, module: shorten(module) }),
        None => Ok(found),
    }
}

/// Finds the export of a linked module that satisfies an import.
fn resolve_linked(
    node: usize,
    provider: &wasmtime::Module,
    import: &ImportType<'_>,
) -> Result<ModuleExport, LinkError> {
    let names = || (shorten(import.module()), shorten(import.name()));
    let wanted = import.ty();
    let found = provider.get_export(import.name());
    let index = provider.get_export_index(import.name());
    let (Some(found), Some(export)) = (found, index) else {
        let ((module, name), expected) = (names(), describe(&wanted));
        return Err(LinkError::NoExport { node, module, name, expected });
    };
    if !matching::matches(&found, &wanted) {
        let expected = (&wanted, describe(&wanted));
        let (expected, found) = matching::tell_apart(expected, (&found, describe(&found)));
        let (module, name) = names();
        return Err(LinkError::Mismatch { node, module, name, expected, found });
    }
    Ok(export)
}

/// A type for a person to read; there may be thousands of parameters in it.
fn describe(ty: &ExternType) -> String {
    shorten(&matching::describe(ty))
}
