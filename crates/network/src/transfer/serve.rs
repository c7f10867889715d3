//! The side of a transfer that has the content.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bao_tree::io::outboard::PreOrderMemOutboard;
use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasm_exec_registry::{BoxFuture, Digest};

use super::message::{Head, Request};
use super::range::{self, Range};
use crate::contents::{Item, Kind, MAX_CONTENTS_BYTES};
use crate::pace::Pace;

/// Below this size an item is hashed where it is, which takes less time than handing it over.
const INLINE_HASH_BYTES: usize = 64 << 10;

/// What an item counts for beside its bytes, so that the number of small ones is bounded, too.
const ENTRY_BYTES: u64 = 1 << 10;

/// The most items that are read and hashed at once: what they take is beside the bound of the cache.
const LOADS: usize = 2;

/// Where what is served comes from.
pub(crate) trait Source: Send + Sync {
    /// The contents list of a module, in its canonical form. `None` if the module is not here.
    fn contents(&self, module: Digest) -> BoxFuture<'_, Option<Bytes>>;

    /// The bytes of a manifest, in its canonical form, or of a blob. `None` if it is not here.
    fn item(&self, kind: Kind, sha256: Digest) -> BoxFuture<'_, Option<Bytes>>;
}

/// Bounds on what is done for those who ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServeLimits {
    /// The most requests on one stream. The stream is closed after the last of them.
    pub(crate) requests: u32,
    /// How long a stream may wait for its next request.
    pub(crate) idle: Duration,
    /// How long one response may take to be sent.
    pub(crate) response: Duration,
    /// The most bytes of items, and of their hashes, that are kept in memory between requests. An
    /// item that is larger is read and hashed anew for each of its ranges.
    pub(crate) cache_bytes: u64,
}

impl Default for ServeLimits {
    /// 1,024 requests, 30 s each to wait and to send (so at least 35 KiB/s), 128 MiB.
    fn default() -> Self {
        Self {
            requests: 1024,
            idle: Duration::from_secs(30),
            response: Duration::from_secs(30),
            cache_bytes: 128 << 20,
        }
    }
}

/// Why a stream was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// What came is no request that a node of this version makes.
    #[error("it sent no request of this protocol")]
    Invalid,
    /// The response was not taken in time.
    #[error("it did not take its response")]
    Stalled,
    /// The stream failed.
    #[error("the stream failed")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Invalid,
            _ => Self::Io(error),
        }
    }
}

/// Answers requests for content. One for all streams, which share what it keeps in memory.
#[derive(Debug)]
pub(crate) struct Server<S> {
    source: S,
    /// What is being served. A fetch asks for an item's ranges one by one, and its hashes
    /// are those of the whole.
    served: Cache<Key, Arc<Served>, Weight>,
    loads: Semaphore,
    limits: ServeLimits,
}

type Key = (Kind, Digest);

/// An item and the hashes of its tree.
#[derive(Debug)]
struct Served {
    bytes: Bytes,
    hashes: PreOrderMemOutboard,
}

impl Served {
    fn new(bytes: Bytes) -> Self {
        let hashes = range::hashes(&bytes);
        Self { bytes, hashes }
    }

    /// Whether the item is what a contents list states.
    fn is(&self, item: &Item) -> bool {
        self.bytes.len() as u64 == item.size && self.hashes.root == item.blake3
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Arc<Served>> for Weight {
    fn weight(&self, _: &Key, served: &Arc<Served>) -> u64 {
        (served.bytes.len() + served.hashes.data.len()) as u64 + ENTRY_BYTES
    }
}

impl<S: Source> Server<S> {
    /// Serves what `source` has.
    pub(crate) fn new(source: S, limits: ServeLimits) -> Self {
        // In one shard, since each takes only its part of the whole, which a large item must fit.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(usize::try_from(limits.cache_bytes >> 20).unwrap_or(0))
            .weight_capacity(limits.cache_bytes)
            .build();
        let served = match options {
            Ok(options) => {
                Cache::with_options(options, Weight, Default::default(), Default::default())
            }
            // Both that it wants are set above.
            Err(_) => Cache::with_weighter(1, limits.cache_bytes, Weight),
        };
        Self { source, served, loads: Semaphore::new(LOADS), limits }
    }

    /// Answers the requests that come on a stream, one after the other, each when `pace` has a turn,
    /// until it ends, rests for too long or had as many as it may have. Memory: room for one response,
    /// of a range and its proof at most.
    ///
    /// # Errors
    ///
    /// As [`ServeError`] says; the stream is of no further use then.
    pub(crate) async fn serve<T>(&self, mut stream: T, pace: &Pace) -> Result<(), ServeError>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut response = Vec::new();
        for _ in 0..self.limits.requests {
            let Ok(request) = timeout(self.limits.idle, Request::read(&mut stream)).await else {
                break;
            };
            let Some(request) = request? else { break };
            pace.turn().await;
            response.clear();
            self.respond(&request, &mut response).await;
            let sending = timeout(self.limits.response, async {
                stream.write_all(&response).await?;
                stream.flush().await
            });
            sending.await.map_err(|_| ServeError::Stalled)??;
        }
        let closing = timeout(self.limits.response, stream.close());
        Ok(closing.await.map_err(|_| ServeError::Stalled)??)
    }

    /// Appends the response to a request to `response`, which is empty.
    async fn respond(&self, request: &Request, response: &mut Vec<u8>) {
        let is_here = match request {
            Request::Contents { module } => {
                let contents = self.source.contents(*module).await;
                let contents = contents.filter(|text| text.len() <= MAX_CONTENTS_BYTES);
                contents.map(|text| {
                    response.extend(here(text.len()));
                    response.extend(&text);
                })
            }
            Request::Range { item, range } => {
                let served = self.served(item).await.filter(|served| served.is(item));
                served.and_then(|served| respond_with(&served, range, response))
            }
        };
        if is_here.is_none() {
            response.clear();
            response.extend(Head::NotHere.to_bytes());
        }
    }

    /// An item that is here, with its hashes. Of those who ask at once, one hashes it.
    async fn served(&self, item: &Item) -> Option<Arc<Served>> {
        let loading = async {
            // It is never closed.
            let _load = self.loads.acquire().await;
            let bytes = self.source.item(item.kind, item.sha256).await.ok_or(())?;
            if bytes.len() <= INLINE_HASH_BYTES {
                return Ok(Arc::new(Served::new(bytes)));
            }
            let hashing = tokio::task::spawn_blocking(|| Arc::new(Served::new(bytes)));
            hashing.await.map_err(|_| ())
        };
        self.served.get_or_insert_async(&(item.kind, item.sha256), loading).await.ok()
    }
}

/// `None` only for a range that the item does not have.
fn respond_with(served: &Served, range: &Range, response: &mut Vec<u8>) -> Option<()> {
    let length = range.encoded_bytes(served.bytes.len() as u64);
    response.reserve(Head::BYTES + length);
    response.extend(here(length));
    range.encode(&served.bytes, &served.hashes, response).ok()
}

/// The head of a response of at most a few MiB.
fn here(length: usize) -> [u8; Head::BYTES] {
    Head::Here { length: length as u32 }.to_bytes()
}
