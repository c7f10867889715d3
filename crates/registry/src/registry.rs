//! The registry: what is true wherever things are kept.
//!
//! It hashes what goes in, verifies what comes out, and walks graphs. It must be used within a
//! tokio runtime, because large blobs are hashed on its blocking threads.

use std::sync::Arc;

use bytes::Bytes;

use crate::graph;
use crate::{
    Account, Backend, Creation, DeleteError, Digest, Graph, GraphError, GraphLimits, Holder,
    Holders, ListQuery, MAX_PAGE, Manifest, ModuleRecord, Name, NetworkStatus, Page, Provenance,
    Reference, RegisterError, Registered, Registration, RegistryError, Resolved, StorageError,
    View,
};

/// Below this size a blob is hashed where it is, which takes less time than handing it over:
/// 64 KiB are some 50 µs.
const INLINE_HASH_BYTES: usize = 64 * 1024;

/// Names, manifests and blobs, over a [`Backend`]. A handle: cheap to clone, and clones share
/// everything but the [`View`] that they have of it.
#[derive(Debug, Clone)]
pub struct Registry {
    backend: Arc<dyn Backend>,
    view: View,
    account: Option<Account>,
}

impl Registry {
    /// A registry that keeps everything in `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, view: View::complete(), account: None }
    }

    /// The same registry as somebody sees it who has this view. What is hidden is, by
    /// [`resolve`](Self::resolve), [`list`](Self::list) and [`delete`](Self::delete), as if it did
    /// not exist; what is reached otherwise, by the links of what is seen, is not looked at again.
    pub fn with_view(&self, view: View) -> Self {
        Self { view, ..self.clone() }
    }

    /// The same registry for somebody whose registrations are charged to an account.
    pub fn charged_to(&self, account: Account) -> Self {
        Self { account: Some(account), ..self.clone() }
    }

    /// What is seen of it by this handle.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What `reference` means now. A bare label that is versioned means its highest release. In a
    /// view that hides something, a digest means a module only if the module has a name that is
    /// seen or is registered without one.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownName`] or [`RegistryError::UnknownDigest`] if it means nothing.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        match reference {
            Reference::Name(name) if !self.view.shows(name) => {
                Err(RegistryError::UnknownName(name.clone()))
            }
            Reference::Digest(digest) if !self.view.is_complete() => {
                let record = self.module(*digest).await?;
                match record.unnamed || !record.names.is_empty() {
                    true => Ok(Resolved { digest: *digest, name: None }),
                    false => Err(self.unknown(*digest).await?),
                }
            }
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

    /// What is known of a module; of its names, those that are seen.
    ///
    /// # Errors
    ///
    /// [`RegistryError::UnknownDigest`] if there is no such module.
    pub async fn module(&self, digest: Digest) -> Result<ModuleRecord, RegistryError> {
        match self.backend.module(digest, self.view.clone()).await? {
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
        if let Some(blob) = self.backend.verified_blob(digest) {
            return Ok(blob);
        }
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
        self.backend.create(creation.charged_to(self.account.clone())).await
    }

    /// Deletes a name, or the registration without a name of a digest. The reference is taken
    /// literally: a bare label is not its highest release. Content that nothing else holds goes
    /// with it. Dropping the future does not take the deletion back.
    ///
    /// # Errors
    ///
    /// As [`DeleteError`] says.
    pub async fn delete(&self, reference: &Reference) -> Result<(), DeleteError> {
        if self.view.is_complete() {
            return self.backend.delete(reference.clone()).await;
        }
        match reference {
            Reference::Name(name) if !self.view.shows(name) => {
                return Err(DeleteError::Registry(RegistryError::UnknownName(name.clone())));
            }
            Reference::Name(_) => {}
            Reference::Digest(_) => {
                self.resolve(reference).await.map_err(DeleteError::Registry)?;
            }
        }
        match self.backend.delete(reference.clone()).await {
            Err(DeleteError::InUse { digest, .. }) => Err(self.in_use(digest).await),
            deleted => deleted,
        }
    }

    /// That a module is in use, by those of its holders that are seen: its names.
    async fn in_use(&self, digest: Digest) -> DeleteError {
        match self.module(digest).await {
            Ok(ModuleRecord { names, .. }) => match names.first().cloned() {
                Some(name) => {
                    let example = Holder::Name(name);
                    let by = Holders { names: names.len() as u64, links: 0, example };
                    DeleteError::InUse { digest, by }
                }
                // Its names went away meanwhile.
                None => DeleteError::Registry(unseen(digest)),
            },
            Err(error) => DeleteError::Registry(error),
        }
    }

    /// A page of what is registered.
    ///
    /// # Errors
    ///
    /// Only [`RegistryError::Storage`].
    pub async fn list(&self, mut query: ListQuery) -> Result<Page, RegistryError> {
        query.limit = query.limit.clamp(1, MAX_PAGE);
        Ok(self.backend.list(query, self.view.clone()).await?)
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

    /// Where a module comes from, asked for by `name` if it was asked for by one; `None` if that is
    /// not known, as always without a network.
    ///
    /// # Errors
    ///
    /// Only [`RegistryError::Storage`].
    pub async fn provenance(
        &self,
        digest: Digest,
        name: Option<&Name>,
    ) -> Result<Option<Provenance>, RegistryError> {
        Ok(self.backend.provenance(digest, name).await?)
    }

    /// How the network is that the registry is a part of; `None` if it is of none.
    pub fn network(&self) -> Option<Arc<NetworkStatus>> {
        self.backend.network()
    }

    async fn manifest(&self, digest: Digest) -> Result<Manifest, RegistryError> {
        match graph::read(&*self.backend, digest).await? {
            Some(manifest) => Ok(manifest),
            None => Err(self.unknown(digest).await?),
        }
    }

    /// The error for a digest that no manifest has, or none that is seen. Whose blob it may be is
    /// told only to those from whom nothing is hidden.
    async fn unknown(&self, digest: Digest) -> Result<RegistryError, StorageError> {
        if !self.view.is_complete() {
            return Ok(unseen(digest));
        }
        let is_blob = self.backend.has_blob(digest).await?;
        Ok(RegistryError::UnknownDigest { digest, is_blob })
    }
}

fn unseen(digest: Digest) -> RegistryError {
    RegistryError::UnknownDigest { digest, is_blob: false }
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
