//! Descriptions of modules, as clients read them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use utoipa::ToSchema;
use wasm_exec::values::{Direction, schema};
use wasm_exec::{Item, ModuleDescription, ModuleSource, Provenance};

/// A registered module.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Description {
    /// The name it was asked for by, resolved; otherwise the first of its names.
    name: Option<String>,
    /// Its names, at most 100.
    names: Vec<String>,
    /// The module digest: of its Wasm and its links.
    digest: String,
    /// `module`
    kind: &'static str,
    wasm: Wasm,
    /// Import module → what satisfies it.
    links: BTreeMap<String, Link>,
    exports: Vec<Export>,
    imports: Vec<Import>,
    /// RFC 3339, in UTC.
    registered_at: String,
    /// The peer id of the node whose name it is, or that registered it. This and what follows is
    /// there on a node of a peer-to-peer network.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The name with the owner as its namespace, which means the same on every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical_name: Option<String>,
    /// How many other nodes are known to keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    /// Where this node has it from: `local`, or the peer id of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

/// A registered module in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    name: Option<String>,
    /// The module digest.
    digest: String,
    /// `module`
    kind: &'static str,
    wasm: Wasm,
    /// RFC 3339, in UTC.
    registered_at: String,
}

/// The bytes of a module.
#[derive(Debug, Serialize, ToSchema)]
struct Wasm {
    /// The blob digest.
    digest: String,
    /// In bytes.
    size: u64,
}

/// What satisfies imports.
#[derive(Debug, Serialize, ToSchema)]
struct Link {
    /// A name of it, if it has one.
    name: Option<String>,
    /// The module digest that imports are pinned to.
    digest: String,
}

/// Something a module exports.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Export {
    name: String,
    #[serde(flatten)]
    item: Typed,
    /// For a function, the JSON Schema of a call's `params`.
    #[serde(skip_serializing_if = "Option::is_none")]
    params_schema: Option<serde_json::Value>,
    /// For a function, the JSON Schema of an answer's `results`.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_schema: Option<serde_json::Value>,
}

/// Something a module imports.
#[derive(Debug, Serialize, ToSchema)]
struct Import {
    module: String,
    name: String,
    #[serde(flatten)]
    item: Typed,
    /// The digest of the link that satisfies it, or `host`.
    from: String,
}

/// A kind and a type, in the syntax of the text format.
#[derive(Debug, Serialize, ToSchema)]
struct Typed {
    /// `function`, `table`, `memory`, `global` or `tag`.
    kind: &'static str,
    /// For a function, the types of its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Vec<String>>,
    /// For a function, the types of its results.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<String>>,
    /// For anything else, its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    ty: Option<String>,
}

impl From<Item> for Typed {
    fn from(item: Item) -> Self {
        let kind = item.kind();
        match item {
            Item::Function { params, results } => {
                Self { kind, params: Some(params), results: Some(results), ty: None }
            }
            Item::Table(ty) | Item::Memory(ty) | Item::Global(ty) | Item::Tag(ty) => {
                Self { kind, params: None, results: None, ty: Some(ty) }
            }
        }
    }
}

impl From<wasm_exec::Export> for Export {
    fn from(wasm_exec::Export { name, item }: wasm_exec::Export) -> Self {
        let schemas = match &item {
            Item::Function { params, results } => {
                Some((schema(params, Direction::In), schema(results, Direction::Out)))
            }
            _ => None,
        };
        let (params_schema, result_schema) = schemas.unzip();
        Self { name, item: item.into(), params_schema, result_schema }
    }
}

impl Description {
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }
}

impl From<ModuleDescription> for Description {
    fn from(mut module: ModuleDescription) -> Self {
        let (owner, canonical_name, replicas, from) = match module.provenance.take() {
            Some(Provenance { owner, canonical_name, replicas, source }) => {
                (Some(owner), canonical_name, Some(replicas), Some(source))
            }
            None => (None, None, None, None),
        };
        let import = |import: wasm_exec::Import| Import {
            from: module
                .link(&import.module)
                .map_or_else(|| "host".to_owned(), |digest| digest.to_string()),
            module: import.module,
            name: import.name,
            item: import.item.into(),
        };
        let link = |import: &String| module.link_names.get(import).map(ToString::to_string);
        let record = &module.record;
        Self {
            imports: module.interface.imports.clone().into_iter().map(import).collect(),
            links: record
                .manifest
                .links
                .iter()
                .map(|(import, digest)| {
                    (import.clone(), Link { name: link(import), digest: digest.to_string() })
                })
                .collect(),
            name: module.name.as_ref().map(ToString::to_string),
            names: record.names.iter().map(ToString::to_string).collect(),
            digest: record.digest.to_string(),
            kind: "module",
            wasm: Wasm { digest: record.manifest.wasm.to_string(), size: record.wasm_size },
            registered_at: timestamp(module.registered_at),
            owner,
            canonical_name: canonical_name.map(|name| name.to_string()),
            replicas,
            source: from.map(source),
            exports: module.interface.exports.into_iter().map(Export::from).collect(),
        }
    }
}

fn source(source: ModuleSource) -> String {
    match source {
        ModuleSource::Local => "local".to_owned(),
        ModuleSource::Peer(id) => id,
    }
}

impl From<wasm_exec::Summary> for Summary {
    fn from(module: wasm_exec::Summary) -> Self {
        Self {
            name: module.name.map(|name| name.to_string()),
            digest: module.digest.to_string(),
            kind: "module",
            wasm: Wasm { digest: module.wasm.to_string(), size: module.wasm_size },
            registered_at: timestamp(module.registered_at),
        }
    }
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
