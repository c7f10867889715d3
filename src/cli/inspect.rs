//! `inspect`: what a module exports and imports, one item a line.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use clap::Args;
use wasm_exec_engine::{
    ArtifactStore, Description, Engine, EngineConfig, InvalidModule, Item, StartError,
};

use super::module_file::{self, FileError};

/// What to inspect.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Wasm or WebAssembly text; - is standard input
    file: PathBuf,
}

/// Why a module cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    /// There is no module in the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The engine, which says what is valid here, does not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The file's module is invalid, or none that runs here.
    #[error("{}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidModule,
    },
    /// Stdout cannot be written.
    #[error("cannot print what the module exports and imports")]
    Print(#[from] io::Error),
}

/// Prints what the file's module imports and exports, in the module's order.
///
/// # Errors
///
/// When there is no valid module in the file.
pub(crate) fn execute(args: &InspectArgs) -> Result<(), InspectError> {
    let wasm = module_file::read(&args.file)?;
    // No call is made, so no room for calls is reserved.
    let config = EngineConfig { concurrent_calls: 1, ..EngineConfig::default() };
    let engine = Engine::new(config, ArtifactStore::in_memory(0))?;
    let description = engine
        .validate(&wasm)
        .map_err(|source| InspectError::Module { path: args.file.clone(), source })?;
    Ok(super::print(&listing(&description))?)
}

fn listing(description: &Description) -> String {
    let mut text = String::new();
    for import in &description.imports {
        let (module, name) = (quoted(&import.module), quoted(&import.name));
        let kind = import.item.kind();
        push_line(&mut text, &["import", kind, &module, &name, &item_type(&import.item)]);
    }
    for export in &description.exports {
        let kind = export.item.kind();
        let name = quoted(&export.name);
        push_line(&mut text, &["export", kind, &name, &item_type(&export.item)]);
    }
    text
}

fn push_line(text: &mut String, words: &[&str]) {
    let words: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", words.join(" "));
}

/// A name as the text format writes it, with everything escaped that could upset a terminal.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.escape_debug())
}

/// A type as the text format writes it; empty for a function without parameters and results.
fn item_type(item: &Item) -> String {
    match item {
        Item::Function { params, results } => {
            let lists = [("param", params), ("result", results)];
            let lists = lists.iter().filter(|(_, types)| !types.is_empty());
            let lists = lists.map(|(keyword, types)| format!("({keyword} {})", types.join(" ")));
            lists.collect::<Vec<_>>().join(" ")
        }
        Item::Table(ty) | Item::Memory(ty) | Item::Global(ty) | Item::Tag(ty) => ty.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_to_a_terminal() {
        assert_eq!(quoted("a\"\\\n\x1b[2J\u{202e}é"), r#""a\"\\\n\u{1b}[2J\u{202e}é""#);
    }
}
