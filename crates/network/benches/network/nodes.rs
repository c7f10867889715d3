//! What the measurements are written in: nodes, and what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use wasm_exec_network::{MAX_CLOSURE_BYTES, NetworkBackend, NetworkConfig};
use wasm_exec_registry::{
    Backend, Digest, GraphLimits, NetworkStatus, RedbBackend, RegisterError, Registration, Registry,
};

/// How long anything may take before it is taken for hanging.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it is looked whether something has happened: what is asked in between takes the time of
/// the nodes themselves, of which there are many.
const LOOK: Duration = Duration::from_millis(100);

/// How often where it is measured when it happens.
const MEASURED_LOOK: Duration = Duration::from_millis(1);

/// How much of its storage a node keeps in memory besides.
pub(crate) const CACHE_BYTES: usize = 8 << 20;

/// A node of a network.
pub(crate) struct Node {
    pub(crate) registry: Registry,
    backend: Arc<NetworkBackend>,
}

/// How a node is set up that listens there and joins by a node.
fn config(listen: &str, peer: Option<&Node>) -> NetworkConfig {
    NetworkConfig {
        listen: vec![listen.to_owned()],
        peers: peer.map_or_else(Vec::new, |peer| peer.backend.addresses()),
        secret: None,
        trust: Vec::new(),
        mdns: false,
        wasm_bytes: 64 << 20,
        closure_bytes: MAX_CLOSURE_BYTES,
        agent: "bench".to_owned(),
    }
}

impl Node {
    /// One that keeps everything in `local`.
    pub(crate) async fn of(local: RedbBackend, listen: &str, peer: Option<&Self>) -> Self {
        Self::from(
            NetworkBackend::open(local, None, config(listen, peer)).await.expect("it starts"),
        )
    }

    /// One that keeps everything in memory.
    pub(crate) async fn start(listen: &str, peer: Option<&Self>) -> Self {
        Self::of(in_memory(), listen, peer).await
    }

    /// The same, to which all that is sent takes `delay` to come.
    pub(crate) async fn start_distant(delay: Duration, peer: Option<&Self>) -> Self {
        let config = config("/memory/0", peer);
        let backend = NetworkBackend::open_distant(in_memory(), config, delay).await;
        Self::from(backend.expect("it starts"))
    }

    fn from(backend: NetworkBackend) -> Self {
        let backend = Arc::new(backend);
        Self { registry: Registry::new(backend.clone()), backend }
    }

    /// So many nodes, of which each knows at least `peers` others.
    pub(crate) async fn network(count: usize, peers: usize, listen: &str) -> Vec<Self> {
        let mut nodes = vec![Self::start(listen, None).await];
        while nodes.len() < count {
            let next = Self::start(listen, Some(&nodes[0])).await;
            nodes.push(next);
        }
        until_met(&nodes, peers).await;
        nodes
    }

    pub(crate) fn id(&self) -> String {
        self.backend.peer_id()
    }

    pub(crate) fn status(&self) -> Arc<NetworkStatus> {
        self.backend.network().expect("it is a network")
    }

    pub(crate) async fn register(&self, name: Option<&str>, wasm: Bytes) -> Digest {
        let name = name.map(|name| name.parse().expect("it is a name"));
        register(&self.registry, name, wasm).await
    }

    /// Registers, again and again until there are copies: where many nodes share a machine, they may
    /// take longer than a registration waits.
    pub(crate) async fn register_surely(&self, name: &str, wasm: Bytes) {
        let name: wasm_exec_registry::Name = name.parse().expect("it is a name");
        until("it has its copies", async || {
            let (name, links) = (Some(name.clone()), BTreeMap::new());
            let registration = Registration { name, links, wasm: wasm.clone() };
            match self.registry.register(registration).await {
                Err(RegisterError::NotReplicated { .. }) => false,
                registered => registered.map(|_| true).expect("it is registered"),
            }
        })
        .await;
    }

    /// Whether a name has a meaning here.
    pub(crate) async fn resolves(&self, name: &str) -> bool {
        self.registry.resolve(&name.parse().expect("it is a name")).await.is_ok()
    }

    /// Whether what a name or a digest means can be called here; fetches it if it has to.
    pub(crate) async fn loads(&self, reference: &str) -> bool {
        load(&self.registry, reference).await.is_some()
    }
}

pub(crate) fn in_memory() -> RedbBackend {
    RedbBackend::in_memory(CACHE_BYTES).expect("there is memory")
}

pub(crate) async fn register(
    registry: &Registry,
    name: Option<wasm_exec_registry::Name>,
    wasm: Bytes,
) -> Digest {
    let registration = Registration { name, links: BTreeMap::new(), wasm };
    registry.register(registration).await.expect("it is registered").digest
}

/// The bytes of a closure, as a call loads it.
pub(crate) async fn load(registry: &Registry, reference: &str) -> Option<usize> {
    let resolved = registry.resolve(&reference.parse().ok()?).await.ok()?;
    let graph = registry.graph(resolved.digest, GraphLimits::default()).await.ok()?;
    let mut bytes = 0;
    for node in graph.nodes {
        bytes += registry.blob(node.wasm).await.ok()?.len();
    }
    Some(bytes)
}

/// Waits until each node knows so many others.
pub(crate) async fn until_met(nodes: &[Node], peers: usize) {
    until("all have met", async || nodes.iter().all(|node| node.status().peers.len() >= peers))
        .await;
}

/// Waits until a name has a meaning on all nodes.
pub(crate) async fn until_known(nodes: &[Node], name: &str) {
    let waiting = nodes.iter().map(|node| until("it is known", async || node.resolves(name).await));
    stream::iter(waiting).for_each_concurrent(None, |waiting| waiting).await;
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFnMut() -> bool) {
    look(LOOK, what, is_so).await;
}

/// Waits until something is so, and returns within about a millisecond of it.
pub(crate) async fn measured_until(what: &str, is_so: impl AsyncFnMut() -> bool) {
    look(MEASURED_LOOK, what, is_so).await;
}

async fn look(every: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "it does not happen: {what}");
        tokio::time::sleep(every).await;
    }
}

/// Bytes that are nobody else's.
pub(crate) fn module(size: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; size];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in bytes.chunks_mut(8) {
        // Xorshift; all it has to be is different everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    bytes.into()
}
