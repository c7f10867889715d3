//! Providers and those who tamper with what they send, over streams in memory.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::PeerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use wasm_exec_registry::{BoxFuture, Digest};

use super::super::*;
use crate::contents::{Item, Kind};
use crate::pace::Pace;

/// What a stream holds that is sent and not read.
const STREAM_BYTES: usize = 64 << 10;

/// Bytes that do not repeat.
pub(super) fn blob(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What a list states of a blob.
pub(super) fn item(bytes: &[u8]) -> Item {
    Item::of(Kind::Wasm, Digest::of(bytes), bytes)
}

/// Runs what a property needs.
pub(super) fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future);
}

/// What is done to the bytes that a provider sends on a stream, from one of them on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tamper {
    /// Nothing.
    Honesty,
    /// That byte is another.
    Flip,
    /// The stream ends before it.
    Cut,
    /// The stream ends, and all others, when the provider has sent so many bytes in all.
    Death,
    /// It and what follows does not come.
    Silence,
    /// Zeros come instead, without end.
    Endless,
    /// So many bytes come at a time, and then none for a tenth of a second.
    Slowness,
}

#[derive(Debug, Default)]
struct Store {
    contents: HashMap<Digest, Bytes>,
    blobs: HashMap<Digest, Bytes>,
    loads: AtomicUsize,
}

impl Source for Arc<Store> {
    fn contents(&self, module: Digest) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move { self.contents.get(&module).cloned() })
    }

    fn item(&self, kind: Kind, sha256: Digest) -> BoxFuture<'_, Option<Bytes>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let blob = self.blobs.get(&sha256).filter(|_| kind == Kind::Wasm);
        Box::pin(async move { blob.cloned() })
    }
}

fn store(blobs: &[&[u8]]) -> Store {
    let blobs = blobs.iter().map(|bytes| (Digest::of(bytes), Bytes::copy_from_slice(bytes)));
    Store { blobs: blobs.collect(), ..Store::default() }
}

/// A provider.
#[derive(Clone, Debug)]
struct Provider {
    store: Arc<Store>,
    server: Arc<Server<Arc<Store>>>,
    tamper: Tamper,
    at: usize,
    sent: Arc<AtomicU64>,
}

/// Peers that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) timing: Timing,
    pub(super) serve_limits: ServeLimits,
    pub(super) pace: Pace,
    partials: Partials,
    providers: HashMap<PeerId, Provider>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    streams: AtomicUsize,
    open: AtomicUsize,
    misbehaved: Mutex<Vec<(PeerId, Fault)>>,
}

impl Network {
    pub(super) fn new() -> Self {
        Self::with_partials(Partials::in_memory())
    }

    pub(super) fn in_directory(directory: &Path) -> Self {
        Self::with_partials(Partials::in_directory(directory.to_owned()))
    }

    fn with_partials(partials: Partials) -> Self {
        // The tests wait for what happens, on machines that are busy with other things.
        let long = Duration::from_secs(60);
        Self {
            timing: Timing { open: long, stall: long, part: long, ..Timing::default() },
            serve_limits: ServeLimits::default(),
            pace: Pace::new(1000, 1000, Instant::now()),
            partials,
            providers: HashMap::new(),
            seen: Arc::default(),
        }
    }

    pub(super) fn honest(&mut self, blobs: &[&[u8]]) -> PeerId {
        self.tampered(blobs, Tamper::Honesty, 0)
    }

    pub(super) fn tampered(&mut self, blobs: &[&[u8]], tamper: Tamper, at: usize) -> PeerId {
        self.add(store(blobs), tamper, at)
    }

    pub(super) fn with_contents(&mut self, module: Digest, text: &str) -> PeerId {
        let contents = HashMap::from([(module, Bytes::copy_from_slice(text.as_bytes()))]);
        self.add(Store { contents, ..Store::default() }, Tamper::Honesty, 0)
    }

    pub(super) fn liar_with(&mut self, digest: Digest, bytes: &[u8]) -> PeerId {
        let blobs = HashMap::from([(digest, Bytes::copy_from_slice(bytes))]);
        self.add(Store { blobs, ..Store::default() }, Tamper::Honesty, 0)
    }

    fn add(&mut self, store: Store, tamper: Tamper, at: usize) -> PeerId {
        let store = Arc::new(store);
        let server = Arc::new(Server::new(Arc::clone(&store), self.serve_limits));
        let peer = PeerId::random();
        let provider = Provider { store, server, tamper, at, sent: Arc::default() };
        self.providers.insert(peer, provider);
        peer
    }

    pub(super) fn fetcher(&self) -> Fetcher<Self> {
        Fetcher::new(self.clone(), self.partials.clone(), self.timing)
    }

    pub(super) fn sent_by(&self, peer: PeerId) -> u64 {
        self.providers[&peer].sent.load(Ordering::Relaxed)
    }

    pub(super) fn loads_of(&self, peer: PeerId) -> usize {
        self.providers[&peer].store.loads.load(Ordering::Relaxed)
    }

    pub(super) fn streams(&self) -> usize {
        self.seen.streams.load(Ordering::Relaxed)
    }

    pub(super) fn misbehaved(&self) -> Vec<(PeerId, Fault)> {
        self.seen.misbehaved.lock().unwrap().clone()
    }

    pub(super) async fn all_streams_closed(&self) {
        while self.seen.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How a server ends that is told this, and nothing more.
    pub(super) async fn say(&self, blobs: &[&[u8]], bytes: &[u8]) -> Result<(), ServeError> {
        let (mut client, stream) = duplex(STREAM_BYTES);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        Server::new(Arc::new(store(blobs)), self.serve_limits)
            .serve(stream.compat(), &self.pace)
            .await
    }

    /// How a server ends that is told this by one who does not go on, or away.
    pub(super) async fn say_and_wait(
        &self,
        blobs: &[&[u8]],
        bytes: &[u8],
    ) -> Result<(), ServeError> {
        let (mut client, stream) = duplex(STREAM_BYTES);
        client.write_all(bytes).await.unwrap();
        Server::new(Arc::new(store(blobs)), self.serve_limits)
            .serve(stream.compat(), &self.pace)
            .await
    }
}

impl Peers for Network {
    type Stream = Compat<DuplexStream>;

    fn open(&self, peer: PeerId) -> BoxFuture<'_, io::Result<Self::Stream>> {
        let provider = self.providers[&peer].clone();
        let seen = Arc::clone(&self.seen);
        seen.streams.fetch_add(1, Ordering::Relaxed);
        seen.open.fetch_add(1, Ordering::Relaxed);
        let (client, theirs) = duplex(STREAM_BYTES);
        tokio::spawn(async move {
            // What it says when the other side is gone is of no interest.
            let _ = provider.be(theirs).await;
            seen.open.fetch_sub(1, Ordering::Relaxed);
        });
        Box::pin(async { Ok(client.compat()) })
    }

    fn misbehaved(&self, peer: PeerId, fault: Fault) {
        self.seen.misbehaved.lock().unwrap().push((peer, fault));
    }
}

impl Provider {
    /// Serves a stream, and tampers with what is sent.
    async fn be(self, theirs: DuplexStream) -> io::Result<()> {
        let (inner, stream) = duplex(STREAM_BYTES);
        let server = Arc::clone(&self.server);
        let pace = Pace::new(1000, 1000, Instant::now());
        let serving =
            async move { server.serve(stream.compat(), &pace).await.map_err(io::Error::other) };
        let (mut requests, mut to_client) = tokio::io::split(theirs);
        let (mut responses, mut to_server) = tokio::io::split(inner);
        let asking = async {
            tokio::io::copy(&mut requests, &mut to_server).await?;
            to_server.shutdown().await
        };
        let answering = async {
            self.forward(&mut responses, &mut to_client).await?;
            to_client.shutdown().await?;
            Err::<(), _>(io::Error::other("it is over"))
        };
        tokio::try_join!(serving, asking, answering)?;
        Ok(())
    }

    async fn forward(
        &self,
        responses: &mut (impl tokio::io::AsyncRead + Unpin),
        to_client: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        let mut passed = 0;
        loop {
            let read = responses.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let bytes = &mut buffer[..read];
            // Where in these bytes it begins.
            let here = self.at.checked_sub(passed).filter(|at| *at < read);
            match (self.tamper, here) {
                (Tamper::Flip, Some(at)) => bytes[at] ^= 0x55,
                (Tamper::Cut, Some(at)) => return self.send(to_client, &bytes[..at]).await,
                (Tamper::Death, _) if self.sent.load(Ordering::Relaxed) as usize >= self.at => {
                    return Ok(());
                }
                (Tamper::Silence, Some(at)) => {
                    self.send(to_client, &bytes[..at]).await?;
                    return self.be_silent(responses).await;
                }
                (Tamper::Endless, Some(at)) => {
                    self.send(to_client, &bytes[..at]).await?;
                    loop {
                        self.send(to_client, &[0; 1024]).await?;
                    }
                }
                (Tamper::Slowness, _) => {
                    for some in bytes.chunks(self.at) {
                        self.send(to_client, some).await?;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    passed += read;
                    continue;
                }
                _ => {}
            }
            self.send(to_client, bytes).await?;
            passed += read;
        }
    }

    /// Until the other side goes away.
    async fn be_silent(
        &self,
        responses: &mut (impl tokio::io::AsyncRead + Unpin),
    ) -> io::Result<()> {
        tokio::io::copy(responses, &mut tokio::io::sink()).await?;
        Ok(())
    }

    async fn send(
        &self,
        to_client: &mut (impl tokio::io::AsyncWrite + Unpin),
        bytes: &[u8],
    ) -> io::Result<()> {
        to_client.write_all(bytes).await?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
