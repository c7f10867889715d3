//! Where a registry keeps things.
//!
//! Small on purpose: a backend finds and stores, the [`Registry`](crate::Registry) holds what is
//! true of all of them (hashing, verifying, walking graphs). The rules that races would break
//! (insert if absent, links that exist, what deleting collects) are the backend's, because only it
//! can keep them in one transaction.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Account, DeleteError, Digest, Entry, ListQuery, Manifest, ModuleRecord, Name, NetworkStatus,
    Page, Provenance, Reference, RegisterError, Registered, RegistryError, StorageError, View,
};

/// A future behind a pointer, so that the trait can be used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where names, manifests and blobs are kept. Reads may wait, for a disk or for a network.
///
/// A reader never sees half of a change. What a backend returns for a digest is verified by the
/// registry, not by the backend, but for what [`verified_blob`](Self::verified_blob) returns.
pub trait Backend: Debug + Send + Sync + 'static {
    /// What `name` means: the name itself if it is registered, else, if it has no version, its
    /// highest release. A pre-release is never a bare label's meaning.
    ///
    /// # Errors
    ///
    /// Besides the storage's, [`RegistryError::NameConflict`] and [`RegistryError::LookupTimeout`];
    /// the latter is also for the three that follow.
    fn resolve<'a>(&'a self, name: &'a Name)
    -> BoxFuture<'a, Result<Option<Entry>, RegistryError>>;

    /// The manifest with this digest.
    fn manifest(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Manifest>, RegistryError>>;

    /// The manifest with this digest, and what is known of it; of its names, those that the view
    /// shows.
    fn module(
        &self,
        digest: Digest,
        view: View,
    ) -> BoxFuture<'_, Result<Option<ModuleRecord>, RegistryError>>;

    /// The blob with this digest. `None` only if no stored manifest has it; one that is missing
    /// and should be there is [`StorageError::Corrupt`].
    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, RegistryError>>;

    /// The blob with this digest, if the backend has it in memory and has verified it since it came
    /// there. `None` says nothing of whether there is one.
    fn verified_blob(&self, digest: Digest) -> Option<Bytes> {
        let _ = digest;
        None
    }

    /// Whether there is a blob with this digest.
    fn has_blob(&self, digest: Digest) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// A page of the names that the view shows, or of what is registered without one.
    /// `query.limit` is 1 to [`MAX_PAGE`](crate::MAX_PAGE).
    fn list(&self, query: ListQuery, view: View) -> BoxFuture<'_, Result<Page, StorageError>>;

    /// Stores a module, in one transaction that is durable before this returns: of any number of
    /// racing creations of one name with different content, one succeeds. The same again succeeds
    /// without a change. Dropping the future does not take the creation back.
    ///
    /// # Errors
    ///
    /// As [`RegisterError`] says; after a refusal nothing of it is stored. A backend that is not a
    /// network refuses the namespaces of [owners](Name::owner).
    fn create(&self, creation: Creation) -> BoxFuture<'_, Result<Registered, RegisterError>>;

    /// Deletes exactly this name, or the registration without a name of this digest, and in the
    /// same transaction every manifest and blob that nothing holds any more. Dropping the future
    /// does not take the deletion back.
    ///
    /// # Errors
    ///
    /// As [`DeleteError`] says; after a refusal nothing is deleted.
    fn delete(&self, reference: Reference) -> BoxFuture<'_, Result<(), DeleteError>>;

    /// A number that grows after every committed change to what names mean and after every
    /// deletion, before the one who made it is answered.
    fn generation(&self) -> u64;

    /// Whether the backend can serve: it can be read, and accepts writes, though a write may be
    /// refused for lack of space.
    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>>;

    /// The file that everything is in, for the log; `None` if it is not in one.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Where a module comes from, asked for by `name` if it was asked for by one; `None` if the
    /// backend is not a network, or does not know.
    fn provenance<'a>(
        &'a self,
        _digest: Digest,
        _name: Option<&'a Name>,
    ) -> BoxFuture<'a, Result<Option<Provenance>, StorageError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// How the network is, or was a moment ago; `None` if the backend is not one. Does not wait.
    fn network(&self) -> Option<Arc<NetworkStatus>> {
        None
    }
}

/// A module to store, hashed already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    name: Option<Name>,
    digest: Digest,
    manifest: Manifest,
    wasm: Bytes,
    account: Option<Account>,
}

impl Creation {
    /// Takes the Wasm bytes and hashes them, which takes about a millisecond per megabyte.
    pub fn new(name: Option<Name>, links: BTreeMap<String, Digest>, wasm: Bytes) -> Self {
        let manifest = Manifest { links, wasm: Digest::of(&wasm) };
        Self { name, digest: manifest.digest(), manifest, wasm, account: None }
    }

    /// A module whose manifest names the digest that `wasm` is known to have, so that it is not hashed
    /// again.
    pub fn verified(name: Option<Name>, manifest: Manifest, wasm: Bytes) -> Self {
        debug_assert_eq!(manifest.wasm, Digest::of(&wasm), "who says so has verified it");
        Self { name, digest: manifest.digest(), manifest, wasm, account: None }
    }

    /// The same, charged to an account; `None` is nobody's.
    pub fn charged_to(self, account: Option<Account>) -> Self {
        Self { account, ..self }
    }

    /// Whom it is charged to.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// What it is charged for, in bytes: its blob and its manifest.
    pub fn held_bytes(&self) -> u64 {
        (self.wasm.len() + self.manifest.canonical().len()) as u64
    }

    /// What it is deleted by: its name, or else its digest.
    pub fn reference(&self) -> Reference {
        self.name.clone().map_or(Reference::Digest(self.digest), Reference::Name)
    }

    /// The same module to be registered under another name, or under none.
    pub fn under(self, name: Option<Name>) -> Self {
        Self { name, ..self }
    }

    /// The name to register it under; `None` keeps it under its digest alone.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// The module digest: that of [`Creation::manifest`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The manifest; its `wasm` is the digest of [`Creation::wasm`].
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The blob.
    pub fn wasm(&self) -> &Bytes {
        &self.wasm
    }
}
