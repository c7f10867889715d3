//! A stand-in for the node: it has an identity and answers from its local store, and talks to nobody.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use libp2p::identity::Keypair;
use wasm_exec_registry::{
    Backend, BoxFuture, Creation, DeleteError, Digest, Entry, ListQuery, Manifest, ModuleRecord,
    Name, NetworkStatus, Page, RedbBackend, Reference, RegisterError, Registered, RegistryError,
    StorageError, View,
};

use crate::config::{InvalidNetworkConfig, NetworkConfig};

/// A registry that is a node of a network.
#[derive(Debug)]
pub struct NetworkBackend {
    local: RedbBackend,
    status: Arc<NetworkStatus>,
}

/// Why a node cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It is set up wrongly.
    #[error(transparent)]
    Config(#[from] InvalidNetworkConfig),
}

impl NetworkBackend {
    /// Starts a node that keeps everything in `local`, and what has come in part in the directory
    /// `partial`, or in memory.
    ///
    /// # Errors
    ///
    /// When the settings are no good.
    pub async fn open(
        local: RedbBackend,
        partial: Option<PathBuf>,
        config: NetworkConfig,
    ) -> Result<Self, NetworkError> {
        let setup = config.parse()?;
        let id = Keypair::generate_ed25519().public().to_peer_id();
        let addresses = setup.listen.iter().map(|address| format!("{address}/p2p/{id}"));
        let addresses = addresses.collect();
        tracing::debug!(?partial, peers = ?setup.peers, trust = ?setup.trust, "a stand-in");
        let status = NetworkStatus { peer_id: id.to_string(), addresses, ..Default::default() };
        Ok(Self { local, status: Arc::new(status) })
    }
}

impl Backend for NetworkBackend {
    fn resolve<'a>(
        &'a self,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<Entry>, RegistryError>> {
        self.local.resolve(name)
    }

    fn manifest(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Manifest>, RegistryError>> {
        self.local.manifest(digest)
    }

    fn module(
        &self,
        digest: Digest,
        view: View,
    ) -> BoxFuture<'_, Result<Option<ModuleRecord>, RegistryError>> {
        self.local.module(digest, view)
    }

    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, RegistryError>> {
        self.local.blob(digest)
    }

    fn has_blob(&self, digest: Digest) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.local.has_blob(digest)
    }

    fn list(&self, query: ListQuery, view: View) -> BoxFuture<'_, Result<Page, StorageError>> {
        self.local.list(query, view)
    }

    fn create(&self, creation: Creation) -> BoxFuture<'_, Result<Registered, RegisterError>> {
        self.local.create(creation)
    }

    fn delete(&self, reference: Reference) -> BoxFuture<'_, Result<(), DeleteError>> {
        self.local.delete(reference)
    }

    fn generation(&self) -> u64 {
        self.local.generation()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.local.check()
    }

    fn network(&self) -> Option<Arc<NetworkStatus>> {
        Some(self.status.clone())
    }
}
