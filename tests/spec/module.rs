//! A script's modules, as they are sent.

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload};
use wast::{QuoteWat, QuoteWatTest};

use crate::script;

/// A module's bytes, or its text where that is what a script is about.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Wasm(Vec<u8>),
    /// Not always UTF-8.
    Wat(Vec<u8>),
}

/// A module that can be instantiated.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) source: Source,
    /// The modules that it imports from.
    pub(crate) imports: BTreeSet<String>,
}

impl Module {
    /// # Errors
    ///
    /// When it cannot be encoded.
    pub(crate) fn new(module: &mut QuoteWat<'_>) -> Result<Self, String> {
        let source = match module.to_test().map_err(|error| error.to_string())? {
            QuoteWatTest::Binary(bytes) => Source::Wasm(bytes),
            QuoteWatTest::Text(text) => Source::Wat(text),
        };
        let imports = match &source {
            Source::Wasm(bytes) => import_modules(bytes)?,
            Source::Wat(_) => import_modules(&module.encode().map_err(|error| error.to_string())?)?,
        };
        Ok(Self { source, imports })
    }
}

/// What is sent of a module that is said to be invalid or malformed: its bytes where it has some,
/// its text where that is quoted, or cannot be encoded and is what the server shall refuse.
pub(crate) fn suspect(module: &mut QuoteWat<'_>, text: &str) -> Result<Source, String> {
    match module.to_test() {
        Ok(QuoteWatTest::Binary(bytes)) => Ok(Source::Wasm(bytes)),
        Ok(QuoteWatTest::Text(text)) => Ok(Source::Wat(text)),
        Err(error) => script::parenthesis(text, module.span())
            .map(|text| Source::Wat(text.as_bytes().to_vec()))
            .ok_or_else(|| error.to_string()),
    }
}

fn import_modules(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    let mut modules = BTreeSet::new();
    for payload in Parser::new(0).parse_all(bytes) {
        // Whether the rest can be read is for the server to say.
        let Ok(payload) = payload else { break };
        if let Payload::ImportSection(imports) = payload {
            for import in imports.into_imports() {
                let import = import.map_err(|error| error.to_string())?;
                modules.insert(import.module.to_owned());
            }
        }
    }
    Ok(modules)
}
