//! Fetching what is not on the disk: the closure of a module, from whoever has it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, slice};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use libp2p::{PeerId, Stream};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio::time::timeout;
use wasm_exec_registry::{
    BoxFuture, Digest, Name, RegisterError, RegistryError, Row, StorageError,
};

use crate::contents::{Contents, ContentsId, InvalidContents, Kind};
use crate::landed::Landed;
use crate::library::AddError;
use crate::node::Node;
use crate::record::SignedRecord;
use crate::rows;
use crate::shared::Shared;
use crate::transfer::{Fault, FetchError, Fetcher, Partials, Peers, Timing};

/// How many closures are fetched at once for one [`Purpose`].
const FETCHES: usize = 16;

/// How much of closures is in memory at once, from an item's last byte to the commit, in KiB, since a
/// semaphore counts no further: 128 MiB for each [`Purpose`]. Manifests are counted when it is known
/// that they are the module's; those of which it is not are at most
/// [`MAX_MANIFESTS_BYTES`](crate::contents::MAX_MANIFESTS_BYTES) of each closure.
const LANDING_KIB: u32 = 128 << 10;

/// The most bytes of a closure that nodes can be set up to pass to each other, since all of it is in
/// memory when it is committed: 128 MiB.
pub const MAX_CLOSURE_BYTES: u64 = (LANDING_KIB as u64) << 10;

/// How long one closure may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many peers are asked for one closure.
const MAX_SOURCES: usize = 16;

/// How many peers are asked for the contents list of a module of which no record tells, and how long
/// fetching by one such list may take.
const MAX_UNSTATED: usize = 32;
const ATTEMPT: Duration = Duration::from_secs(30);

/// How long those are looked for who are closest to a record.
const LOOK_UP: Duration = Duration::from_millis(2500);

/// Bounds of fetching, and where what is fetched is put together.
#[derive(Debug)]
pub(crate) struct Fetching {
    partials: Partials,
    called: Room,
    asked: Room,
    landed: Landed,
}

/// What fetches for one purpose may take together. Those who ask this node to hold something may be
/// as slow with it as they like, so what is called here has room of its own.
#[derive(Debug)]
struct Room {
    fetches: Semaphore,
    landing: Semaphore,
    /// Of two that want the same module, the second finds it on the disk.
    locks: StdMutex<HashMap<Digest, Weak<Mutex<()>>>>,
}

/// What a closure is fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is called here.
    Called,
    /// Another node asks to have it held.
    Asked,
}

/// What is to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) module: Digest,
    pub(crate) purpose: Purpose,
    /// What its owner signed that it is made of; `None` if all that is known is the module's digest.
    pub(crate) contents: Option<ContentsId>,
    /// The sum of its sizes, likewise.
    pub(crate) bytes: Option<u64>,
    /// The name to keep it under.
    pub(crate) name: Option<Name>,
    /// Whom to ask, in this order.
    pub(crate) sources: Vec<PeerId>,
    /// Written in the same transaction.
    pub(crate) rows: Vec<Row>,
}

impl Wanted {
    /// A module of which only its digest is known.
    pub(crate) fn unnamed(module: Digest, sources: Vec<PeerId>) -> Self {
        let (purpose, rows) = (Purpose::Called, Vec::new());
        Self { module, purpose, contents: None, bytes: None, name: None, sources, rows }
    }
}

/// Why a closure was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchingError {
    /// This node has no connections yet.
    #[error("there is nobody to ask")]
    Alone,
    /// Not all of it came in time.
    #[error("the content did not arrive in time")]
    TooSlow,
    /// Not all of it could be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The contents list is not one, or is one of other bytes than were signed.
    #[error("the list of the contents")]
    Contents(#[from] InvalidContents),
    /// The contents have another sum of sizes than the record says.
    #[error("the contents do not have the size that the record says")]
    OtherSize,
    /// The module is here, made of what the record does not say.
    #[error("the contents are not those that the record says")]
    OtherContents,
    /// It is larger than what nodes pass to each other.
    #[error("the contents have {0} bytes, and {1} are the most")]
    TooLarge(u64, u64),
    /// While it was fetched, its name was deleted or taken anew.
    #[error("the name means something else by now")]
    Superseded,
    /// This node holds as much for others as it may.
    #[error("there is no room for what others have")]
    NoRoom,
    /// It was not taken in.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl FetchingError {
    /// Whether it is for a reason on this node, so that nobody else need be asked.
    pub(crate) fn is_ours(&self) -> bool {
        use AddError::{Register, Registry};
        use FetchingError::Add;

        matches!(
            self,
            Self::NoRoom
                | Self::Registry(_)
                | Add(Registry(_) | Register(RegisterError::Storage(_)))
        )
    }
}

impl From<FetchingError> for RegistryError {
    fn from(error: FetchingError) -> Self {
        use AddError::{Register, Registry};

        match error {
            FetchingError::Registry(error) | FetchingError::Add(Registry(error)) => error,
            FetchingError::Add(Register(RegisterError::Storage(error))) => error.into(),
            FetchingError::NoRoom => {
                StorageError::from(io::Error::new(io::ErrorKind::StorageFull, error)).into()
            }
            error => StorageError::from(io::Error::other(error)).into(),
        }
    }
}

impl From<StorageError> for FetchingError {
    fn from(error: StorageError) -> Self {
        Self::Registry(error.into())
    }
}

impl Fetching {
    pub(crate) fn new(partials: Partials) -> Self {
        let landed = Landed::default();
        Self { partials, called: Room::new(), asked: Room::new(), landed }
    }

    /// What was fetched to be called, until it is.
    pub(crate) fn landed(&self) -> &Landed {
        &self.landed
    }

    fn room(&self, purpose: Purpose) -> &Room {
        match purpose {
            Purpose::Called => &self.called,
            Purpose::Asked => &self.asked,
        }
    }
}

impl Room {
    fn new() -> Self {
        Self {
            fetches: Semaphore::new(FETCHES),
            landing: Semaphore::new(LANDING_KIB as usize),
            locks: StdMutex::default(),
        }
    }

    async fn lock(&self, module: &Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() >= 2 * FETCHES {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            let known = locks.get(module).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(*module, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

impl Shared {
    /// Has the content of a record on the disk, with the record, under its name. `first` is the peer
    /// that wants it held, if one does, and is asked for the content before others.
    ///
    /// # Errors
    ///
    /// When nobody has it, or it cannot be kept; then nothing of it is.
    pub(crate) async fn fetch_record(
        &self,
        record: &SignedRecord,
        first: Option<PeerId>,
    ) -> Result<(), FetchingError> {
        let row = rows::record(record);
        let stated = record.record();
        if self.has_content(record).await? {
            self.library.local().write(vec![row]).await?;
            // It was not counted if nobody waited for its commit.
            return self.hold_fetched(record).await;
        }
        if let Some(error) = self.too_large(stated.bytes) {
            return Err(error);
        }
        if !self.has_room(record) {
            return Err(FetchingError::NoRoom);
        }
        let name = self.local_name(record);
        if name.version().is_none()
            && self.library.resolve(name).await?.is_some_and(|entry| entry.name == *name)
        {
            // The name was deleted and taken anew, and only the latter was heard.
            self.release(record, Vec::new()).await;
        }
        let wanted = Wanted {
            module: stated.module,
            purpose: if first.is_some() { Purpose::Asked } else { Purpose::Called },
            contents: Some(stated.contents),
            bytes: Some(stated.bytes),
            name: Some(name.clone()),
            sources: self.sources(record, first),
            rows: vec![row],
        };
        match first {
            Some(_) => self.fetch(wanted).await?,
            None => self.fetch_from_anywhere(record, wanted).await?,
        }
        self.hold_fetched(record).await
    }

    /// Holds what is on the disk, unless its name came to mean something else while it was fetched.
    async fn hold_fetched(&self, record: &SignedRecord) -> Result<(), FetchingError> {
        if self.hold(record) {
            return Ok(());
        }
        // Its row took the place of the newer one's.
        let newer = self.record(&record.key()).iter().map(rows::record).collect();
        match self.has_content(record).await? {
            true => self.release(record, newer).await,
            false => self.library.local().write(newer).await?,
        }
        Err(FetchingError::Superseded)
    }

    /// Fetches from peers, and if none of them has it from others. Where the owner is no peer, it may
    /// be that nobody is who has it, so others are looked for meanwhile.
    async fn fetch_from_anywhere(
        &self,
        record: &SignedRecord,
        wanted: Wanted,
    ) -> Result<(), FetchingError> {
        let is_far = self.knowledge().repair.live().get(&record.record().owner).is_none();
        let mut looking = pin!(self.far_sources(record, &wanted.sources));
        let mut fetching = pin!(self.fetch(wanted.clone()));
        let mut found = None;
        let fetched = loop {
            tokio::select! {
                fetched = &mut fetching => break fetched,
                sources = &mut looking, if is_far && found.is_none() => found = Some(sources),
            }
        };
        let Err(FetchingError::Fetch(FetchError::Unavailable(_))) = fetched else {
            return fetched;
        };
        let sources = match found {
            Some(sources) => sources,
            None => looking.await,
        };
        self.fetch(Wanted { sources, ..wanted }).await
    }

    fn too_large(&self, bytes: u64) -> Option<FetchingError> {
        let most = self.library.closure_bytes();
        (bytes > most).then_some(FetchingError::TooLarge(bytes, most))
    }

    /// Whether the content of a record may be held, or is.
    fn has_room(&self, record: &SignedRecord) -> bool {
        let stated = record.record();
        let held = &self.knowledge().held;
        stated.owner == self.own
            || held.contains(&record.key())
            || held.has_room(&stated.owner, stated.bytes)
    }

    /// Has the closure of a module on the disk.
    ///
    /// # Errors
    ///
    /// As [`Shared::fetch_record`].
    pub(crate) async fn fetch(&self, wanted: Wanted) -> Result<(), FetchingError> {
        let fetching = timeout(PATIENCE, self.fetch_now(wanted));
        fetching.await.map_err(|_| FetchingError::TooSlow)?
    }

    async fn fetch_now(&self, wanted: Wanted) -> Result<(), FetchingError> {
        let room = self.fetching.room(wanted.purpose);
        let _lock = room.lock(&wanted.module).await;
        // The semaphores are never closed.
        let _place = room.fetches.acquire().await;
        let node = self.node().ok_or(FetchingError::Alone)?.clone();
        let partials = self.fetching.partials.clone();
        let fetcher = Fetcher::new(Streams(node), partials, Timing::default());
        let contents = match (self.library.contents(wanted.module).await?, wanted.contents) {
            (Some(contents), Some(stated)) if !stated.is_of(&contents) => {
                return Err(FetchingError::OtherContents);
            }
            (Some(contents), _) => contents,
            (None, Some(stated)) => {
                self.fetch_contents(&fetcher, wanted.module, Some(stated), &wanted.sources).await?
            }
            (None, None) => return self.fetch_unstated(&fetcher, &wanted).await,
        };
        self.fetch_items(&fetcher, &wanted, &contents).await
    }

    /// Fetches a module of which nobody has signed what it is made of. Whoever says that it has the
    /// module may state anything, so one list after the other is tried, in the order in which they
    /// come.
    async fn fetch_unstated(
        &self,
        fetcher: &Fetcher<Streams>,
        wanted: &Wanted,
    ) -> Result<(), FetchingError> {
        let sources = wanted.sources.iter().take(MAX_UNSTATED);
        let mut lists: FuturesUnordered<_> = sources
            .map(|peer| self.fetch_contents(fetcher, wanted.module, None, slice::from_ref(peer)))
            .collect();
        let mut tried = Vec::new();
        let mut failure = FetchError::Unavailable(wanted.module).into();
        while let Some(list) = lists.next().await {
            let fetched = match list {
                Ok(contents) if tried.contains(&contents) => continue,
                Ok(contents) => {
                    let fetching = self.fetch_items(fetcher, wanted, &contents);
                    let fetched = timeout(ATTEMPT, fetching).await;
                    tried.push(contents);
                    fetched.unwrap_or(Err(FetchingError::TooSlow))
                }
                Err(error) => Err(error),
            };
            match fetched {
                Ok(()) => return Ok(()),
                Err(error @ FetchingError::Registry(_)) => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Fetches what is listed and is not here, and takes it in.
    async fn fetch_items(
        &self,
        fetcher: &Fetcher<Streams>,
        wanted: &Wanted,
        contents: &Contents,
    ) -> Result<(), FetchingError> {
        if wanted.bytes.is_some_and(|bytes| bytes != contents.bytes()) {
            return Err(FetchingError::OtherSize);
        }
        if let Some(error) = self.too_large(contents.bytes()) {
            return Err(error);
        }
        // Manifests first: what nobody signed for may list anything, and they say what belongs to it.
        let missing = self.library.missing(contents).await?;
        let kib = missing.iter().map(|item| item.size).sum::<u64>().div_ceil(1 << 10);
        let kib = u32::try_from(kib).unwrap_or(LANDING_KIB).min(LANDING_KIB);
        let (manifests, blobs): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|item| item.kind == Kind::Manifest);
        let mut fetched: HashMap<Digest, Bytes> = HashMap::new();
        for item in manifests {
            fetched.insert(item.sha256, fetcher.item(&item, &wanted.sources).await?);
        }
        self.library.check(wanted.module, contents, &fetched).await?;
        let _room = self.fetching.room(wanted.purpose).landing.acquire_many(kib).await;
        for item in blobs {
            fetched.insert(item.sha256, fetcher.item(&item, &wanted.sources).await?);
        }
        let (name, rows) = (wanted.name.clone(), wanted.rows.clone());
        self.library.add(wanted.module, contents, &fetched, name, rows).await?;
        if wanted.purpose == Purpose::Called {
            let now = Instant::now();
            let blobs = contents.items().iter().filter(|item| item.kind == Kind::Wasm);
            for item in blobs {
                if let Some(bytes) = fetched.remove(&item.sha256) {
                    self.fetching.landed.keep(item.sha256, bytes, now);
                }
            }
        }
        Ok(())
    }

    async fn fetch_contents(
        &self,
        fetcher: &Fetcher<Streams>,
        module: Digest,
        stated: Option<ContentsId>,
        sources: &[PeerId],
    ) -> Result<Contents, FetchingError> {
        let text = fetcher.contents(module, stated, sources).await?;
        Ok(Contents::decode(&text, self.library.wasm_bytes())?)
    }

    /// Who may have the content of a record: whoever told of it, its owner, and the others in the order
    /// in which they should. An owner that would have to be dialled comes after the first of them.
    fn sources(&self, record: &SignedRecord, first: Option<PeerId>) -> Vec<PeerId> {
        let key = record.key();
        let mut sources: Vec<PeerId> = first.into_iter().collect();
        let knowledge = self.knowledge();
        let live = knowledge.repair.live();
        let owner = &record.record().owner;
        let (connected, far) = match live.contains(owner) {
            true => (Some(owner), None),
            false => (None, Some(owner)),
        };
        let mut others = live.nearest(&key);
        let nearest = others.by_ref().find(|peer| **peer != self.own);
        let ordered = connected.into_iter().chain(nearest).chain(far).chain(others);
        for peer in ordered {
            if *peer != self.own && !sources.contains(peer) {
                sources.push(*peer);
            }
            if sources.len() == MAX_SOURCES {
                break;
            }
        }
        sources
    }

    /// Who else may have it, of those who are not connected: in a network that is larger than what a
    /// node is connected to, the owner and whoever is closest may be none of its peers.
    async fn far_sources(&self, record: &SignedRecord, near: &[PeerId]) -> Vec<PeerId> {
        let Some(node) = self.node() else { return Vec::new() };
        let closest = timeout(LOOK_UP, node.closest(record.key())).await.unwrap_or_default();
        let owner = record.record().owner;
        // Where the owner is may not have been known before.
        let far_owner = self.knowledge().repair.live().get(&owner).is_none().then_some(owner);
        let others = closest.into_iter().filter(|peer| *peer != self.own && !near.contains(peer));
        far_owner
            .into_iter()
            .chain(others.filter(|peer| *peer != owner))
            .take(MAX_SOURCES)
            .collect()
    }
}

/// The streams on which content comes.
#[derive(Debug)]
pub(crate) struct Streams(Node);

impl Peers for Streams {
    type Stream = Stream;

    fn open(&self, peer: PeerId) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move { self.0.open(peer).await.map_err(io::Error::other) })
    }

    fn misbehaved(&self, peer: PeerId, fault: Fault) {
        tracing::warn!(%peer, %fault, "a peer sent other content than was asked for");
    }
}
