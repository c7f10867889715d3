//! The registry: what is true wherever things are kept.
//!
//! It hashes what goes in, verifies what comes out, and walks graphs. It must be used within a
//! tokio runtime, because large blobs are hashed on its blocking threads.

use std::sync::Arc;

use bytes::Bytes;

use crate::graph;
use crate::{
    Backend, Creation, DeleteError, Digest, Graph, GraphError, GraphLimits, ListQuery, MAX_PAGE,
    Manifest, ModuleRecord, Page, Reference, RegisterError, Registered, Registration,
    RegistryError, Resolved, StorageError,
};

/// Below this size a blob is hashed where it is, which takes less time than handing it over:
/// 64 KiB are some 50 µs.
const INLINE_HASH_BYTES: usize = 64 * 1024;

/// Names, manifests and blobs, over a [`Backend`]. A handle: cheap to clone, and clones share
/// everything.
#[derive(Debug, Clone)]
pub struct Registry {
    backend: Arc<dyn Backend>,
}

impl Registry {
    /// A registry that keeps everything in `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// What `reference` means now. A bare label that is versioned means its highest release.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownName`] or [`RegistryError::UnknownDigest`] if it means nothing.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        match reference {
            Reference::Name(name) => {
                let entry = self.backend.resolve(name).await?;
                let entry = entry.ok_or_else(|| RegistryError::UnknownName(name.clone()))?;
                Ok(Resolved { digest: entry.digest, name: Some(entry) })
            }
            Reference::Digest(digest) => {
                self.manifest(*digest).await?;
                Ok(Resolved { digest: *digest, name: None })
            }
        }
    }

    /// What is known of a module.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownDigest`] if there is no such module.
    pub async fn module(&self, digest: Digest) -> Result<ModuleRecord, RegistryError> {
        match self.backend.module(digest).await? {
            Some(record) if record.manifest.digest() == digest => Ok(record),
            Some(_) => Err(RegistryError::other_content(digest, &*self.backend)),
            None => Err(self.unknown(digest).await?),
        }
    }

    /// The bytes of a blob, whose digest they are sure to have.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownDigest`] if no registered module has it, and
    /// [`RegistryError::Corrupt`] if it is not what it should be.
    pub async fn blob(&self, digest: Digest) -> Result<Bytes, RegistryError> {
        let blob = self.backend.blob(digest).await?;
        let blob = blob.ok_or(RegistryError::UnknownDigest { digest, is_blob: false })?;
        let bytes = blob.clone();
        if hashing(blob.len(), move || Digest::of(&bytes)).await? == digest {
            Ok(blob)
        } else {
            Err(RegistryError::other_content(digest, &*self.backend))
        }
    }

    /// The closure of a registered module.
    ///
    /// # Errors
    ///
    /// [`GraphError::TooManyModules`] or [`GraphError::TooDeep`] as soon as a limit is passed.
    pub async fn graph(&self, root: Digest, limits: GraphLimits) -> Result<Graph, GraphError> {
        let manifest = self.manifest(root).await?;
        graph::walk(&*self.backend, root, manifest, limits).await
    }

    /// The closure of a manifest that need not be registered, though all that it links to must be.
    /// For one that is registered, the same as [`Registry::graph`].
    ///
    /// # Errors
    ///
    /// As [`Registry::graph`]; a link to what is not registered is
    /// [`RegistryError::UnknownDigest`].
    pub async fn graph_of(
        &self,
        manifest: &Manifest,
        limits: GraphLimits,
    ) -> Result<Graph, GraphError> {
        graph::walk(&*self.backend, manifest.digest(), manifest.clone(), limits).await
    }

    /// Registers a module. Durable when it returns; registering the same again is a success that
    /// changes nothing. Dropping the future does not take the registration back.
    ///
    /// # Errors
    ///
    /// As [`RegisterError`] says.
    pub async fn register(&self, registration: Registration) -> Result<Registered, RegisterError> {
        let Registration { name, links, wasm } = registration;
        let size = wasm.len();
        let creation = hashing(size, move || Creation::new(name, links, wasm)).await?;
        self.backend.create(creation).await
    }

    /// Deletes a name, or the registration without a name of a digest. The reference is taken
    /// literally: a bare label is not its highest release. Content that nothing else holds goes
    /// with it. Dropping the future does not take the deletion back.
    ///
    /// # Errors
    ///
    /// As [`DeleteError`] says.
    pub async fn delete(&self, reference: &Reference) -> Result<(), DeleteError> {
        self.backend.delete(reference.clone()).await
    }

    /// A page of what is registered.
    ///
    /// # Errors
    ///
    /// Only [`RegistryError::Storage`].
    pub async fn list(&self, mut query: ListQuery) -> Result<Page, RegistryError> {
        query.limit = query.limit.clamp(1, MAX_PAGE);
        Ok(self.backend.list(query).await?)
    }

    /// A number that grows after every committed change to what names mean and after every
    /// deletion, before the one who made it is answered. What was resolved after reading it is
    /// right for as long as it stays the same.
    pub fn generation(&self) -> u64 {
        self.backend.generation()
    }

    /// Whether the registry can serve: it can be read, and accepts writes, though a write may be
    /// refused for lack of space.
    ///
    /// # Errors
    ///
    /// Only [`RegistryError::Storage`].
    pub async fn check(&self) -> Result<(), RegistryError> {
        Ok(self.backend.check().await?)
    }

    async fn manifest(&self, digest: Digest) -> Result<Manifest, RegistryError> {
        match graph::read(&*self.backend, digest).await? {
            Some(manifest) => Ok(manifest),
            None => Err(self.unknown(digest).await?),
        }
    }

    /// The error for a digest that no manifest has.
    async fn unknown(&self, digest: Digest) -> Result<RegistryError, StorageError> {
        let is_blob = self.backend.has_blob(digest).await?;
        Ok(RegistryError::UnknownDigest { digest, is_blob })
    }
}

/// Runs `hash`, which hashes `size` bytes, where it does not hold up other tasks.
async fn hashing<T: Send + 'static>(
    size: usize,
    hash: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StorageError> {
    if size <= INLINE_HASH_BYTES {
        return Ok(hash());
    }
    tokio::task::spawn_blocking(hash).await.map_err(StorageError::other)
}
