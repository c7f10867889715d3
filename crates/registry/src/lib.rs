//! Names, manifests and blobs: what is registered, and where it is kept.
//!
//! Content is addressed by digest, names point to digests, links are pinned. A *blob* is the Wasm
//! bytes. A [`Manifest`] is a blob and its links, each link the digest of another manifest, so that
//! one digest fixes everything a module is made of. A [`Name`] points to a manifest until it is
//! deleted. The [`Registry`] holds the rules that are the same wherever things are kept; a
//! [`Backend`] keeps them. [`RedbBackend`] is the embedded one.
//!
//! ```
//! use std::sync::Arc;
//! use wasm_exec_registry::{GraphLimits, RedbBackend, Reference, Registration, Registry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new(Arc::new(RedbBackend::in_memory(1 << 20)?));
//! let registered = registry
//!     .register(Registration {
//!         name: Some("acme:utils@1.2.0".parse()?),
//!         links: [].into(),
//!         wasm: b"\0asm\x01\0\0\0".as_slice().into(),
//!     })
//!     .await?;
//!
//! let resolved = registry.resolve(&Reference::Name("acme:utils".parse()?)).await?;
//! assert_eq!(resolved.digest, registered.digest);
//!
//! let graph = registry.graph(resolved.digest, GraphLimits::default()).await?;
//! assert_eq!(registry.blob(graph.nodes[0].wasm).await?.len(), 8);
//! # Ok(())
//! # }
//! ```

mod account;
mod backend;
mod data_directory;
mod digest;
mod embedded;
mod error;
mod graph;
mod manifest;
pub mod mapped;
mod name;
mod network;
mod records;
mod reference;
mod registry;
mod syntax;
mod view;

pub use account::Account;
pub use backend::{Backend, BoxFuture, Creation};
pub use data_directory::{DataDirectory, DataDirectoryError};
pub use digest::{Digest, Hasher, InvalidDigest};
pub use embedded::{RedbBackend, Row, RowPage};
pub use error::{
    DeleteError, GraphError, Holder, Holders, NameTakenReason, RegisterError, RegistryError,
    StorageError,
};
pub use graph::{Graph, GraphLimits, GraphNode};
pub use manifest::{InvalidManifest, Manifest};
pub use name::{InvalidName, Name};
pub use network::{
    BlobCounts, ConnectionCounts, ModuleSource, NetworkStatus, PeerStatus, Provenance,
    RecordCounts, ReplicationCounts, Traffic,
};
pub use records::{
    Entry, ListQuery, MAX_LISTED_NAMES, MAX_PAGE, ModuleRecord, Page, Registered, Registration,
    Resolved, Summary,
};
pub use reference::Reference;
pub use registry::Registry;
pub use view::View;
