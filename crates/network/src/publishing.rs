//! Registering and deleting on this node: on its disk first, then on others'.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use libp2p::PeerId;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};
use wasm_exec_registry::{
    Backend, Creation, DeleteError, Digest, Name, NameTakenReason, Reference, RegisterError,
    Registered, RegistryError, StorageError,
};

use crate::contents::{Contents, ContentsId};
use crate::core::placement::REPLICAS;
use crate::core::repair::Stored;
use crate::index::{Applied, Interest};
use crate::library::stored;
use crate::names::{NotOurs, owner_to_write};
use crate::protocol::{Receipt, Refusal, Request, Response};
use crate::record::{Content, NameRecord, NoSuccessor, SignError, SignedRecord};
use crate::rows;
use crate::shared::{Shared, now};

/// How long the copies of a registration may take, and how much longer for each MiB of it.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_PER_MIB: Duration = Duration::from_secs(1);

/// How many peers are asked for a copy before it is left to repairing.
const MAX_ASKED: usize = 8;

/// How many own records are issued anew at once.
const REFRESHED: usize = 1024;

/// Locks of names that are written: of two changes of one name the second sees the first's record.
const LOCKS: usize = 64;

/// Who writes which name.
#[derive(Debug)]
pub(crate) struct Writing([Mutex<()>; LOCKS]);

impl Writing {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }

    async fn lock(&self, name: &Name) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name.unversioned());
        self.0[hash as usize % LOCKS].lock().await
    }
}

/// What copies of a record there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    /// How many other nodes should have one.
    pub(crate) wanted: usize,
    /// How many say that they do.
    pub(crate) made: usize,
}

impl Shared {
    /// Registers a module on this node, and under its name on others.
    ///
    /// # Errors
    ///
    /// As [`RegisterError`] says. With [`RegisterError::NotReplicated`] it is registered here, and
    /// copies are made later.
    pub(crate) async fn create(&self, creation: Creation) -> Result<Registered, RegisterError> {
        let Some(name) = creation.name().cloned() else {
            return self.create_unnamed(creation).await;
        };
        let name = match owner_to_write(&name, &self.trust) {
            Ok(plain) => plain,
            Err(NotOurs { owner }) => return Err(RegisterError::OtherOwner { name, owner }),
        };
        let creation = creation.under(Some(name.clone()));
        let (registered, record) = self.create_here(creation, &name).await?;
        let Some(record) = record else { return Ok(registered) };
        self.pass_on(&record, None);
        let copies = self.copy(&record).await;
        if copies.made < copies.wanted {
            self.changed.notify_one();
            return Err(RegisterError::NotReplicated {
                digest: registered.digest,
                wanted: copies.wanted as u32,
                replicas: copies.made as u32,
            });
        }
        Ok(registered)
    }

    /// Registers a module without a name on this node, and tells the network that it is here. What it
    /// is made of is written with it, so that who fetches it does not wait until all of it is read.
    async fn create_unnamed(&self, creation: Creation) -> Result<Registered, RegisterError> {
        let contents = stored(self.library.contents_for(&creation).await)?;
        let module = creation.digest();
        let row = contents.map(|list| rows::contents(&module, list.canonical()));
        let rows = row.into_iter().collect();
        let registered = self.library.local().create_with(creation, rows).await?;
        self.offer(registered.digest);
        Ok(registered)
    }

    /// Registers a module on this node's disk, with a record of its name; without one if its closure
    /// is more than nodes pass to each other.
    async fn create_here(
        &self,
        creation: Creation,
        name: &Name,
    ) -> Result<(Registered, Option<SignedRecord>), RegisterError> {
        let _lock = self.writing.lock(name).await;
        let module = creation.digest();
        let contents = self.library.contents_for(&creation).await;
        let contents = stored(contents)?.filter(|list| self.is_passed_on(name, list));
        let Some(contents) = contents else {
            // What it links to may have gone meanwhile, which is for the registry to say.
            return Ok((self.library.local().create(creation).await?, None));
        };
        let record = match self.issue(name, content(module, &contents)) {
            Ok(record) => record,
            Err(IssueError::Next(NoSuccessor::Taken { module: digest })) => {
                return Err(taken(name, digest));
            }
            Err(error) => return Err(StorageError::from(io::Error::other(error)).into()),
        };
        let rows = vec![rows::record(&record), rows::contents(&module, contents.canonical())];
        let registered = self.library.local().create_with(creation, rows).await?;
        self.learn(&record, Interest::Wanted);
        self.knowledge().repair.held(record.key(), self.own);
        Ok((registered, Some(record)))
    }

    /// Whether a closure is no more than nodes pass to each other.
    fn is_passed_on(&self, name: &Name, contents: &Contents) -> bool {
        let (bytes, most) = (contents.bytes(), self.library.closure_bytes());
        if bytes > most {
            tracing::warn!(%name, bytes, most, "too large for other nodes: it stays on this one");
        }
        bytes <= most
    }

    /// The record that gives an own name this content: the one that there is if it says so and lasts,
    /// else the next.
    fn issue(&self, name: &Name, content: Content) -> Result<SignedRecord, IssueError> {
        let knowledge = self.knowledge();
        let previous = knowledge.index.of_name(&self.own, name).cloned();
        drop(knowledge);
        let Some(previous) = previous else {
            let first = NameRecord::first(self.network, self.own, name.clone(), content, now());
            return Ok(SignedRecord::sign(&first, &self.keypair)?);
        };
        let stated = previous.record();
        if stated.meaning() == Some(content.module) && !stated.is_due(now()) {
            return Ok(previous);
        }
        Ok(SignedRecord::sign(&stated.given(content, now())?, &self.keypair)?)
    }

    /// Has the peers that should hold a record keep it, or others in their place.
    pub(crate) async fn copy(&self, record: &SignedRecord) -> Copies {
        let key = record.key();
        let candidates: Vec<PeerId> = {
            let knowledge = self.knowledge();
            let (repair, now) = (&knowledge.repair, self.elapsed());
            let others = repair.live().nearest(&key).filter(|peer| **peer != self.own);
            let believed = others.filter(|peer| repair.is_believed(now, peer));
            believed.take(MAX_ASKED).copied().collect()
        };
        let wanted = candidates.len().min(REPLICAS - 1);
        let mut waiting = candidates.into_iter();
        let mut asked = FuturesUnordered::new();
        let mib = u32::try_from(record.record().bytes >> 20).unwrap_or(u32::MAX);
        let deadline = Instant::now() + PATIENCE + PATIENCE_PER_MIB.saturating_mul(mib);
        let mut made = 0;
        for peer in waiting.by_ref().take(wanted) {
            asked.push(self.ask_to_store(peer, record));
        }
        while made < wanted
            && let Ok(Some(stored)) = timeout_at(deadline, asked.next()).await
        {
            if stored == Stored::Yes {
                made += 1;
            } else if let Some(next) = waiting.next() {
                asked.push(self.ask_to_store(next, record));
            }
        }
        Copies { wanted, made }
    }

    /// Has a peer keep a record and its content.
    pub(crate) async fn ask_to_store(&self, peer: PeerId, record: &SignedRecord) -> Stored {
        let Some(node) = self.node() else { return Stored::Failed };
        let stored = match node.ask(peer, Request::Store(record.bytes().clone())).await {
            Ok(Response::Receipt(Receipt::Stored)) => Stored::Yes,
            Ok(Response::Receipt(Receipt::Newer(newer))) => {
                // Of an own name, somebody else has this node's key, or this disk is an old copy.
                match self.hear(&newer, peer).await {
                    Ok((newer, Applied::New { .. } | Applied::Same))
                        if newer.key() == record.key() && newer.hash() != record.hash() =>
                    {
                        Stored::Yes
                    }
                    _ => Stored::Refused,
                }
            }
            Ok(Response::Receipt(Receipt::Refused(Refusal::OutOfTime))) => {
                if record.record().owner == self.own {
                    self.suspicions.out_of_time();
                }
                Stored::Refused
            }
            Ok(Response::Receipt(Receipt::Refused(Refusal::Busy))) | Err(_) => Stored::Failed,
            Ok(answer) => {
                let name = record.canonical_name();
                tracing::info!(%peer, %name, ?answer, "a peer does not keep a copy");
                Stored::Refused
            }
        };
        let now = self.elapsed();
        let mut knowledge = self.knowledge();
        // The name may have been taken anew meanwhile, and the receipt is for what it meant before.
        let counted = match stored {
            Stored::Yes if knowledge.is_superseded(record) => Stored::Failed,
            stored => stored,
        };
        knowledge.repair.store_ended(now, &peer, &record.key(), counted, &mut rand::rng());
        stored
    }

    /// Deletes what this node registered, here and everywhere.
    ///
    /// # Errors
    ///
    /// As [`DeleteError`] says.
    pub(crate) async fn delete(&self, reference: Reference) -> Result<(), DeleteError> {
        let name = match reference {
            Reference::Name(name) => name,
            Reference::Digest(module) => {
                self.library.local().delete(reference).await?;
                self.withdraw(module).await;
                return Ok(self.library.forget_contents(module).await?);
            }
        };
        let plain = match owner_to_write(&name, &self.trust) {
            Ok(plain) => plain,
            Err(NotOurs { owner }) => return Err(DeleteError::OtherOwner { name, owner }),
        };
        let _lock = self.writing.lock(&plain).await;
        let record = self.knowledge().index.of_name(&self.own, &plain).cloned();
        let Some(record) = record.filter(|record| !record.record().tombstone) else {
            let entry = self.library.resolve(&plain).await?;
            self.library.local().delete(Reference::Name(plain.clone())).await?;
            if let Some(entry) = entry.filter(|entry| entry.name == plain) {
                self.library.forget_contents(entry.digest).await?;
            }
            return Ok(());
        };
        let tombstone = self.tombstone(&record).map_err(io::Error::other);
        let tombstone = tombstone.map_err(StorageError::from)?;
        let row = rows::record(&tombstone);
        let deleting = self.library.local().delete_with(Reference::Name(plain), vec![row.clone()]);
        match deleting.await {
            // This disk has lost it, and the network has not.
            Err(DeleteError::Registry(RegistryError::UnknownName(_))) => {
                self.library.local().write(vec![row]).await?;
            }
            deleted => deleted?,
        }
        self.learn(&tombstone, Interest::Wanted);
        self.knowledge().repair.released(&tombstone.key());
        self.pass_on(&tombstone, None);
        Ok(self.library.forget_contents(record.record().module).await?)
    }

    /// Tells the network of a name that is on this disk, and that it does not know.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub(crate) async fn adopt(&self, name: &Name, module: Digest) -> Result<(), StorageError> {
        let contents = stored(self.library.contents(module).await)?;
        let Some(contents) = contents.filter(|list| self.is_passed_on(name, list)) else {
            return Ok(());
        };
        match self.issue(name, content(module, &contents)) {
            Ok(record) => {
                self.library.local().write(vec![rows::record(&record)]).await?;
                self.learn(&record, Interest::Wanted);
                self.knowledge().repair.held(record.key(), self.own);
            }
            Err(error) => tracing::warn!(%error, %name, "a name is not told to the network"),
        }
        Ok(())
    }

    /// Releases what is on this disk under a name of which there is no record that says so.
    pub(crate) async fn release_name(&self, name: &Name) {
        if let Err(error) = self.library.local().delete(Reference::Name(name.clone())).await {
            tracing::warn!(%error, %name, "what nobody wants any more stays on the disk");
        }
    }

    fn tombstone(&self, record: &SignedRecord) -> Result<SignedRecord, IssueError> {
        Ok(SignedRecord::sign(&record.record().deleted(now())?, &self.keypair)?)
    }

    /// Issues the own records anew that are due.
    pub(crate) async fn refresh_own(&self) {
        let due: Vec<SignedRecord> = {
            let knowledge = self.knowledge();
            let due = knowledge.index.own().filter(|record| record.record().is_due(now()));
            due.take(REFRESHED).cloned().collect()
        };
        for record in due {
            if let Err(error) = self.refresh(&record).await {
                tracing::warn!(%error, name = %record.canonical_name(), "a name will expire");
            }
        }
    }

    async fn refresh(&self, record: &SignedRecord) -> Result<(), IssueError> {
        let _lock = self.writing.lock(&record.record().name).await;
        // It may have been deleted meanwhile.
        let record = self.record(&record.key()).filter(|record| record.record().is_due(now()));
        let Some(record) = record else { return Ok(()) };
        let next = SignedRecord::sign(&record.record().refreshed(now())?, &self.keypair)?;
        if matches!(self.learn(&next, Interest::Wanted), Applied::New { .. }) {
            self.library.local().write(vec![rows::record(&next)]).await?;
            self.pass_on(&next, None);
        }
        Ok(())
    }
}

/// What a record says of a module that is made of this.
fn content(module: Digest, contents: &Contents) -> Content {
    Content { module, contents: ContentsId::of(contents), bytes: contents.bytes() }
}

/// Why there is no record of an own name.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error(transparent)]
    Next(#[from] NoSuccessor),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// That the network knows an own name as another module's, which this disk does not.
fn taken(name: &Name, digest: Digest) -> RegisterError {
    let reason = match name.version() {
        Some(_) => NameTakenReason::WasOtherContent { digest },
        None => NameTakenReason::OtherContent { digest },
    };
    RegisterError::NameTaken { name: name.clone(), by: name.clone(), reason }
}
