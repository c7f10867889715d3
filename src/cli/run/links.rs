//! The links of `run`: which file satisfies which imports, and in which order they are registered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use wasm_exec::{Digest, Links};
use wasm_exec_engine::Engine;

use super::RunError;
use crate::cli::module_file;

/// A link as it is typed: `NAME=FILE`.
#[derive(Clone, Debug)]
pub(super) struct LinkArgument {
    name: String,
    path: PathBuf,
}

/// Why links do not go together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// A link has no file.
    #[error("expected NAME=FILE")]
    Syntax,
    /// Two files for the same imports.
    #[error("--link {name:?} is given twice, for {} and {}", first.display(), second.display())]
    Twice {
        /// The name.
        name: String,
        /// A file.
        first: PathBuf,
        /// Another file.
        second: PathBuf,
    },
    /// A link that satisfies nothing.
    #[error("--link {name:?} ({}): nothing that is called imports from {name:?}", path.display())]
    Unused {
        /// Its name.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// Links that need each other.
    #[error("the links import from each other in a cycle: {0}")]
    Cycle(String),
}

impl FromStr for LinkArgument {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        match text.split_once('=') {
            Some((name, path)) if !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err(LinkError::Syntax),
        }
    }
}

/// A module in a file.
#[derive(Debug)]
pub(super) struct ModuleFile {
    /// The file.
    pub(super) path: PathBuf,
    /// The module.
    pub(super) wasm: Bytes,
    /// What it imports from.
    imports: BTreeSet<String>,
}

/// The files of links, by name.
pub(super) type LinkedFiles = BTreeMap<String, ModuleFile>;

impl ModuleFile {
    /// Reads and validates the module in a file.
    pub(super) fn read(engine: &Engine, path: &Path) -> Result<Self, RunError> {
        let wasm = module_file::read(path)?;
        let description = engine.validate(&wasm).map_err(wasm_exec::Error::Module);
        let description = description.map_err(RunError::in_file(path))?;
        let imports = description.imports.into_iter().map(|import| import.module).collect();
        Ok(Self { path: path.to_owned(), wasm, imports })
    }

    /// Its imports that are registered, pinned to what they were registered as.
    pub(super) fn pinned(&self, registered: &BTreeMap<&str, Digest>) -> Links {
        let pin =
            |import: &String| Some((import.clone(), registered.get(import.as_str())?.to_string()));
        Links::Named(self.imports.iter().filter_map(pin).collect())
    }

    /// The links that it imports from.
    fn uses<'a>(&self, links: &'a LinkedFiles) -> impl Iterator<Item = (&'a str, &'a ModuleFile)> {
        let links = links.iter().map(|(name, file)| (name.as_str(), file));
        links.filter(|(name, _)| self.imports.contains(*name))
    }
}

/// Reads the files of all links.
pub(super) fn read(engine: &Engine, arguments: &[LinkArgument]) -> Result<LinkedFiles, RunError> {
    let mut links = LinkedFiles::new();
    for LinkArgument { name, path } in arguments {
        let file = ModuleFile::read(engine, path)?;
        if let Some(first) = links.insert(name.clone(), file) {
            let (name, first, second) = (name.clone(), first.path, path.clone());
            return Err(LinkError::Twice { name, first, second }.into());
        }
    }
    Ok(links)
}

/// The links in an order in which each comes after all that it imports from.
///
/// # Errors
///
/// When there is no such order, or `root` needs one of the links neither directly nor indirectly.
pub(super) fn order<'a>(
    root: &ModuleFile,
    links: &'a LinkedFiles,
) -> Result<Vec<(&'a str, &'a ModuleFile)>, LinkError> {
    let mut walk = Walk { links, path: Vec::new(), done: Vec::new() };
    for (name, file) in root.uses(links) {
        walk.visit(name, file)?;
    }
    match links.iter().find(|(name, _)| !walk.is_done(name)) {
        Some((name, file)) => {
            Err(LinkError::Unused { name: name.clone(), path: file.path.clone() })
        }
        None => Ok(walk.done),
    }
}

/// A depth-first walk through the links. There are as many as fit on a command line, so lists do.
struct Walk<'a> {
    links: &'a LinkedFiles,
    /// From the root to where the walk is.
    path: Vec<(&'a str, &'a ModuleFile)>,
    done: Vec<(&'a str, &'a ModuleFile)>,
}

impl<'a> Walk<'a> {
    fn is_done(&self, name: &str) -> bool {
        self.done.iter().any(|(done, _)| *done == name)
    }

    fn visit(&mut self, name: &'a str, file: &'a ModuleFile) -> Result<(), LinkError> {
        if self.is_done(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|(above, _)| *above == name) {
            return Err(self.cycle(start));
        }
        self.path.push((name, file));
        for (used, file) in file.uses(self.links) {
            self.visit(used, file)?;
        }
        self.done.extend(self.path.pop());
        Ok(())
    }

    /// The path from `start` on, which has come back there.
    fn cycle(&self, start: usize) -> LinkError {
        let round = self.path[start..].iter().chain(&self.path[start..=start]);
        let round = round.map(|(name, file)| format!("{name:?} ({})", file.path.display()));
        LinkError::Cycle(round.collect::<Vec<_>>().join(" → "))
    }
}
