//! What the tests are written in: nodes, and what they hold.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasm_exec_network::{MAX_CLOSURE_BYTES, NetworkBackend, NetworkConfig};
use wasm_exec_registry::{
    Backend, Digest, GraphLimits, NetworkStatus, Provenance, RedbBackend, RegisterError,
    Registered, Registration, Registry, RegistryError,
};

/// How long anything may take before it is taken for hanging.
const PATIENCE: Duration = Duration::from_secs(60);

const CACHE_BYTES: usize = 1 << 20;

/// A node of a network.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) registry: Registry,
    backend: Arc<NetworkBackend>,
}

/// How a node is set up: in this process, and for itself.
pub(crate) fn config() -> NetworkConfig {
    NetworkConfig {
        listen: vec!["/memory/0".to_owned()],
        peers: Vec::new(),
        secret: None,
        trust: Vec::new(),
        mdns: false,
        wasm_bytes: 32 << 20,
        closure_bytes: MAX_CLOSURE_BYTES,
        agent: "test".to_owned(),
    }
}

impl Node {
    /// One that keeps everything in memory, and joins by these.
    pub(crate) async fn start(peers: &[&Self]) -> Self {
        Self::with(peers, |_| {}).await
    }

    /// The same, set up differently.
    pub(crate) async fn with(peers: &[&Self], change: impl FnOnce(&mut NetworkConfig)) -> Self {
        let local = RedbBackend::in_memory(CACHE_BYTES).unwrap();
        Self::open(local, None, peers, change).await
    }

    /// One that keeps everything in a directory, for those that come after it.
    pub(crate) async fn on(directory: &Path, peers: &[&Self]) -> Self {
        let local = RedbBackend::open(&directory.join("registry.redb"), CACHE_BYTES).unwrap();
        Self::open(local, Some(directory), peers, |_| {}).await
    }

    async fn open(
        local: RedbBackend,
        directory: Option<&Path>,
        peers: &[&Self],
        change: impl FnOnce(&mut NetworkConfig),
    ) -> Self {
        let mut config = config();
        config.peers = peers.iter().flat_map(|peer| peer.backend.addresses()).collect();
        change(&mut config);
        let partials = directory.map(|directory| directory.join("partial"));
        let backend = Arc::new(NetworkBackend::open(local, partials, config).await.unwrap());
        Self { registry: Registry::new(backend.clone()), backend }
    }

    /// So many nodes that all know each other.
    pub(crate) async fn network(count: usize) -> Vec<Self> {
        let mut nodes = vec![Self::start(&[]).await];
        while nodes.len() < count {
            let next = Self::start(&[&nodes[0]]).await;
            nodes.push(next);
        }
        for node in &nodes {
            node.until_peers(count - 1).await;
        }
        nodes
    }

    pub(crate) fn id(&self) -> String {
        self.backend.peer_id()
    }

    pub(crate) fn status(&self) -> Arc<NetworkStatus> {
        self.backend.network().expect("it is a network")
    }

    pub(crate) async fn until_peers(&self, count: usize) {
        eventually("there are as many peers", async || {
            (self.status().peers.len() == count).then_some(())
        })
        .await;
    }

    /// Registers content under a name, with links that are names here.
    pub(crate) async fn try_register(
        &self,
        name: &str,
        links: &[(&str, &str)],
        wasm: impl Into<Bytes>,
    ) -> Result<Registered, RegisterError> {
        let mut pinned = std::collections::BTreeMap::new();
        for (import, name) in links {
            pinned.insert((*import).to_owned(), self.resolve(name).await.unwrap());
        }
        let name = (!name.is_empty()).then(|| name.parse().unwrap());
        self.registry.register(Registration { name, links: pinned, wasm: wasm.into() }).await
    }

    /// The same where it has to succeed.
    pub(crate) async fn register(&self, name: &str, wasm: impl Into<Bytes>) -> Digest {
        self.try_register(name, &[], wasm).await.unwrap().digest
    }

    /// What a name means.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Digest, RegistryError> {
        Ok(self.registry.resolve(&name.parse().unwrap()).await?.digest)
    }

    /// The blobs of a closure, dependencies first, as a call would load them.
    pub(crate) async fn load(&self, reference: &str) -> Result<Vec<Bytes>, RegistryError> {
        let resolved = self.registry.resolve(&reference.parse().unwrap()).await?;
        let graph = self.registry.graph(resolved.digest, GraphLimits::default()).await.unwrap();
        let mut blobs = Vec::new();
        for node in graph.nodes {
            blobs.push(self.registry.blob(node.wasm).await?);
        }
        Ok(blobs)
    }

    /// Waits until a name has this content here.
    pub(crate) async fn until_loads(&self, name: &str, wasm: &[u8]) {
        let what = format!("{name} is known and loads");
        eventually(&what, async || {
            let blobs = self.load(name).await.ok()?;
            (blobs.last().map(AsRef::as_ref) == Some(wasm)).then_some(())
        })
        .await;
    }

    /// Waits until a name means nothing here.
    pub(crate) async fn until_unknown(&self, name: &str) {
        eventually(&format!("{name} is unknown"), async || {
            matches!(self.resolve(name).await, Err(RegistryError::UnknownName(_))).then_some(())
        })
        .await;
    }

    /// What is known of where a name of this node's is from, and who has it.
    pub(crate) async fn provenance(&self, digest: Digest, name: &str) -> Option<Provenance> {
        self.backend.provenance(digest, Some(&name.parse().unwrap())).await.unwrap()
    }

    /// On how many others a name of this node's is, as far as it knows.
    pub(crate) async fn replicas(&self, name: &str) -> u32 {
        let provenance = self.provenance(self.resolve(name).await.unwrap(), name).await;
        provenance.map_or(0, |provenance| provenance.replicas)
    }
}

/// Asks again and again until the answer is the one that is waited for.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(result) = attempt().await {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen: {what}");
}
