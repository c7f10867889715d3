//! Describing what is registered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use bytes::Bytes;
use wasm_exec_engine::{Description, text};
use wasm_exec_registry::{Digest, ModuleRecord, Name, Provenance, Reference};

use crate::error::Error;
use crate::exec::{Exec, internal};
use crate::source::SourceError;

/// A registered module, with what it exports and imports.
#[derive(Clone, Debug)]
pub struct ModuleDescription {
    /// The name it was asked for by, resolved; otherwise the first of its names.
    pub name: Option<Name>,
    /// What the registry keeps of it.
    pub record: ModuleRecord,
    /// What its Wasm exports and imports.
    pub interface: Description,
    /// For each link, a name of what it links to, if that has one.
    pub link_names: BTreeMap<String, Name>,
    /// When the name it was asked for by was registered, or else the module.
    pub registered_at: SystemTime,
    /// Whose it is in a network, and who keeps it; `None` without a network.
    pub provenance: Option<Provenance>,
}

impl ModuleDescription {
    /// The digest of the link that satisfies imports from `module`; `None` is the host.
    pub fn link(&self, module: &str) -> Option<Digest> {
        self.record.manifest.links.get(module).copied()
    }
}

/// A module's bytes, with their digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub wasm: Bytes,
}

impl Exec {
    /// Describes a registered module.
    ///
    /// # Errors
    ///
    /// When nothing is registered so, or the registry fails.
    pub async fn describe(&self, module: &str) -> Result<ModuleDescription, Error> {
        let reference: Reference = module.parse()?;
        let resolved = self.registry().resolve(&reference).await?;
        let record = self.registry().module(resolved.digest).await?;
        let place = self.read_place().await;
        let wasm = self.registry().blob(record.manifest.wasm).await?;
        let engine = std::sync::Arc::clone(self.engine());
        // It was validated when it was registered; other nodes of a network may register anything.
        let interface = self.blocking(move || engine.describe(&wasm)).await?;
        let interface = interface.map_err(Error::Module)?;
        drop(place);
        let (name, registered_at) =
            resolved.name.map(|entry| (entry.name, entry.registered_at)).unzip();
        let registered_at = registered_at.unwrap_or(record.registered_at);
        self.description(resolved.digest, name, interface, registered_at).await
    }

    pub(crate) async fn description(
        &self,
        digest: Digest,
        name: Option<Name>,
        interface: Description,
        registered_at: SystemTime,
    ) -> Result<ModuleDescription, Error> {
        let provenance = self.registry().provenance(digest, name.as_ref()).await?;
        let record = self.registry().module(digest).await?;
        let links = &record.manifest.links;
        let distinct: BTreeSet<Digest> = links.values().copied().collect();
        let mut names = BTreeMap::new();
        for linked in distinct {
            let record = self.registry().module(linked).await?;
            if let Some(name) = record.names.into_iter().next() {
                names.insert(linked, name);
            }
        }
        let link_names = links
            .iter()
            .filter_map(|(import, linked)| Some((import.clone(), names.get(linked)?.clone())))
            .collect();
        let name = name.or_else(|| record.names.first().cloned());
        Ok(ModuleDescription { name, record, interface, link_names, registered_at, provenance })
    }

    /// A registered module's bytes.
    ///
    /// # Errors
    ///
    /// When nothing is registered so, or the registry fails.
    pub async fn wasm(&self, module: &str) -> Result<Blob, Error> {
        let digest = self.blob_digest(module).await?;
        let _place = self.read_place().await;
        Ok(Blob { digest, wasm: self.registry().blob(digest).await? })
    }

    /// The digest of a registered module's bytes.
    ///
    /// # Errors
    ///
    /// When nothing is registered so, or the registry fails.
    pub async fn blob_digest(&self, module: &str) -> Result<Digest, Error> {
        let digest = self.resolve(module).await?;
        Ok(self.registry().module(digest).await?.manifest.wasm)
    }

    /// A module's bytes in the text format.
    ///
    /// # Errors
    ///
    /// When too many texts are being read or written, there are no such bytes, or the text would have
    /// more than four times the bytes that a module may have.
    pub async fn print(&self, blob: Digest) -> Result<String, Error> {
        let maximum = self.limits().wasm_bytes.saturating_mul(4);
        let limit = usize::try_from(maximum).unwrap_or(usize::MAX);
        // Before the bytes are read: those who wait hold none.
        let place = self.text_place().await?;
        let wasm = self.registry().blob(blob).await?;
        let printed = self
            .blocking(move || {
                let _place = place;
                text::print(&wasm, limit)
            })
            .await?;
        printed.map_err(|error| match error {
            text::PrintError::TooLong { .. } => {
                Error::Source(SourceError::TooLarge { size: maximum + 1, maximum })
            }
            error @ text::PrintError::Invalid(_) => internal(error),
        })
    }
}
