//! The side of a transfer that wants the content.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use wasm_exec_registry::{BoxFuture, Digest};

use self::download::{Download, Stopped};
use self::lane::Lane;
use super::Fault;
use super::conversation::Conversation;
use super::job::{ContentsJob, ItemJob, Job};
use super::partial::Partials;
use crate::contents::{ContentsId, Item};

mod download;
mod lane;

/// The most streams on which one fetch asks at a time, so the most ranges that are in memory.
const MAX_LANES: usize = 4;

/// The most streams of these to one provider: while one brings a range, the other asks for the next.
const MAX_LANES_OF_ONE: usize = 2;

/// The most providers of one fetch. More are not looked at.
const MAX_PROVIDERS: usize = 32;

/// How the peers of a network are reached.
pub(crate) trait Peers: Send + Sync {
    /// A stream to a peer.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens a stream of [`TRANSFER_PROTOCOL`](super::TRANSFER_PROTOCOL).
    fn open(&self, peer: PeerId) -> BoxFuture<'_, io::Result<Self::Stream>>;

    /// Is told of a peer that did what no honest one does, when it is found out.
    fn misbehaved(&self, peer: PeerId, fault: Fault);
}

/// How long providers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The longest that opening a stream may take.
    pub(crate) open: Duration,
    /// The longest that a provider may be silent that was asked.
    pub(crate) stall: Duration,
    /// The longest that a range may take in all.
    pub(crate) part: Duration,
    /// After this a second provider is asked for what the first has not sent yet, if there is nothing
    /// else to ask for. That is as long as nothing has come; then it is twice as long as ranges take.
    pub(crate) patience: Duration,
}

impl Default for Timing {
    /// 5 s, 2 s, 60 s (so at least 18 KiB/s), 500 ms.
    fn default() -> Self {
        Self {
            open: Duration::from_secs(5),
            stall: Duration::from_secs(2),
            part: Duration::from_secs(60),
            patience: Duration::from_millis(500),
        }
    }
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No provider has it, or none that could be reached and was honest.
    #[error("no provider gave {0}")]
    Unavailable(Digest),
    /// All of it came and was what the contents list states by BLAKE3, but its SHA-256 is another, so
    /// the list is wrong.
    #[error("what is stated of {0} is of something else")]
    WrongDigest(Digest),
    /// It could not be kept on this node.
    #[error("it could not be kept")]
    Storage(#[from] io::Error),
}

/// Fetches content from providers that need not be trusted. One for a module's content: streams that
/// were opened for one item are used for the next, and a provider that was dishonest is not asked for
/// anything again for as long as this lives.
///
/// Dropping a future stops the fetch at once. What has come of a large item stays on the disk, and is
/// where the next fetch goes on.
#[derive(Debug)]
pub(crate) struct Fetcher<P: Peers> {
    peers: P,
    partials: Partials,
    timing: Timing,
    known: Mutex<Known<P::Stream>>,
}

/// What is known of providers.
#[derive(Debug)]
struct Known<S> {
    dishonest: HashSet<PeerId>,
    /// Streams on which nothing is under way, at most [`MAX_LANES`], the oldest first.
    resting: Vec<(PeerId, Conversation<S>)>,
}

impl<P: Peers> Fetcher<P> {
    /// A fetcher that keeps in `partials` what has not come as a whole.
    pub(crate) fn new(peers: P, partials: Partials, timing: Timing) -> Self {
        let known = Known { dishonest: HashSet::new(), resting: Vec::new() };
        Self { peers, partials, timing, known: Mutex::new(known) }
    }

    /// The text of a module's contents list, from the first of `providers` that has it. Where it is
    /// known what the list is to be, nothing else is taken for it.
    ///
    /// # Errors
    ///
    /// [`FetchError::Unavailable`].
    pub(crate) async fn contents(
        &self,
        module: Digest,
        stated: Option<ContentsId>,
        providers: &[PeerId],
    ) -> Result<Bytes, FetchError> {
        let job = Arc::new(ContentsJob { module, stated, kept: OnceLock::new() });
        self.download(module, &job, vec![0], providers).await?;
        job.kept.get().cloned().ok_or(FetchError::Unavailable(module))
    }

    /// The bytes of an item, from as many of `providers` at once as is useful, those first that are
    /// named first. The item's size is to be within this node's bounds. In memory are a few ranges,
    /// until the item is whole and verified.
    ///
    /// # Errors
    ///
    /// As [`FetchError`] says.
    pub(crate) async fn item(
        &self,
        item: &Item,
        providers: &[PeerId],
    ) -> Result<Bytes, FetchError> {
        let sha256 = item.sha256;
        let (partial, missing) = self.partials.begin(*item).await?;
        let job = Arc::new(ItemJob { item: *item, partial });
        self.download(sha256, &job, missing, providers).await?;
        let finishing = tokio::task::spawn_blocking(move || job.partial.finish(sha256));
        let bytes = finishing.await.map_err(io::Error::other)??;
        bytes.ok_or(FetchError::WrongDigest(sha256))
    }

    async fn download(
        &self,
        wanted: Digest,
        job: &Arc<impl Job>,
        missing: Vec<usize>,
        providers: &[PeerId],
    ) -> Result<(), FetchError> {
        let downloaded = Download::new(self, job, missing, providers).run().await;
        downloaded.map_err(|stopped| match stopped {
            Stopped::NoProvider => FetchError::Unavailable(wanted),
            Stopped::Local(error) => FetchError::Storage(error),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known<P::Stream>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_honest(&self, peer: PeerId) -> bool {
        !self.known().dishonest.contains(&peer)
    }

    /// A lane to a provider, with a stream that was open already if there is one.
    fn lane(&self, peer: PeerId) -> Lane<P::Stream> {
        let resting = &mut self.known().resting;
        let index = resting.iter().rposition(|(other, _)| *other == peer);
        Lane { peer, conversation: index.map(|index| resting.remove(index).1) }
    }

    /// Keeps a lane's stream for what is fetched next.
    fn rest(&self, Lane { peer, conversation }: Lane<P::Stream>) {
        let Some(conversation) = conversation else { return };
        let resting = &mut self.known().resting;
        if resting.len() == MAX_LANES {
            resting.remove(0);
        }
        resting.push((peer, conversation));
    }

    fn drop_dishonest(&self, peer: PeerId, fault: Fault) {
        let mut known = self.known();
        known.resting.retain(|(other, _)| *other != peer);
        if known.dishonest.insert(peer) {
            drop(known);
            self.peers.misbehaved(peer, fault);
        }
    }
}
