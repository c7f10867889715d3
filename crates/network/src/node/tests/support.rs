//! Nodes to test, the service that they do for each other, and waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use wasm_exec_registry::Digest;

use crate::Key;
use crate::node::{Node, NodeConfig, PeerBounds, Peers, Service, Transport};
use crate::pace::Pace;
use crate::protocol::{CopyOf, Receipt, Request, Response};

/// How long anything may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the nodes under test do for each other.
pub(super) struct Deeds {
    /// How often the live peers have changed.
    pub(super) changes: AtomicUsize,
    /// How many requests to store are being answered: each waits for a permit of `stores`.
    pub(super) storing: AtomicUsize,
    pub(super) stores: Semaphore,
}

impl Default for Deeds {
    fn default() -> Self {
        Self {
            changes: AtomicUsize::new(0),
            storing: AtomicUsize::new(0),
            stores: Semaphore::new(0),
        }
    }
}

impl Service for Deeds {
    fn answer(&self, _: PeerId, request: Request) -> BoxFuture<'_, Response> {
        async move {
            match request {
                Request::Holds(copies) => Response::Held(copies),
                // More than a stream takes that nobody reads.
                Request::Find(_) => Response::Records(vec![vec![0; 8 << 10].into(); 64]),
                Request::Store(_) => {
                    self.storing.fetch_add(1, Ordering::SeqCst);
                    self.stores.acquire().await.unwrap().forget();
                    Response::Receipt(Receipt::Stored)
                }
                _ => Response::Heard,
            }
        }
        .boxed()
    }

    /// Sends back how many bytes have come.
    fn serve(&self, _: PeerId, stream: libp2p::Stream, _: Pace) -> BoxFuture<'_, ()> {
        async move {
            let mut stream = stream.compat();
            let mut buffer = vec![0; 64 << 10];
            let mut bytes = 0;
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                bytes += read as u64;
            }
            let _ = stream.write_u64(bytes).await;
            let _ = stream.shutdown().await;
        }
        .boxed()
    }

    fn changed(&self, _: &Peers) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

/// A configuration to start from: in memory, alone.
pub(super) fn config() -> NodeConfig {
    NodeConfig {
        agent: "test".to_owned(),
        keypair: Keypair::generate_ed25519(),
        secret: None,
        network: Key::of(b"a network"),
        listen: vec!["/memory/0".parse().unwrap()],
        peers: Vec::new(),
        known: Vec::new(),
        mdns: false,
        local_only_mode: true,
        bounds: PeerBounds::default(),
        transport: Transport::Memory,
    }
}

/// One that listens on a port of its own on loopback.
pub(super) fn on_loopback(listen: &str) -> NodeConfig {
    NodeConfig { listen: vec![listen.parse().unwrap()], transport: Transport::Network, ..config() }
}

pub(super) async fn start(config: NodeConfig) -> Node {
    start_with(config, Arc::default()).await
}

pub(super) async fn start_with(config: NodeConfig, deeds: Arc<Deeds>) -> Node {
    Node::start(config, deeds).await.unwrap()
}

/// Two nodes that know each other.
pub(super) async fn pair(one: NodeConfig, mut other: NodeConfig) -> [Node; 2] {
    let one = start(one).await;
    other.peers = vec![address(&one)];
    let other = start(other).await;
    meet(&[&one, &other]).await;
    [one, other]
}

/// Where a node can be reached.
pub(super) fn address(node: &Node) -> Multiaddr {
    node.status().addresses[0].clone()
}

/// Waits until each of `nodes` is a live peer of each other.
pub(super) async fn meet(nodes: &[&Node]) {
    eventually("all are live peers", || {
        nodes.iter().all(|node| {
            let peers = node.peers();
            let others = nodes.iter().filter(|other| other.peer_id() != node.peer_id());
            others.clone().all(|other| peers.contains(&other.peer_id()))
        })
    })
    .await;
}

/// Waits until `condition` holds.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still not so: {what}");
        time::sleep(Duration::from_millis(20)).await;
    }
}

/// Looks up until the result is as expected: on a busy machine, steps of a look-up may time out.
pub(super) async fn finds<F: Future<Output = Vec<PeerId>>>(
    what: &str,
    expected: &[PeerId],
    look_up: impl Fn() -> F,
) {
    let start = Instant::now();
    while look_up().await != expected {
        assert!(start.elapsed() < PATIENCE, "still not found: {what}");
    }
}

/// A question, and the answer to it.
pub(super) fn question(number: u8) -> (Request, Response) {
    let key = Key::from_bytes([number; Key::BYTES]);
    let copies = vec![CopyOf { key, module: Digest::of(b"anything") }];
    (Request::Holds(copies.clone()), Response::Held(copies))
}

/// Has `one` ask `other`, which answers.
pub(super) async fn asks(one: &Node, other: &Node) {
    let (request, response) = question(1);
    assert_eq!(one.ask(other.peer_id(), request).await, Ok(response));
}
