//! The backend itself: the embedded one, joined to a network.

use std::fmt;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::pnet::PreSharedKey;
use libp2p::{Multiaddr, PeerId};
use tokio::task::JoinSet;
use wasm_exec_registry::{
    Backend, BoxFuture, Creation, DeleteError, Digest, Entry, ListQuery, MAX_PAGE, Manifest,
    ModuleRecord, Name, NetworkStatus, Page, Provenance, RedbBackend, Reference, RegisterError,
    Registered, RegistryError, StorageError, View,
};

use crate::compared::Compared;
use crate::config::{InvalidNetworkConfig, NetworkConfig, Setup, TrustedOwner};
use crate::core::repair::Repair;
use crate::core::sync::{Fingerprints, Schedule};
use crate::exchange::Exchange;
use crate::fetching::Fetching;
use crate::held::{Held, HoldingLimits};
use crate::index::{Index, IndexLimits};
use crate::knowledge::Knowledge;
use crate::library::Library;
use crate::names::{Pins, Trust};
use crate::network_id::NetworkId;
use crate::node::{Node, NodeConfig, NodeError, PeerBounds, Transport};
use crate::rows;
use crate::shared::{Beginning, Shared};
use crate::transfer::{Partials, ServeLimits, Server};
use crate::upkeep;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The settings are no good.
    #[error(transparent)]
    Config(#[from] InvalidNetworkConfig),
    /// What is kept is of another network, whose names it would give away.
    #[error(
        "the data directory is of another network: start with that one's --network-key, or with \
         another directory"
    )]
    OtherNetwork,
    /// What it keeps cannot be read or written.
    #[error("the node cannot read what it keeps")]
    Storage(#[from] StorageError),
    /// The network cannot be reached.
    #[error("the node cannot reach the network")]
    Node(#[from] NodeError),
}

/// The embedded backend, and with it all that other nodes have registered.
///
/// Must be used within a tokio runtime. Dropping it takes the node out of the network.
pub struct NetworkBackend {
    shared: Arc<Shared>,
    node: Node,
    /// Ended when this is dropped.
    _upkeep: JoinSet<()>,
}

impl NetworkBackend {
    /// Joins the network with what is registered in `local`, and with what this node has kept there
    /// for others. Content on its way here is put together in files below `partials`, or in memory.
    ///
    /// # Errors
    ///
    /// As [`NetworkError`] says. That no peer is found is none: a node may be alone.
    pub async fn open(
        local: RedbBackend,
        partials: Option<PathBuf>,
        config: NetworkConfig,
    ) -> Result<Self, NetworkError> {
        Self::open_with(local, partials, config, |_| {}).await
    }

    /// A node that keeps everything in memory and is at a distance of all others, which are in this
    /// process: what is sent to it takes `delay` to come.
    ///
    /// # Errors
    ///
    /// As [`NetworkBackend::open`].
    #[cfg(feature = "delay")]
    #[doc(hidden)]
    pub async fn open_distant(
        local: RedbBackend,
        config: NetworkConfig,
        delay: std::time::Duration,
    ) -> Result<Self, NetworkError> {
        let change = |node: &mut NodeConfig| node.transport = Transport::Delayed(delay);
        Self::open_with(local, None, config, change).await
    }

    /// The same, with something changed in the node.
    pub(crate) async fn open_with(
        local: RedbBackend,
        partials: Option<PathBuf>,
        config: NetworkConfig,
        change: impl FnOnce(&mut NodeConfig),
    ) -> Result<Self, NetworkError> {
        let setup = config.parse()?;
        let network = match &config.secret {
            Some(secret) => NetworkId::private(secret),
            None => NetworkId::open(),
        };
        let local = Arc::new(local);
        if !rows::is_of(&local, &network).await? {
            return Err(NetworkError::OtherNetwork);
        }
        let keypair = rows::identity(&local).await?;
        let own = keypair.public().to_peer_id();
        let partials = match partials {
            Some(path) => Partials::in_directory(path),
            None => Partials::in_memory(),
        };
        let library = Library::new(local, config.wasm_bytes, config.closure_bytes);
        let trust = trust(&setup, own, config.secret.is_none());
        let beginning = Beginning {
            network,
            fetching: Fetching::new(partials),
            knowledge: remembered(&library, &network, &trust).await?,
            trust,
            library: library.clone(),
            keypair: keypair.clone(),
        };
        let (shared, queues) = Shared::new(beginning);
        shared.take_up().await?;
        let content = Server::new(library, ServeLimits::default());
        let exchange = Arc::new(Exchange::new(&shared, content));
        let known = rows::peers(shared.library.local()).await?;
        let mut node = node_config(config, setup, keypair, network, known);
        change(&mut node);
        let node = Node::start(node, exchange).await?;
        shared.connect(node.clone());
        let upkeep = upkeep::start(&shared, queues);
        Ok(Self { shared, node, _upkeep: upkeep })
    }

    /// The node's peer id, by which its names are known everywhere.
    pub fn peer_id(&self) -> String {
        self.shared.own.to_string()
    }

    /// Where it listens: multiaddresses that end in its peer id, as another node takes them.
    pub fn addresses(&self) -> Vec<String> {
        self.node.status().addresses.iter().map(ToString::to_string).collect()
    }

    /// What its parts share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Leaves the network in good order.
    pub async fn shut_down(&self) {
        self.node.shut_down().await;
    }
}

/// What a node knew when it ended.
async fn remembered(
    library: &Library,
    network: &NetworkId,
    trust: &Trust,
) -> Result<Knowledge, StorageError> {
    let mut index = Index::new(IndexLimits::default(), trust.own);
    trust.trusted.iter().for_each(|owner| index.trust(*owner));
    let mut knowledge = Knowledge {
        index,
        fingerprints: Fingerprints::new(),
        pins: Pins::default(),
        held: Held::new(HoldingLimits::default()),
        repair: Repair::new(trust.own),
        schedule: Schedule::new(),
        compared: Compared::default(),
    };
    for pin in rows::pins(library.local()).await? {
        knowledge.pin(pin);
    }
    for record in rows::records(library.local(), network).await? {
        knowledge.index.take_back(record);
    }
    Ok(knowledge)
}

fn trust(setup: &Setup, own: PeerId, open: bool) -> Trust {
    let trusted = setup.trust.iter().map(|trusted| trusted.owner).collect();
    let aliased = |trusted: &TrustedOwner| Some((trusted.alias.clone()?, trusted.owner));
    Trust { own, aliases: setup.trust.iter().filter_map(aliased).collect(), trusted, open }
}

fn node_config(
    config: NetworkConfig,
    setup: Setup,
    keypair: Keypair,
    network: NetworkId,
    known: Vec<(PeerId, Vec<Multiaddr>)>,
) -> NodeConfig {
    let Setup { listen, peers, .. } = setup;
    let in_memory =
        |address: &Multiaddr| matches!(address.iter().next(), Some(Protocol::Memory(_)));
    let in_process = !listen.is_empty() && listen.iter().all(in_memory);
    NodeConfig {
        keypair,
        secret: config.secret.map(PreSharedKey::new),
        network: network.key(),
        agent: config.agent,
        listen,
        peers,
        known,
        mdns: config.mdns,
        local_only_mode: in_process,
        bounds: PeerBounds::default(),
        transport: if in_process { Transport::Memory } else { Transport::Network },
    }
}

impl Shared {
    /// Takes up what the disk has: which content is held for whom, own names that the network has not
    /// been told of, since they were registered by a server that was not a node, and modules without
    /// names, of which it is told again.
    async fn take_up(&self) -> Result<(), StorageError> {
        let mut query = ListQuery { limit: MAX_PAGE, ..ListQuery::default() };
        let mut nobodys = Nobodys::default();
        loop {
            let page = self.library.local().list(query.clone(), View::complete()).await?;
            for module in page.modules {
                let Some(name) = module.name else { continue };
                match self.owner_on_disk(&name) {
                    Some(owner) => self.take_up_name(owner, &name, module.digest).await?,
                    None => nobodys.add(name),
                }
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        nobodys.tell();
        self.offer_again().await?;
        // It is known now what is held, and so what has to give way.
        let displaced = self.knowledge().index.trim();
        let rows = displaced.iter().map(|record| rows::no_record(&record.key())).collect();
        self.library.local().write(rows).await
    }

    /// Whose a name on the disk is; `None` if a server that was not a node has registered it in a
    /// namespace, which in a network is nobody's.
    fn owner_on_disk(&self, name: &Name) -> Option<PeerId> {
        match name.namespace() {
            None => Some(self.own),
            Some(_) => name.owner()?.parse().ok(),
        }
    }

    async fn take_up_name(
        &self,
        owner: PeerId,
        name: &Name,
        module: Digest,
    ) -> Result<(), StorageError> {
        let record = self.knowledge().index.of_name(&owner, name).cloned();
        match record {
            Some(record) if record.record().meaning() == Some(module) => {
                self.hold(&record);
            }
            // It was deleted, and perhaps taken anew: of an own name, with this node's key elsewhere.
            Some(_) => self.release_name(name).await,
            None if owner == self.own => self.adopt(name, module).await?,
            None => tracing::warn!(%name, "what is held for another has no record"),
        }
        Ok(())
    }
}

/// Names on the disk that mean nothing in a network.
#[derive(Debug, Default)]
struct Nobodys {
    names: u64,
    first: Option<Name>,
}

impl Nobodys {
    fn add(&mut self, name: Name) {
        self.names += 1;
        self.first.get_or_insert(name);
    }

    /// Says so once, to whoever started the node.
    fn tell(self) {
        if let Self { names, first: Some(first) } = self {
            tracing::warn!(
                names,
                %first,
                "names in namespaces that are no peer's id stay on the disk and are not served: in a \
                 network, a namespace says which node a name is of. Without --p2p they are served \
                 again, and can be registered without a namespace"
            );
        }
    }
}

impl Backend for NetworkBackend {
    fn resolve<'a>(
        &'a self,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<Entry>, RegistryError>> {
        Box::pin(self.shared.resolve(name))
    }

    fn manifest(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Manifest>, RegistryError>> {
        Box::pin(async move {
            let local = self.shared.library.local();
            match local.manifest(digest).await? {
                None if self.shared.obtain(digest).await? => local.manifest(digest).await,
                manifest => Ok(manifest),
            }
        })
    }

    fn module(
        &self,
        digest: Digest,
        view: View,
    ) -> BoxFuture<'_, Result<Option<ModuleRecord>, RegistryError>> {
        Box::pin(async move {
            let local = self.shared.library.local();
            match local.module(digest, view.clone()).await? {
                None if self.shared.obtain(digest).await? => local.module(digest, view).await,
                module => Ok(module),
            }
        })
    }

    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, RegistryError>> {
        self.shared.library.local().blob(digest)
    }

    fn verified_blob(&self, digest: Digest) -> Option<Bytes> {
        self.shared.fetching.landed().take(&digest)
    }

    fn has_blob(&self, digest: Digest) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.shared.library.local().has_blob(digest)
    }

    fn list(&self, query: ListQuery, view: View) -> BoxFuture<'_, Result<Page, StorageError>> {
        self.shared.library.local().list(query, view)
    }

    fn create(&self, creation: Creation) -> BoxFuture<'_, Result<Registered, RegisterError>> {
        Box::pin(self.detached(|shared| async move { shared.create(creation).await }))
    }

    fn delete(&self, reference: Reference) -> BoxFuture<'_, Result<(), DeleteError>> {
        Box::pin(self.detached(|shared| async move { shared.delete(reference).await }))
    }

    fn generation(&self) -> u64 {
        // Both only grow, so their sum stands still only while both do.
        self.shared.library.local().generation() + self.shared.generation()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.shared.library.local().check()
    }

    fn file(&self) -> Option<&Path> {
        self.shared.library.local().file()
    }

    fn provenance<'a>(
        &'a self,
        digest: Digest,
        name: Option<&'a Name>,
    ) -> BoxFuture<'a, Result<Option<Provenance>, StorageError>> {
        Box::pin(ready(Ok(self.shared.provenance(digest, name))))
    }

    fn network(&self) -> Option<Arc<NetworkStatus>> {
        Some(Arc::new(self.shared.status(&self.node)))
    }
}

impl NetworkBackend {
    /// Does a change to its end, also if nobody waits for it any more.
    async fn detached<T, E, F>(&self, change: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let changing = tokio::spawn(change(Arc::clone(&self.shared)));
        changing
            .await
            .unwrap_or_else(|error| Err(StorageError::from(std::io::Error::other(error)).into()))
    }
}

impl fmt::Debug for NetworkBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkBackend").field("shared", &self.shared).finish_non_exhaustive()
    }
}
