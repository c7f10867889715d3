//! What a node answers to others, who may say anything.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use libp2p::{PeerId, Stream};
use wasm_exec_registry::{BoxFuture, RegisterError, RegistryError, StorageError};

use crate::Key;
use crate::core::sync;
use crate::fetching::FetchingError;
use crate::index::Applied;
use crate::knowledge::Knowledge;
use crate::library::{AddError, Library};
use crate::node::{Peers, Service};
use crate::pace::Pace;
use crate::protocol::{CopyOf, MAX_KEYS, MAX_RECORDS, Receipt, Refusal, Request, Response};
use crate::shared::Shared;
use crate::transfer::Server;

/// How many records are taken in for others at once. Whoever comes then is told so, and asks another.
const STORES: usize = 16;

/// How many of them one peer may have, so that it takes several to keep a node busy. Repairing asks
/// one peer for as many.
const STORES_OF_ONE: usize = 4;

/// Answers for a node, for as long as there is one.
#[derive(Debug)]
pub(crate) struct Exchange {
    shared: Weak<Shared>,
    content: Server<Library>,
    stores: Mutex<HashMap<PeerId, usize>>,
}

/// A place among the records that are taken in for others.
struct Place<'a> {
    exchange: &'a Exchange,
    peer: PeerId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut stores = self.exchange.stores();
        if let Some(count) = stores.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                stores.remove(&self.peer);
            }
        }
    }
}

impl Exchange {
    pub(crate) fn new(shared: &Arc<Shared>, content: Server<Library>) -> Self {
        Self { shared: Arc::downgrade(shared), content, stores: Mutex::default() }
    }

    fn stores(&self) -> MutexGuard<'_, HashMap<PeerId, usize>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place to take in a record that a peer sent, if there is one.
    fn place(&self, peer: PeerId) -> Option<Place<'_>> {
        let mut stores = self.stores();
        let all: usize = stores.values().sum();
        let count = stores.get(&peer).copied().unwrap_or(0);
        if all >= STORES || count >= STORES_OF_ONE {
            return None;
        }
        stores.insert(peer, count + 1);
        Some(Place { exchange: self, peer })
    }

    async fn answered(&self, peer: PeerId, request: Request) -> Response {
        let Some(shared) = self.shared.upgrade() else { return Response::Refused(Refusal::Busy) };
        match request {
            Request::Store(record) => Response::Receipt(self.store(&shared, peer, &record).await),
            Request::Announce(records) if records.len() <= MAX_RECORDS => {
                shared.hear_all(&records, peer).await;
                Response::Heard
            }
            Request::Find(keys) if keys.len() <= MAX_KEYS => {
                Response::Records(find(&shared, &keys))
            }
            Request::Holds(copies) if copies.len() <= MAX_KEYS => {
                Response::Held(held(&shared, copies))
            }
            Request::Summary => {
                let mut knowledge = shared.knowledge();
                let knowledge = &mut *knowledge;
                Response::Summary(knowledge.fingerprints.summary(&knowledge.index))
            }
            Request::Pages(pages) => match sync::told(&shared.knowledge().index, &pages) {
                Some(told) => Response::Pages(told),
                None => Response::Refused(Refusal::TooMuch),
            },
            Request::Announce(_) | Request::Find(_) | Request::Holds(_) => {
                Response::Refused(Refusal::TooMuch)
            }
        }
    }

    /// Keeps a record and its content.
    async fn store(&self, shared: &Shared, peer: PeerId, record: &[u8]) -> Receipt {
        let (record, applied) = match shared.hear(record, peer).await {
            Ok(heard) => heard,
            Err(refusal) => {
                shared.charge_forged(peer, usize::from(refusal == Refusal::Invalid)).await;
                return Receipt::Refused(refusal);
            }
        };
        match applied {
            Applied::Older(held) => return Receipt::Newer(held.bytes().clone()),
            Applied::Forbidden(_) => return Receipt::Refused(Refusal::Invalid),
            Applied::Refused(refusal) => return Receipt::Refused(refusal),
            // It is kept like any other that is heard, and there is no content to it.
            Applied::New { .. } | Applied::Same if record.record().tombstone => {
                return Receipt::Stored;
            }
            Applied::NoRoom if record.record().tombstone => {
                return Receipt::Refused(Refusal::TooMuch);
            }
            // What is held has room of its own.
            Applied::New { .. } | Applied::Same | Applied::NoRoom => {}
        }
        let Some(_place) = self.place(peer) else { return Receipt::Refused(Refusal::Busy) };
        match shared.fetch_record(&record, Some(peer)).await {
            Ok(()) => Receipt::Stored,
            Err(error) => {
                let name = record.canonical_name();
                tracing::debug!(%error, %name, "a record is not kept for another node");
                Receipt::Refused(refusal(&error))
            }
        }
    }
}

/// The records of names and of claims under these keys.
fn find(shared: &Shared, keys: &[Key]) -> Vec<Bytes> {
    let knowledge = shared.knowledge();
    let mut records = Vec::new();
    for key in keys {
        let named = knowledge.index.get(key).into_iter();
        records.extend(named.chain(knowledge.index.claims(key)).map(|found| found.bytes().clone()));
    }
    records.truncate(MAX_RECORDS);
    records
}

/// Those of the copies that are on the disk.
fn held(shared: &Shared, mut copies: Vec<CopyOf>) -> Vec<CopyOf> {
    let knowledge = shared.knowledge();
    copies.retain(|copy| knowledge.has_copy(copy));
    copies
}

fn refusal(error: &FetchingError) -> Refusal {
    match error {
        FetchingError::Registry(RegistryError::Storage(error))
        | FetchingError::Add(
            AddError::Registry(RegistryError::Storage(error))
            | AddError::Register(RegisterError::Storage(error)),
        ) => match error {
            StorageError::Full(_) => Refusal::Full,
            StorageError::ReadOnly(_) | StorageError::Corrupt { .. } | StorageError::Io(_) => {
                Refusal::Failed
            }
        },
        FetchingError::Registry(_) | FetchingError::Add(AddError::Registry(_)) => Refusal::Failed,
        // Whoever asked will have heard of it, too, by the time it asks again.
        FetchingError::Superseded => Refusal::Busy,
        FetchingError::TooLarge(..) | FetchingError::NoRoom => Refusal::TooMuch,
        // Another name of the owner is in the way, of which the tombstone is still to come.
        FetchingError::Add(AddError::Register(_)) => Refusal::Invalid,
        FetchingError::Alone
        | FetchingError::TooSlow
        | FetchingError::Fetch(_)
        | FetchingError::Contents(_)
        | FetchingError::OtherSize
        | FetchingError::OtherContents
        | FetchingError::Add(AddError::Invalid(_) | AddError::NotThat(_)) => Refusal::NoContent,
    }
}

impl Service for Exchange {
    fn answer(&self, peer: PeerId, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(self.answered(peer, request))
    }

    fn serve(&self, peer: PeerId, stream: Stream, pace: Pace) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.content.serve(stream, &pace).await {
                tracing::debug!(%peer, %error, "a stream of content ended");
            }
        })
    }

    fn changed(&self, peers: &Peers) {
        let Some(shared) = self.shared.upgrade() else { return };
        let peers = peers.direct().map(|peer| peer.id).collect();
        shared.knowledge().meet(shared.own, peers, shared.elapsed());
        shared.changed.notify_one();
        shared.peers_changed.notify_one();
    }
}

impl Knowledge {
    /// These peers are connected directly now, and no others.
    fn meet(&mut self, own: PeerId, peers: HashSet<PeerId>, now: Duration) {
        let known: HashSet<PeerId> = self.repair.live().iter().copied().collect();
        for peer in known.difference(&peers).filter(|peer| **peer != own) {
            self.repair.left(peer);
            self.schedule.gone(peer);
            self.compared.gone(peer, now);
        }
        for peer in peers.difference(&known) {
            self.repair.joined(*peer);
            self.schedule.connected(*peer);
            self.compared.met(*peer, now);
        }
    }
}
