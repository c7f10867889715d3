//! What the parts of a node share: what is on its disk, and what it knows of the network.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use tokio::sync::{Notify, mpsc};
use wasm_exec_registry::{DeleteError, Digest, Name, Reference, RegistryError, Row, StorageError};

use crate::Key;
use crate::fetching::Fetching;
use crate::index::{Applied, Interest};
use crate::knowledge::Knowledge;
use crate::library::Library;
use crate::lookup::Lookups;
use crate::names::Trust;
use crate::network_id::NetworkId;
use crate::node::Node;
use crate::offers;
use crate::protocol::Refusal;
use crate::publishing::Writing;
use crate::recent::Recent;
use crate::record::{MAX_RECORD_BYTES, Seconds, SignedRecord};
use crate::rows;
use crate::suspicions::Suspicions;

/// How many records may wait to be passed on, and how many rows to be written. What finds no room is
/// left to the next comparison with a peer.
const QUEUE: usize = 4096;

/// How many messages that are no records are remembered, so that they are not verified again.
const MAX_FORGED: usize = 16_384;

/// What the parts of a node share.
pub(crate) struct Shared {
    pub(crate) own: PeerId,
    pub(crate) keypair: Keypair,
    pub(crate) network: NetworkId,
    pub(crate) trust: Trust,
    pub(crate) library: Library,
    pub(crate) fetching: Fetching,
    pub(crate) lookups: Lookups,
    pub(crate) writing: Writing,
    pub(crate) suspicions: Suspicions,
    /// Told when there may be something to compare or to repair.
    pub(crate) changed: Notify,
    /// Told when other peers are connected than before, or elsewhere.
    pub(crate) peers_changed: Notify,
    /// Set once, when it has started.
    node: OnceLock<Node>,
    knowledge: Mutex<Knowledge>,
    /// Grows whenever the network changes what a name means here.
    generation: AtomicU64,
    /// The hashes of what was taken for records and is none.
    forged: Mutex<Recent>,
    began: Instant,
    news: mpsc::Sender<News>,
    unwritten: mpsc::Sender<Key>,
    /// Modules without names that the network is to be told of.
    pub(crate) unoffered: mpsc::Sender<Digest>,
}

/// A record to pass on.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) record: Bytes,
    /// Who need not be told.
    pub(crate) from: Option<PeerId>,
}

/// What a node begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) keypair: Keypair,
    pub(crate) network: NetworkId,
    pub(crate) trust: Trust,
    pub(crate) library: Library,
    pub(crate) fetching: Fetching,
    pub(crate) knowledge: Knowledge,
}

/// What waits for the tasks of a node.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) news: mpsc::Receiver<News>,
    /// Keys of records that are to be written.
    pub(crate) unwritten: mpsc::Receiver<Key>,
    /// Modules without names.
    pub(crate) unoffered: mpsc::Receiver<Digest>,
}

impl Shared {
    pub(crate) fn new(beginning: Beginning) -> (Arc<Self>, Queues) {
        let Beginning { keypair, network, trust, library, fetching, knowledge } = beginning;
        let (news, news_queue) = mpsc::channel(QUEUE);
        let (unwritten, unwritten_queue) = mpsc::channel(QUEUE);
        let (unoffered, unoffered_queue) = mpsc::channel(offers::MAX_WAITING);
        let shared = Self {
            own: keypair.public().to_peer_id(),
            keypair,
            network,
            trust,
            library,
            fetching,
            lookups: Lookups::new(),
            writing: Writing::new(),
            suspicions: Suspicions::default(),
            changed: Notify::new(),
            peers_changed: Notify::new(),
            node: OnceLock::new(),
            knowledge: Mutex::new(knowledge),
            generation: AtomicU64::new(0),
            forged: Mutex::new(Recent::new(MAX_FORGED)),
            began: Instant::now(),
            news,
            unwritten,
            unoffered,
        };
        let (news, unwritten, unoffered) = (news_queue, unwritten_queue, unoffered_queue);
        (Arc::new(shared), Queues { news, unwritten, unoffered })
    }

    /// What is known, for as long as nothing is waited for.
    pub(crate) fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how others are reached.
    pub(crate) fn connect(&self, node: Node) {
        // It is called once.
        let _ = self.node.set(node);
    }

    /// How others are reached; `None` while the node starts.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.get()
    }

    /// The peers that are connected directly: a relay carries no more than single questions.
    pub(crate) fn live(&self) -> Vec<PeerId> {
        let Some(node) = self.node() else { return Vec::new() };
        node.peers().direct().map(|peer| peer.id).collect()
    }

    /// The time by the node's own clock, which is what repairing goes by.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How often the network has changed what names mean.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Names may mean something else from here on.
    pub(crate) fn meanings_changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The record under a key.
    pub(crate) fn record(&self, key: &Key) -> Option<SignedRecord> {
        self.knowledge().index.get(key).cloned()
    }

    /// Takes in a record that a peer tells of.
    ///
    /// # Errors
    ///
    /// Why the record is worth nothing here.
    pub(crate) async fn hear(
        &self,
        bytes: &[u8],
        from: PeerId,
    ) -> Result<(SignedRecord, Applied), Refusal> {
        let record = self.verified(bytes)?;
        let applied = self.take_in(&record, from, Interest::Told).await?;
        Ok((record, applied))
    }

    /// The record that these bytes are. What is none at any time is found out once.
    ///
    /// # Errors
    ///
    /// Why they are none that is worth anything here.
    pub(crate) fn verified(&self, bytes: &[u8]) -> Result<SignedRecord, Refusal> {
        // Longer ones are refused before they are looked at.
        let hash = (bytes.len() <= MAX_RECORD_BYTES).then(|| SignedRecord::hash_of(bytes));
        if hash.is_some_and(|hash| self.forged().contains(&hash)) {
            return Err(Refusal::Invalid);
        }
        let verified = SignedRecord::verify(bytes, &self.network, now());
        verified.map_err(|invalid| {
            let refusal = invalid.refusal();
            if refusal == Refusal::Invalid {
                hash.into_iter().for_each(|hash| self.forged().insert(hash));
            }
            refusal
        })
    }

    /// Has a peer charged for a message with so many records that are none. Nobody passes those on who
    /// verifies what it passes on.
    pub(crate) async fn charge_forged(&self, peer: PeerId, records: usize) {
        if records > 0
            && let Some(node) = self.node()
        {
            node.charge_forged(peer, records).await;
        }
    }

    fn forged(&self) -> MutexGuard<'_, Recent> {
        self.forged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether bytes are known to be no record.
    #[cfg(test)]
    pub(crate) fn is_forged(&self, bytes: &[u8]) -> bool {
        self.forged().contains(&SignedRecord::hash_of(bytes))
    }

    /// Takes in a record that a peer sent: what is new is passed on, kept on the disk soon, and acted
    /// upon.
    ///
    /// # Errors
    ///
    /// Why the record is worth nothing here.
    pub(crate) async fn take_in(
        &self,
        record: &SignedRecord,
        from: PeerId,
        interest: Interest,
    ) -> Result<Applied, Refusal> {
        let (applied, is_outdated) = self.apply(record, interest);
        match &applied {
            Applied::New { meaning_changed, .. } => {
                if record.record().owner == self.own {
                    self.suspicions.newer();
                }
                // One that was only issued again spreads when records are compared.
                if *meaning_changed {
                    self.pass_on(record, Some(from));
                }
                // The name may have been deleted and taken anew, and only the latter was heard.
                if record.record().tombstone || is_outdated {
                    self.release(record, vec![rows::record(record)]).await;
                } else {
                    self.write_soon(record.key());
                }
            }
            Applied::Refused(refusal) => return Err(*refusal),
            Applied::Same | Applied::Older(_) | Applied::Forbidden(_) | Applied::NoRoom => {}
        }
        Ok(applied)
    }

    /// Knows a record from here on, if it holds and there is room for it.
    pub(crate) fn learn(&self, record: &SignedRecord, interest: Interest) -> Applied {
        self.apply(record, interest).0
    }

    /// The same, and whether it leaves content on the disk of what its name meant before.
    fn apply(&self, record: &SignedRecord, interest: Interest) -> (Applied, bool) {
        let (applied, is_outdated) = self.knowledge().apply(record, interest, now());
        if let Applied::New { meaning_changed, displaced } = &applied {
            if *meaning_changed {
                self.meanings_changed();
            }
            self.displaced(displaced.as_slice());
        }
        (applied, is_outdated)
    }

    /// The content of a record is on the disk, and the record stays known for it. Says whether it is
    /// held, which it is not if its name means something else by now.
    pub(crate) fn hold(&self, record: &SignedRecord) -> bool {
        let mut knowledge = self.knowledge();
        if knowledge.is_superseded(record) {
            return false;
        }
        let is_new = knowledge.hold(record, &self.own);
        drop(knowledge);
        if is_new {
            self.meanings_changed();
        }
        true
    }

    /// Records are not known any more, for others to have room. Soon they are not on the disk, either.
    fn displaced(&self, records: &[SignedRecord]) {
        if records.is_empty() {
            return;
        }
        for record in records {
            self.knowledge().fingerprints.changed(&record.key());
            self.write_soon(record.key());
        }
        self.meanings_changed();
    }

    /// Has other peers told of a record. Whom it does not reach asks for it when records are compared.
    pub(crate) fn pass_on(&self, record: &SignedRecord, from: Option<PeerId>) {
        let _ = self.news.try_send(News { record: record.bytes().clone(), from });
    }

    /// Has what there is of a key written, a record or none. To lose one costs no more than hearing it
    /// again, and one too many is taken away when the node starts.
    fn write_soon(&self, key: Key) {
        let _ = self.unwritten.try_send(key);
    }

    /// The name that the content of a record is kept under on this disk: without an owner if that is
    /// this node.
    pub(crate) fn local_name<'a>(&self, record: &'a SignedRecord) -> &'a Name {
        match record.record().owner == self.own {
            true => &record.record().name,
            false => record.canonical_name(),
        }
    }

    /// Whether the content of a record is on the disk, under its name.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub(crate) async fn has_content(&self, record: &SignedRecord) -> Result<bool, StorageError> {
        let name = self.local_name(record);
        let entry = self.library.resolve(name).await?;
        Ok(entry.is_some_and(|entry| entry.name == *name && entry.digest == record.record().module))
    }

    /// Releases what is kept under the name of a record: its content is not held any more, and goes
    /// from the disk in the transaction that writes the rows.
    pub(crate) async fn release(&self, record: &SignedRecord, rows: Vec<Row>) {
        let displaced = self.knowledge().release(&record.key());
        self.displaced(&displaced);
        let name = self.local_name(record);
        let reference = Reference::Name(name.clone());
        let local = self.library.local();
        let released = match local.delete_with(reference, rows.clone()).await {
            // Only the record was here.
            Err(DeleteError::Registry(RegistryError::UnknownName(_))) => local.write(rows).await,
            Err(DeleteError::Storage(error)) => Err(error),
            Ok(()) => self.library.forget_contents(record.record().module).await,
            Err(error) => Err(io::Error::other(error).into()),
        };
        if let Err(error) = released {
            tracing::warn!(%error, %name, "what nobody wants any more stays on the disk");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("own", &self.own).finish_non_exhaustive()
    }
}

/// The time as records have it. A clock before 1970 is read as 1970.
pub(crate) fn now() -> Seconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
