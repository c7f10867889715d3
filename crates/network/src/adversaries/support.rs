//! What the tests are written in: honest nodes, evil ones, and what these send.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, pending};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::SignedEnvelope;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Stream};
use tokio::task::block_in_place;
use wasm_exec_registry::{
    Backend, Creation, Digest, GraphError, GraphLimits, NetworkStatus, RedbBackend, RegisterError,
    Registered, Registration, Registry, RegistryError,
};

use crate::backend::NetworkBackend;
use crate::config::NetworkConfig;
use crate::contents::{Contents, ContentsId};
use crate::fetching::MAX_CLOSURE_BYTES;
use crate::network_id::NetworkId;
use crate::node::{Node, NodeConfig, PeerBounds, Peers, Service, Transport};
use crate::pace::Pace;
use crate::protocol::{PARTS, Receipt, Request, Response};
use crate::record::{Content, NameRecord, SignedRecord};
use crate::shared::{Shared, now};

/// How long anything may take before it is taken for hanging.
const PATIENCE: Duration = Duration::from_secs(120);

const CACHE_BYTES: usize = 1 << 20;

/// A node as it should be.
pub(super) struct Honest {
    registry: Registry,
    backend: Arc<NetworkBackend>,
}

impl Honest {
    /// One that joins by these addresses.
    pub(super) async fn start(peers: Vec<String>) -> Self {
        Self::with(peers, PeerBounds::default()).await
    }

    pub(super) async fn with(peers: Vec<String>, bounds: PeerBounds) -> Self {
        Self::set_up(peers, |node| node.bounds = bounds).await
    }

    /// One whose node is set up otherwise.
    pub(super) async fn set_up(peers: Vec<String>, change: impl FnOnce(&mut NodeConfig)) -> Self {
        Self::open(RedbBackend::in_memory(CACHE_BYTES).unwrap(), peers, change).await
    }

    /// One that keeps everything in a directory.
    pub(super) async fn on(directory: &Path, peers: Vec<String>) -> Self {
        Self::open(database(directory).await, peers, |_| {}).await
    }

    async fn open(
        local: RedbBackend,
        peers: Vec<String>,
        change: impl FnOnce(&mut NodeConfig),
    ) -> Self {
        let config = NetworkConfig {
            listen: vec!["/memory/0".to_owned()],
            peers,
            secret: None,
            trust: Vec::new(),
            mdns: false,
            wasm_bytes: 32 << 20,
            closure_bytes: MAX_CLOSURE_BYTES,
            agent: "test".to_owned(),
        };
        let backend = NetworkBackend::open_with(local, None, config, change).await;
        let backend = Arc::new(backend.unwrap());
        Self { registry: Registry::new(backend.clone()), backend }
    }

    /// So many that know each other.
    pub(super) async fn network(count: usize) -> Vec<Self> {
        let mut nodes = vec![Self::start(Vec::new()).await];
        while nodes.len() < count {
            let next = Self::start(nodes[0].addresses()).await;
            nodes.push(next);
        }
        join_all(nodes.iter().map(|node| node.until_peers(count - 1))).await;
        nodes
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.backend.addresses()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.backend.shared()
    }

    pub(super) fn id(&self) -> PeerId {
        self.shared().own
    }

    pub(super) fn status(&self) -> Arc<NetworkStatus> {
        self.backend.network().expect("it is a network")
    }

    pub(super) fn refused(&self, reason: &str) -> u64 {
        self.status().refused.get(reason).copied().unwrap_or_default()
    }

    pub(super) async fn until_peers(&self, count: usize) {
        eventually("there are as many peers", async || {
            (self.status().peers.len() >= count).then_some(())
        })
        .await;
    }

    pub(super) async fn try_register(
        &self,
        name: &str,
        wasm: impl Into<Bytes>,
    ) -> Result<Registered, RegisterError> {
        let name = (!name.is_empty()).then(|| name.parse().unwrap());
        let registration = Registration { name, links: BTreeMap::new(), wasm: wasm.into() };
        self.registry.register(registration).await
    }

    pub(super) async fn register(&self, name: &str, wasm: impl Into<Bytes>) -> Digest {
        self.try_register(name, wasm).await.unwrap().digest
    }

    pub(super) async fn delete(&self, name: &str) {
        self.registry.delete(&name.parse().unwrap()).await.unwrap();
    }

    pub(super) async fn resolve(&self, name: &str) -> Result<Digest, RegistryError> {
        Ok(self.registry.resolve(&name.parse().unwrap()).await?.digest)
    }

    /// The Wasm of a module, as a call would load it.
    pub(super) async fn try_load(&self, reference: &str) -> Result<Bytes, RegistryError> {
        let resolved = self.registry.resolve(&reference.parse().unwrap()).await?;
        let graph = self.registry.graph(resolved.digest, GraphLimits::default()).await;
        let graph = graph.map_err(|error| match error {
            GraphError::Registry(error) => error,
            error => panic!("{error}"),
        })?;
        self.registry.blob(graph.nodes.last().expect("itself").wasm).await
    }

    pub(super) async fn load(&self, reference: &str) -> Option<Bytes> {
        self.try_load(reference).await.ok()
    }

    /// Waits until a name has this content here; any other is a forgery.
    pub(super) async fn until_loads(&self, name: &str, wasm: &[u8]) {
        eventually(&format!("{name} is known and loads"), async || {
            let loaded = self.load(name).await?;
            assert_eq!(loaded.len(), wasm.len(), "{name} is something else");
            assert!(loaded == wasm, "{name} is something else");
            Some(())
        })
        .await;
    }

    pub(super) async fn until_unknown(&self, name: &str) {
        eventually(&format!("{name} is unknown"), async || {
            matches!(self.resolve(name).await, Err(RegistryError::UnknownName(_))).then_some(())
        })
        .await;
    }

    /// On how many others a name of this node's is, as far as it knows.
    pub(super) fn replicas(&self, name: &str) -> usize {
        let name = name.parse().unwrap();
        let knowledge = self.shared().knowledge();
        let key = NameRecord::key_of(&NetworkId::open(), &self.id(), &name);
        knowledge.repair.replicas(&key)
    }

    /// The name of one of this node's, as everybody has it.
    pub(super) fn canonical(&self, name: &str) -> String {
        format!("{}:{name}", self.id())
    }
}

/// The database of a node, as soon as whoever had it has closed it.
pub(super) async fn database(directory: &Path) -> RedbBackend {
    let file = directory.join("registry.redb");
    eventually("the database is free", async || RedbBackend::open(&file, CACHE_BYTES).ok()).await
}

/// What an evil node does when it is asked for content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// Ends the stream.
    Nothing,
    /// Says nothing.
    Silent,
    /// Sends bytes for ever, as an answer of as many as there can be.
    Endless,
    /// Announces more bytes than there can be.
    LongLength,
    /// Announces one byte, and sends it.
    ShortLength,
    /// Announces as many bytes as there are, sends some and ends.
    Truncated,
    /// Sends as many bytes as there are, all of them wrong.
    WrongBytes,
    /// Sends what is no answer.
    Nonsense,
}

pub(super) const SERVINGS: [Serving; 8] = [
    Serving::Nothing,
    Serving::Silent,
    Serving::Endless,
    Serving::LongLength,
    Serving::ShortLength,
    Serving::Truncated,
    Serving::WrongBytes,
    Serving::Nonsense,
];

/// How an evil node answers requests; where this says nothing, it lies that it knows of no records
/// and has everything.
pub(super) type Answers = dyn Fn(&Request) -> Option<Response> + Send + Sync;

/// What an evil node does to others.
pub(super) struct Wiles {
    pub(super) serving: Serving,
    pub(super) answers: Box<Answers>,
    /// Whether it answers nothing at all.
    pub(super) is_silent: bool,
    /// Until when its task hangs once it has a peer: until the sender is dropped.
    pub(super) hangs: Option<Mutex<Receiver<()>>>,
    /// How often it was asked anything, and for content.
    pub(super) asked: AtomicUsize,
    pub(super) streams: AtomicUsize,
}

impl Wiles {
    pub(super) fn serving(serving: Serving) -> Self {
        Self::new(serving, |_| None)
    }

    pub(super) fn answering(
        answers: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Serving::Nothing, answers)
    }

    pub(super) fn new(
        serving: Serving,
        answers: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let (hangs, asked, streams) = Default::default();
        Self { serving, answers: Box::new(answers), is_silent: false, hangs, asked, streams }
    }

    /// Says nothing, whatever it is asked.
    pub(super) fn silent() -> Self {
        Self { is_silent: true, ..Self::serving(Serving::Silent) }
    }

    /// Does nothing more once it has a peer: it says nothing to whoever looks for others, either.
    pub(super) fn hanging(until: Receiver<()>) -> Self {
        Self { hangs: Some(Mutex::new(until)), ..Self::silent() }
    }
}

/// What says nothing of any record.
fn lie(request: &Request) -> Response {
    match request {
        Request::Store(_) => Response::Receipt(Receipt::Stored),
        Request::Announce(_) => Response::Heard,
        Request::Find(_) => Response::Records(Vec::new()),
        Request::Holds(copies) => Response::Held(copies.clone()),
        Request::Summary => Response::Summary(vec![crate::Key::of(b"anything"); PARTS]),
        Request::Pages(pages) => Response::Pages(vec![Vec::new(); pages.len()]),
    }
}

impl Service for Wiles {
    fn answer(&self, _: PeerId, request: Request) -> BoxFuture<'_, Response> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_silent {
            return pending().boxed();
        }
        let response = (self.answers)(&request).unwrap_or_else(|| lie(&request));
        async move { response }.boxed()
    }

    fn serve(&self, _: PeerId, stream: Stream, _: Pace) -> BoxFuture<'_, ()> {
        self.streams.fetch_add(1, Ordering::SeqCst);
        serve(stream, self.serving).map(drop).boxed()
    }

    fn changed(&self, peers: &Peers) {
        if let Some(until) = self.hangs.as_ref().filter(|_| !peers.is_empty()) {
            // The node's task waits for this.
            let _ = block_in_place(|| until.lock().unwrap().recv());
        }
    }
}

/// A request for a range of an item, as it is sent: its kind, both hashes, the item's size, where
/// the range starts and its length.
const RANGE_REQUEST: u8 = 2;
const RANGE_LENGTH: std::ops::Range<usize> = 82..86;

async fn serve(mut stream: Stream, serving: Serving) -> std::io::Result<()> {
    let mut length = [0];
    stream.read_exact(&mut length).await?;
    let mut request = vec![0; length[0].into()];
    stream.read_exact(&mut request).await?;
    let is_range = request[0] == RANGE_REQUEST && request.len() == RANGE_LENGTH.end;
    let length = match is_range {
        true => u32::from_be_bytes(request[RANGE_LENGTH].try_into().unwrap()),
        false => 300,
    };
    let here = |length: u32| [&[1][..], &length.to_be_bytes()].concat();
    match serving {
        Serving::Nothing => {}
        Serving::Silent => return pending().await,
        Serving::Endless => {
            stream.write_all(&here(u32::MAX)).await?;
            loop {
                stream.write_all(&[0; 4096]).await?;
            }
        }
        Serving::LongLength => stream.write_all(&here(1 << 30)).await?,
        Serving::ShortLength => stream.write_all(&[1, 0, 0, 0, 1, 0]).await?,
        // Items of up to a group of chunks travel without a proof.
        Serving::Truncated => {
            stream.write_all(&here(length)).await?;
            stream.write_all(&vec![0; length as usize / 2]).await?;
        }
        Serving::WrongBytes => {
            stream.write_all(&here(length)).await?;
            stream.write_all(&vec![0; length as usize]).await?;
        }
        Serving::Nonsense => stream.write_all(&[255; 64]).await?,
    }
    stream.close().await
}

/// A node that says what it wants.
pub(super) struct Evil {
    pub(super) keypair: Keypair,
    pub(super) node: Node,
    pub(super) wiles: Arc<Wiles>,
}

impl Evil {
    /// One that is a peer of these, which are honest.
    pub(super) async fn start(wiles: Wiles, honest: &[&Honest]) -> Self {
        Self::start_as(Keypair::generate_ed25519(), wiles, honest).await
    }

    /// One that has been there before.
    pub(super) async fn start_as(keypair: Keypair, wiles: Wiles, honest: &[&Honest]) -> Self {
        let peers = honest.iter().flat_map(|node| node.addresses());
        let config = NodeConfig {
            keypair: keypair.clone(),
            secret: None,
            network: NetworkId::open().key(),
            agent: "evil".to_owned(),
            listen: vec!["/memory/0".parse().unwrap()],
            peers: peers.map(|address| address.parse().unwrap()).collect(),
            known: Vec::new(),
            mdns: false,
            local_only_mode: true,
            bounds: PeerBounds::default(),
            transport: Transport::Memory,
        };
        let wiles = Arc::new(wiles);
        let node = Node::start(config, wiles.clone()).await.unwrap();
        let evil = Self { keypair, node, wiles };
        let id = evil.id().to_string();
        for node in honest {
            eventually("it is let in", async || {
                let is_there = evil.node.peers().contains(&node.id());
                let peers = node.status();
                (is_there && peers.peers.iter().any(|peer| peer.peer_id == id)).then_some(())
            })
            .await;
        }
        evil
    }

    pub(super) fn id(&self) -> PeerId {
        self.node.peer_id()
    }

    pub(super) fn asked(&self) -> usize {
        self.wiles.asked.load(Ordering::SeqCst)
    }

    pub(super) fn streams(&self) -> usize {
        self.wiles.streams.load(Ordering::SeqCst)
    }

    pub(super) async fn ask(&self, honest: &Honest, request: Request) -> Response {
        self.node.ask(honest.id(), request).await.unwrap()
    }

    /// Asks an honest node to keep a record.
    pub(super) async fn store(&self, honest: &Honest, record: &Bytes) -> Receipt {
        match self.ask(honest, Request::Store(record.clone())).await {
            Response::Receipt(receipt) => receipt,
            answer => panic!("{answer:?}"),
        }
    }

    /// Tells an honest node of records, again if it is too busy to answer in time.
    pub(super) async fn announce(&self, honest: &Honest, records: Vec<Bytes>) {
        let answer = eventually("they are heard", async || {
            self.node.ask(honest.id(), Request::Announce(records.clone())).await.ok()
        });
        assert_eq!(answer.await, Response::Heard);
    }

    /// The first record of a name of its own.
    pub(super) fn record(&self, name: &str, content: Content) -> NameRecord {
        first(&self.keypair, name, content)
    }

    pub(super) fn signed(&self, name: &str, content: Content) -> Bytes {
        sign(&self.keypair, &self.record(name, content))
    }
}

/// The first record of a name.
pub(super) fn first(owner: &Keypair, name: &str, content: Content) -> NameRecord {
    let owner = owner.public().to_peer_id();
    NameRecord::first(NetworkId::open(), owner, name.parse().unwrap(), content, now())
}

/// The bytes of a record that its owner signed.
pub(super) fn sign(owner: &Keypair, record: &NameRecord) -> Bytes {
    SignedRecord::sign(record, owner).unwrap().bytes().clone()
}

/// A record of any owner, signed by anybody.
pub(super) fn forge(signer: &Keypair, record: &NameRecord) -> Bytes {
    let payload = serde_json_canonicalizer::to_vec(record).unwrap();
    let (domain, kind) = ("wasm-exec-name-record".to_owned(), b"/wasm-exec/name-record/1".to_vec());
    let envelope = SignedEnvelope::new(signer, domain, kind, payload).unwrap();
    envelope.into_protobuf_encoding().into()
}

/// What a record says of a module without links.
pub(super) fn content(wasm: &[u8]) -> Content {
    let creation = Creation::new(None, BTreeMap::new(), Bytes::copy_from_slice(wasm));
    let contents = Contents::of([(creation.manifest(), wasm)]).unwrap();
    let list = contents.canonical();
    let (digest, size) = (Digest::of(list.as_bytes()), list.len() as u32);
    let contents_id = ContentsId { digest, size };
    Content { module: creation.digest(), contents: contents_id, bytes: contents.bytes() }
}

/// Asks again and again until the answer is the one that is waited for.
pub(super) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(result) = attempt().await {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen: {what}");
}
