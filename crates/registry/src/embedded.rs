//! The embedded backend: redb, in a file or in memory.
//!
//! Small reads run where they are asked for, since they take microseconds and mostly come from
//! redb's cache; blobs and listings are read on tokio's blocking threads. Changes go through one
//! writer thread.

mod accounts;
mod change;
#[cfg(test)]
mod faults;
mod file;
mod memory;
#[cfg(test)]
mod power_loss;
mod rows;
mod snapshot;
mod store;
mod tables;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

pub use self::rows::{Row, RowPage};
use self::snapshot::Snapshot;
use self::store::Store;
use self::tables::Outcome;
use self::writer::Writer;
use crate::{
    Backend, BoxFuture, Creation, DeleteError, Digest, Entry, ListQuery, Manifest, ModuleRecord,
    Name, Page, Reference, RegisterError, Registered, RegistryError, StorageError, View,
};

/// Keeps everything in a redb database: in a file, or in memory.
///
/// What is acknowledged survives `kill -9` and the loss of power. After a failure of the disk the
/// file is opened again, so that a server goes on once there is space. Must be used within a tokio
/// runtime. Dropping it blocks until what was asked of it is done.
pub struct RedbBackend {
    /// Before the store, because dropping it finishes what was queued.
    writer: Writer,
    store: Arc<Store>,
    generation: Arc<AtomicU64>,
}

impl RedbBackend {
    /// Opens the database at `path`, and makes it if there is none. `cache_bytes` is how much
    /// memory redb may use for its cache. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StorageError::Corrupt`] for a file that is not a registry of this version;
    /// [`StorageError::Io`] also if it is open already.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, StorageError> {
        Self::new(Store::open(path, cache_bytes)?)
    }

    /// A database in memory, empty, and gone when this is dropped. `cache_bytes` comes on top of
    /// what is stored.
    ///
    /// # Errors
    ///
    /// Only if there is no thread to be had for the writer.
    pub fn in_memory(cache_bytes: usize) -> Result<Self, StorageError> {
        Self::new(Store::in_memory(cache_bytes)?)
    }

    fn new(store: Store) -> Result<Self, StorageError> {
        let store = Arc::new(store);
        let generation = Arc::new(AtomicU64::new(0));
        Ok(Self { writer: Writer::start(store.clone(), generation.clone())?, store, generation })
    }

    /// Reads what may be large, on a thread that may wait.
    async fn read_blocking<T: Send + 'static>(
        &self,
        query: impl Fn(&Snapshot<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.read(query)).await.map_err(StorageError::other)?
    }
}

impl Backend for RedbBackend {
    fn resolve<'a>(
        &'a self,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<Entry>, RegistryError>> {
        Box::pin(async { Ok(self.store.read(|snapshot| snapshot.resolve(name))?) })
    }

    fn manifest(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Manifest>, RegistryError>> {
        Box::pin(async move { Ok(self.store.read(|snapshot| snapshot.manifest(digest))?) })
    }

    fn module(
        &self,
        digest: Digest,
        view: View,
    ) -> BoxFuture<'_, Result<Option<ModuleRecord>, RegistryError>> {
        Box::pin(async move { Ok(self.store.read(|snapshot| snapshot.module(digest, &view))?) })
    }

    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, RegistryError>> {
        Box::pin(
            async move { Ok(self.read_blocking(move |snapshot| snapshot.blob(digest)).await?) },
        )
    }

    fn has_blob(&self, digest: Digest) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(async move {
            let size = self.store.read(|snapshot| snapshot.blob_size(digest))?;
            Ok(size.is_some())
        })
    }

    fn list(&self, query: ListQuery, view: View) -> BoxFuture<'_, Result<Page, StorageError>> {
        Box::pin(self.read_blocking(move |snapshot| snapshot.list(&query, &view)))
    }

    fn create(&self, creation: Creation) -> BoxFuture<'_, Result<Registered, RegisterError>> {
        Box::pin(async move {
            if let Some(name) = creation.name().filter(|name| name.owner().is_some()) {
                return Err(RegisterError::ReservedNamespace { name: name.clone() });
            }
            let bytes = creation.wasm().len();
            self.writer.submit(bytes, move |change| change.create(&creation)).await
        })
    }

    fn delete(&self, reference: Reference) -> BoxFuture<'_, Result<(), DeleteError>> {
        Box::pin(self.writer.submit(0, move |change| change.delete(&reference)))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async {
            if !self.writer.is_running() {
                return Err(StorageError::other("the registry's writer has stopped"));
            }
            self.store.check_in_place()?;
            self.store.read(|snapshot| snapshot.check_format())
        })
    }

    fn file(&self) -> Option<&Path> {
        self.store.path()
    }
}

impl fmt::Debug for RedbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbBackend").field("generation", &self.generation).finish_non_exhaustive()
    }
}
