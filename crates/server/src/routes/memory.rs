//! The member `memory` of a call: bytes into memories before it, bytes out of them after it.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use wasm_exec::{BytesText, MemoryAccess, Quantity, Read};

use super::source::{Text, short_list};
use crate::body::Strict;
use crate::problem::Problem;

/// What a call does with memories. The order: instances are made, bytes among the parameters are
/// allocated and written, then `write`, then the function is called, then `read`, also if it failed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryRequest<'a> {
    /// The memory of bytes among the parameters, and of entries that name none; the export `memory` if
    /// it is not given.
    #[serde(borrow, default)]
    memory: Option<MemoryName<'a>>,
    /// What is put in before the call, at most 1,000 entries: all of it, or nothing and the function is
    /// not called.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<MemoryWrite<'static>>)]
    write: Vec<Strict<MemoryWrite<'a>>>,
    /// What is taken out after the call, at most 1,000 entries. It counts towards `output_bytes`.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<MemoryRead<'static>>)]
    read: Vec<Strict<MemoryRead<'a>>>,
}

/// Bytes to put into a memory: exactly one of `utf8` and `base64`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryWrite<'a> {
    /// Which memory.
    #[serde(borrow, default)]
    memory: Option<MemoryName<'a>>,
    /// Where, in bytes.
    offset: u64,
    /// The bytes as text.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    utf8: Option<Text<'a>>,
    /// The bytes as base64, with the standard alphabet, padded or not.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    base64: Option<Text<'a>>,
}

/// Bytes to take out of a memory.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryRead<'a> {
    /// Which memory.
    #[serde(borrow, default)]
    memory: Option<MemoryName<'a>>,
    /// From where, in bytes.
    offset: ByteCount,
    /// How many bytes.
    length: ByteCount,
}

/// A memory: the name of one that the module exports, or `import` with the module and the name by
/// which one is imported that the host provides.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a memory is the name of an export, or {\"import\": [MODULE, NAME]}")]
pub(crate) enum MemoryName<'a> {
    /// The name of an export.
    #[schema(value_type = String)]
    Export(#[serde(borrow)] Text<'a>),
    /// The module and the name of an import.
    #[schema(value_type = ImportedMemory<'static>)]
    Import(#[serde(borrow)] Strict<ImportedMemory<'a>>),
}

/// A memory that the host provides.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportedMemory<'a> {
    /// The module and the name by which it is imported.
    #[serde(borrow)]
    #[schema(value_type = Vec<String>, min_items = 2, max_items = 2)]
    import: (Text<'a>, Text<'a>),
}

/// A number of bytes, or the function's result that says it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "an offset or a length is an integer from 0 on, or {\"result\": INDEX}"
)]
pub(crate) enum ByteCount {
    /// So many.
    Bytes(u64),
    /// What the function gives.
    #[schema(value_type = ResultIndex)]
    Result(Strict<ResultIndex>),
}

/// One of a function's results, an `i32` or `i64` that is read without a sign.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultIndex {
    /// Which, from 0.
    result: usize,
}

impl MemoryRequest<'_> {
    /// What is asked for.
    ///
    /// # Errors
    ///
    /// When a write has no bytes, or has them twice.
    pub(crate) fn access(&self) -> Result<Box<MemoryAccess<'_>>, Problem> {
        let writes = self.write.iter().enumerate().map(|(index, Strict(write))| {
            let text = match (&write.utf8, &write.base64) {
                (Some(text), None) => BytesText::Utf8((*text.0).into()),
                (None, Some(text)) => BytesText::Base64((*text.0).into()),
                _ => {
                    let detail = format!(
                        "memory.write[{index}]: one of `utf8` and `base64` has to be given"
                    );
                    return Err(Problem::invalid_request(detail));
                }
            };
            let memory = write.memory.as_ref().map(wasm_exec::MemoryName::from);
            Ok(wasm_exec::MemoryWrite { memory, offset: write.offset, text })
        });
        let reads = self.read.iter().map(|Strict(read)| Read {
            memory: read.memory.as_ref().map(wasm_exec::MemoryName::from),
            offset: read.offset.into(),
            length: read.length.into(),
        });
        Ok(Box::new(MemoryAccess {
            memory: self.memory.as_ref().map(wasm_exec::MemoryName::from),
            writes: writes.collect::<Result<_, _>>()?,
            reads: reads.collect(),
        }))
    }
}

impl From<&MemoryName<'_>> for wasm_exec::MemoryName {
    fn from(name: &MemoryName<'_>) -> Self {
        match name {
            MemoryName::Export(name) => Self::Export((*name.0).to_owned()),
            MemoryName::Import(Strict(ImportedMemory { import: (module, name) })) => {
                Self::Import { module: (*module.0).to_owned(), name: (*name.0).to_owned() }
            }
        }
    }
}

impl From<ByteCount> for Quantity {
    fn from(count: ByteCount) -> Self {
        match count {
            ByteCount::Bytes(bytes) => Self::Bytes(bytes),
            ByteCount::Result(Strict(ResultIndex { result })) => Self::Result(result),
        }
    }
}

/// A memory as a request names it.
pub(crate) fn name(memory: &wasm_exec::MemoryName) -> Value {
    match memory {
        wasm_exec::MemoryName::Export(name) => json!(name),
        wasm_exec::MemoryName::Import { module, name } => json!({ "import": [module, name] }),
    }
}

/// The JSON Schema of what was read. Its JSON is made by [`wasm_exec`].
pub(crate) fn answer_schema() -> Value {
    json!({
        "type": "object",
        "description": "What was read, in the order in which it was asked for.",
        "required": ["read"],
        "properties": { "read": { "type": "array", "items": { "oneOf": [
            {
                "type": "object",
                "required": ["offset", "base64"],
                "properties": {
                    "offset": { "type": "integer", "minimum": 0 },
                    "base64": { "type": "string", "description": "The bytes." },
                },
            },
            {
                "type": "object",
                "required": ["error"],
                "properties": { "error": {
                    "type": "string",
                    "enum": ["out-of-range", "no-result", "no-memory", "output-limit"],
                    "description": "The memory ends before the entry does; it names a result, and \
                                    the function gave none; the call ended before there was such a \
                                    memory; all entries together are more than a failed call may \
                                    return.",
                } },
            },
        ] } } },
    })
}
