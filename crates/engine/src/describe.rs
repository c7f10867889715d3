//! What a module is, read from its bytes: validity, exports, imports, types.
//!
//! No compiler is involved, so describing is cheap enough to do for every answer that needs it.

mod syntax;

use wasmparser::{
    BinaryReaderError, CompositeInnerType, Encoding, ExternalKind, FuncType, Parser, Payload,
    TypeRef, ValidPayload, Validator, WasmFeatures,
};

use crate::background::GiveWay;
use crate::door::LimitExceeded;

/// What a module offers and needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// In the module's order.
    pub exports: Vec<Export>,
    /// In the module's order.
    pub imports: Vec<Import>,
    /// The smallest size of the memories that the module defines, summed, in bytes.
    pub initial_memory: u64,
}

/// Something a module exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name; any string.
    pub name: String,
    /// What it is.
    pub item: Item,
}

/// Something a module imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The module it is imported from; any string.
    pub module: String,
    /// Its name there; any string.
    pub name: String,
    /// What it must be.
    pub item: Item,
}

/// The kind and the type of an export or import, types in the syntax of the text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A function.
    Function {
        /// The types of its parameters.
        params: Vec<String>,
        /// The types of its results.
        results: Vec<String>,
    },
    /// A table: `10 20 funcref`.
    Table(String),
    /// A memory: `1 16`, in pages.
    Memory(String),
    /// A global: `(mut i32)`.
    Global(String),
    /// An exception's tag: `(param i32)`.
    Tag(String),
}

impl Item {
    /// The kind's name: `function`, `table`, `memory`, `global` or `tag`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Function { .. } => "function",
            Self::Table(_) => "table",
            Self::Memory(_) => "memory",
            Self::Global(_) => "global",
            Self::Tag(_) => "tag",
        }
    }
}

/// Why bytes are not a module that can be run here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModule {
    /// The bytes break the WebAssembly specification.
    #[error("at offset {offset}: {reason}")]
    Invalid {
        /// Where, in bytes from the start.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// The bytes use a part of WebAssembly that is switched off or not known here.
    #[error("{reason}")]
    Unsupported {
        /// Where, in bytes from the start, if it is in one place.
        offset: Option<usize>,
        /// What is used.
        reason: String,
    },
    /// The bytes have more of something than may be compiled.
    #[error(transparent)]
    Limit(LimitExceeded),
}

/// Whether function bodies are validated too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    Validate,
    /// For bytes that were validated before.
    Trust,
}

/// Reads a module, with the WebAssembly proposals of `features`.
pub(crate) fn describe(
    wasm: &[u8],
    features: WasmFeatures,
    bodies: Bodies,
) -> Result<Description, InvalidModule> {
    if wasm.starts_with(b"\0asm") && Parser::is_component(wasm) {
        return Err(InvalidModule::Unsupported {
            offset: Some(4),
            reason: "this is a component; a core module is expected".into(),
        });
    }
    match Reader::new(features, bodies).read(wasm) {
        Ok(Read { description, exact_import: None }) => Ok(description),
        // The validator lets them pass whatever is switched on, but the compiler does not know them.
        Ok(Read { exact_import: Some(offset), .. }) => {
            Err(unsupported(offset, "exact function imports are not supported"))
        }
        // What is valid with every proposal switched on is not the author's mistake.
        Err(error) => match Reader::new(WasmFeatures::all(), Bodies::Validate).read(wasm) {
            Ok(_) => Err(unsupported(error.offset(), error.message())),
            Err(_) => Err(invalid(&error)),
        },
    }
}

fn unsupported(offset: usize, reason: &str) -> InvalidModule {
    InvalidModule::Unsupported {
        offset: Some(offset),
        reason: format!("at offset {offset}: {reason}"),
    }
}

pub(crate) fn invalid(error: &BinaryReaderError) -> InvalidModule {
    InvalidModule::Invalid { offset: error.offset(), reason: error.message().to_owned() }
}

/// What was read of a module.
struct Read {
    description: Description,
    /// Where the first function is imported that has to be exactly of its type.
    exact_import: Option<usize>,
}

/// Collects the index spaces while it validates.
struct Reader {
    validator: Validator,
    bodies: Bodies,
    /// By type index; `None` for structs and arrays.
    types: Vec<Option<FuncType>>,
    /// By index, imported ones first: type indices.
    functions: Vec<u32>,
    tags: Vec<u32>,
    tables: Vec<wasmparser::TableType>,
    memories: Vec<wasmparser::MemoryType>,
    globals: Vec<wasmparser::GlobalType>,
    read: Read,
}

impl Reader {
    fn new(features: WasmFeatures, bodies: Bodies) -> Self {
        Self {
            validator: Validator::new_with_features(features),
            bodies,
            types: Vec::new(),
            functions: Vec::new(),
            tags: Vec::new(),
            tables: Vec::new(),
            memories: Vec::new(),
            globals: Vec::new(),
            read: Read {
                description: Description {
                    exports: Vec::new(),
                    imports: Vec::new(),
                    initial_memory: 0,
                },
                exact_import: None,
            },
        }
    }

    fn read(mut self, wasm: &[u8]) -> Result<Read, BinaryReaderError> {
        let mut allocations = wasmparser::FuncValidatorAllocations::default();
        let mut way = GiveWay::while_reading(wasm);
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            // The validator goes first: what it lets pass is within the specification's limits.
            match self.validator.payload(&payload)? {
                ValidPayload::Func(function, body) if self.bodies == Bodies::Validate => {
                    way.at(body.range().start);
                    let mut validator = function.into_validator(allocations);
                    validator.validate(&body)?;
                    allocations = validator.into_allocations();
                }
                _ => {}
            }
            self.collect(payload)?;
        }
        Ok(self.read)
    }

    fn collect(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => debug_assert_eq!(encoding, Encoding::Module),
            Payload::TypeSection(section) => {
                for group in section {
                    self.types.extend(group?.into_types().map(
                        |ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(function),
                            _ => None,
                        },
                    ));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports_with_offsets() {
                    let (offset, import) = import?;
                    if let TypeRef::FuncExact(_) = import.ty {
                        self.read.exact_import.get_or_insert(offset);
                    }
                    self.import(import);
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.tables.push(table?.ty);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    let bytes = memory.initial.saturating_mul(syntax::page_size(&memory));
                    let sum = &mut self.read.description.initial_memory;
                    *sum = sum.saturating_add(bytes);
                    self.memories.push(memory);
                }
            }
            Payload::TagSection(section) => {
                for tag in section {
                    self.tags.push(tag?.func_type_idx);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    self.globals.push(global?.ty);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let index = export.index as usize;
                    let item = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => {
                            self.function(self.functions[index])
                        }
                        ExternalKind::Table => Item::Table(syntax::table(&self.tables[index])),
                        ExternalKind::Memory => Item::Memory(syntax::memory(&self.memories[index])),
                        ExternalKind::Global => Item::Global(syntax::global(&self.globals[index])),
                        ExternalKind::Tag => self.tag(self.tags[index]),
                    };
                    self.read
                        .description
                        .exports
                        .push(Export { name: export.name.to_owned(), item });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: wasmparser::Import<'_>) {
        let item = match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.functions.push(ty);
                self.function(ty)
            }
            TypeRef::Table(ty) => {
                self.tables.push(ty);
                Item::Table(syntax::table(&ty))
            }
            TypeRef::Memory(ty) => {
                self.memories.push(ty);
                Item::Memory(syntax::memory(&ty))
            }
            TypeRef::Global(ty) => {
                self.globals.push(ty);
                Item::Global(syntax::global(&ty))
            }
            TypeRef::Tag(ty) => {
                self.tags.push(ty.func_type_idx);
                self.tag(ty.func_type_idx)
            }
        };
        self.read.description.imports.push(Import {
            module: import.module.to_owned(),
            name: import.name.to_owned(),
            item,
        });
    }

    fn function(&self, ty: u32) -> Item {
        let (params, results) = self.signature(ty);
        Item::Function {
            params: params.iter().map(syntax::value_type).collect(),
            results: results.iter().map(syntax::value_type).collect(),
        }
    }

    fn tag(&self, ty: u32) -> Item {
        let (params, _) = self.signature(ty);
        let params: Vec<_> = params.iter().map(syntax::value_type).collect();
        Item::Tag(syntax::list("param", &params))
    }

    /// The parameters and results of a function type. The validator has checked that it is one.
    fn signature(&self, ty: u32) -> (&[wasmparser::ValType], &[wasmparser::ValType]) {
        match self.types.get(ty as usize) {
            Some(Some(function)) => (function.params(), function.results()),
            _ => (&[], &[]),
        }
    }
}

#[cfg(test)]
mod tests;
