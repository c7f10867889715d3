//! What names mean, and where content is that is not here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use libp2p::PeerId;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use wasm_exec_registry::{Backend, Digest, Entry, Name, RegistryError};

use crate::Key;
use crate::fetching::Wanted;
use crate::index::{Applied, Interest, MAX_CLAIMS};
use crate::knowledge::Knowledge;
use crate::names::{self, Meaning, owner_to_write};
use crate::node::{Node, REQUESTS_PER_SECOND};
use crate::pace::Pace;
use crate::protocol::{MAX_RECORDS, Refusal, Request, Response};
use crate::record::{NameRecord, SignedRecord};
use crate::rows;
use crate::shared::{Shared, now};

/// How long the network is asked for what is not known here.
const PATIENCE: Duration = Duration::from_millis(2500);

/// After how long without an answer another peer is asked: about two round trips on a WAN.
const HEDGE: Duration = Duration::from_millis(150);

/// How many of the live peers, and of those closest to it, are asked for a record.
const MAX_ASKED: usize = 8;

/// How many look-ups go on at once; more wait.
const LOOKUPS: usize = 64;

/// How many look-ups of names begin in a second, over time, and at once: each asks a peer once, and so
/// many that nobody knows must not be more than what peers take.
const LOOKUPS_PER_SECOND: u32 = REQUESTS_PER_SECOND / 3;
const LOOKUP_BURST: u32 = 4 * LOOKUPS_PER_SECOND;

/// For how long what nobody has is not asked for again.
const ABSENCE: Duration = Duration::from_secs(10);

/// How much that nobody has is remembered.
const MAX_ABSENT: usize = 4096;

/// Of how many modules it is remembered which record they were asked for by.
const MAX_MEANT: usize = 4096;

/// Of how many names it is remembered that this disk does not have them.
const MAX_ELSEWHERE: usize = 4096;

/// Bounds of asking the network.
#[derive(Debug)]
pub(crate) struct Lookups {
    places: Semaphore,
    pace: Pace,
    absent: Mutex<HashMap<Key, Instant>>,
    /// By modules, the record that a name was found to mean it by, last. Others may state anything of
    /// the same module, and whoever calls the name is to be served by what its owner states.
    meant: Cache<Digest, Key>,
    /// Names that mean nothing on this disk, as of its generation: whoever calls what is another's
    /// would have the disk asked in vain each time, and for the label once more.
    elsewhere: Cache<Name, u64>,
}

impl Lookups {
    pub(crate) fn new() -> Self {
        Self {
            places: Semaphore::new(LOOKUPS),
            pace: Pace::new(LOOKUPS_PER_SECOND, LOOKUP_BURST, Instant::now()),
            absent: Mutex::default(),
            meant: Cache::new(MAX_MEANT),
            elsewhere: Cache::new(MAX_ELSEWHERE),
        }
    }

    fn is_absent(&self, key: &Key) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(key).is_some_and(|since| since.elapsed() < ABSENCE)
    }

    fn remember_absent(&self, key: Key) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MAX_ABSENT {
            absent.retain(|_, since| since.elapsed() < ABSENCE);
        }
        if absent.len() < MAX_ABSENT {
            absent.insert(key, Instant::now());
        }
    }
}

impl Shared {
    /// What a name means here: this node's own, or what the network says of another's.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NameConflict`] where owners disagree, [`RegistryError::LookupTimeout`] where
    /// nobody answered who might know.
    pub(crate) async fn resolve(&self, name: &Name) -> Result<Option<Entry>, RegistryError> {
        if let Ok(plain) = owner_to_write(name, &self.trust)
            && let Some(entry) = self.resolve_here(&plain).await?
        {
            return Ok(Some(entry));
        }
        // A label that is this node's is so in all versions.
        let is_own = name.namespace().is_none()
            && self.resolve_here(&name.without_version()).await?.is_some();
        let meaning = match self.meaning(name, is_own).await? {
            Meaning::Unknown if !self.knows_all(name) => {
                self.look_up(name).await?;
                self.meaning(name, is_own).await?
            }
            meaning => meaning,
        };
        match meaning {
            Meaning::Record(record) => {
                self.lookups.meant.insert(record.record().module, record.key());
                Ok(Some(entry(&record)))
            }
            Meaning::Conflict(owners) => {
                Err(RegistryError::NameConflict { name: name.clone(), owners })
            }
            Meaning::Own(_) | Meaning::Unknown | Meaning::UnknownOwner => Ok(None),
        }
    }

    /// What a name without a namespace means on this disk.
    async fn resolve_here(&self, name: &Name) -> Result<Option<Entry>, RegistryError> {
        let generation = self.library.local().generation();
        if self.lookups.elsewhere.get(name) == Some(generation) {
            return Ok(None);
        }
        let entry = self.library.resolve(name).await?;
        if entry.is_none() {
            self.lookups.elsewhere.insert(name.clone(), generation);
        }
        Ok(entry)
    }

    /// What the known records say that a name means. The first owner that a plain name means stays
    /// it, also after a restart.
    async fn meaning(&self, name: &Name, is_own: bool) -> Result<Meaning, RegistryError> {
        let (meaning, pin) = {
            let knowledge = self.knowledge();
            names::meaning(name, &knowledge.index, is_own, &self.trust, &knowledge.pins, now())
        };
        let Some(pin) = pin else { return Ok(meaning) };
        let row = rows::pin(&pin);
        if !self.knowledge().pin(pin) {
            // Another request pinned it to another owner meanwhile.
            let knowledge = self.knowledge();
            let (index, pins) = (&knowledge.index, &knowledge.pins);
            return Ok(names::meaning(name, index, is_own, &self.trust, pins, now()).0);
        }
        self.library.local().write(vec![row]).await?;
        Ok(meaning)
    }

    /// Whether what is not known of a name here is known nowhere, as far as anybody can tell: all live
    /// peers that answer have been asked for all their records, and there was room for what they told.
    fn knows_all(&self, name: &Name) -> bool {
        let knowledge = self.knowledge();
        let owner = self.owner_of(name, &knowledge);
        !knowledge.index.is_partial(owner.as_ref())
            && knowledge.compared.is_complete(self.elapsed())
    }

    /// Asks those who should know for the records of a name.
    async fn look_up(&self, name: &Name) -> Result<(), RegistryError> {
        let Some(node) = self.node() else { return Ok(()) };
        let key = self.look_up_key(name);
        if self.lookups.is_absent(&key) {
            return Ok(());
        }
        if !self.lookups.pace.turn_within(PATIENCE).await {
            return Err(RegistryError::LookupTimeout);
        }
        // The semaphore is never closed.
        let _place = self.lookups.places.acquire().await;
        let mut answers = Answers::default();
        let in_time = timeout(PATIENCE, self.ask_for(node, key, &mut answers)).await.is_ok();
        match answers {
            Answers { found: true, .. } => {}
            // Whoever is silent does not make unknown into doubtful what others have answered.
            Answers { unknown: 1.., .. } => self.lookups.remember_absent(key),
            // There was nobody to ask.
            Answers { asked: 0, .. } if in_time => {}
            Answers { .. } => return Err(RegistryError::LookupTimeout),
        }
        Ok(())
    }

    /// Where records of a name are: of one owner's name under its own key, of a plain one under what
    /// all claims of the name have in common.
    fn look_up_key(&self, name: &Name) -> Key {
        let plain = name.without_namespace();
        let owner = self.owner_of(name, &self.knowledge());
        match owner {
            Some(owner) => NameRecord::key_of(&self.network, &owner, &plain),
            None => NameRecord::claim_key(&self.network, &plain),
        }
    }

    /// Whose a name is, if that is known: by its namespace, or because it is pinned.
    fn owner_of(&self, name: &Name, knowledge: &Knowledge) -> Option<PeerId> {
        let pinned = || knowledge.pins.get(name.label()).copied();
        self.trust.owner(name).or_else(pinned)
    }

    /// Asks peers for records, one more whenever those that were asked are silent: the nearest live ones
    /// at once, since in a network without routing, as a LAN may be, those who know are connected; and
    /// those closest to the key, who go before what is left of the others, when they are found. To find
    /// them takes as long as any peer on the way to them keeps silent.
    async fn ask_for(&self, node: &Node, key: Key, answers: &mut Answers) {
        let mut closest = pin!(node.closest(key));
        let mut is_looking = true;
        let mut waiting: VecDeque<_> = self.nearest_live(&key).into();
        let mut seen: HashSet<_> = waiting.iter().copied().collect();
        let mut asking = FuturesUnordered::new();
        loop {
            if let Some(peer) = waiting.pop_front() {
                answers.asked += 1;
                asking.push(async move { (peer, node.ask(peer, Request::Find(vec![key])).await) });
            } else if asking.is_empty() && !is_looking {
                return;
            }
            let (peer, answer) = tokio::select! {
                found = &mut closest, if is_looking => {
                    is_looking = false;
                    let found = found.into_iter().take(MAX_ASKED);
                    let new: Vec<_> = found.filter(|peer| seen.insert(*peer)).collect();
                    new.into_iter().rev().for_each(|peer| waiting.push_front(peer));
                    continue;
                }
                Some(answered) = asking.next() => answered,
                () = sleep(HEDGE), if !waiting.is_empty() => continue,
            };
            let Ok(Response::Records(records)) = answer else { continue };
            self.hear_wanted(&records, peer, &key).await;
            if self.knows(&key) {
                answers.found = true;
                return;
            }
            answers.unknown += 1;
        }
    }

    /// Whether a record is known under this key, or a claim.
    fn knows(&self, key: &Key) -> bool {
        let index = &self.knowledge().index;
        index.get(key).is_some() || index.claims(key).next().is_some()
    }

    /// Takes in what a peer knows, and says how much of it was new. What is known already is not
    /// verified again.
    pub(crate) async fn hear_all(&self, records: &[Bytes], peer: PeerId) -> usize {
        let (mut new, mut forged) = (0, 0);
        for record in records.iter().take(MAX_RECORDS) {
            if self.knowledge().index.holds(record) {
                continue;
            }
            match self.hear(record, peer).await {
                Ok((_, applied)) => new += usize::from(matches!(applied, Applied::New { .. })),
                Err(refusal) => {
                    forged += usize::from(refusal == Refusal::Invalid);
                    tracing::debug!(%peer, ?refusal, "what a peer tells is worth nothing");
                }
            }
        }
        self.charge_forged(peer, forged).await;
        new
    }

    /// The same of what it answers when it is asked for this key. The first records that are what was
    /// asked for are taken in also where there is no room.
    async fn hear_wanted(&self, records: &[Bytes], peer: PeerId, key: &Key) {
        let (mut wanted, mut forged) = (0, 0);
        for record in records.iter().take(MAX_RECORDS) {
            let record = match self.verified(record) {
                Ok(record) => record,
                Err(refusal) => {
                    forged += usize::from(refusal == Refusal::Invalid);
                    continue;
                }
            };
            let is_wanted = wanted < MAX_CLAIMS && [record.key(), record.claim()].contains(key);
            wanted += usize::from(is_wanted);
            let interest = if is_wanted { Interest::Wanted } else { Interest::Told };
            let _ = self.take_in(&record, peer, interest).await;
        }
        self.charge_forged(peer, forged).await;
    }

    /// Has a module on the disk that may be elsewhere: whether it is.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub(crate) async fn obtain(&self, module: Digest) -> Result<bool, RegistryError> {
        let records = self.records_of(&module);
        for record in &records {
            match self.fetch_record(record, None).await {
                Ok(()) => return Ok(true),
                Err(error) if error.is_ours() => return Err(error.into()),
                Err(error) => {
                    let name = record.canonical_name();
                    tracing::warn!(%error, %name, "the content of a name is not to be had");
                }
            }
        }
        if self.obtain_unnamed(module).await? {
            return Ok(true);
        }
        match records.is_empty() {
            true => Ok(false),
            // It is somewhere: its owner says so.
            false => Err(RegistryError::LookupTimeout),
        }
    }

    /// Records that say what a module is made of, the one first that a name was found to mean it by.
    fn records_of(&self, module: &Digest) -> Vec<SignedRecord> {
        let meant = self.lookups.meant.get(module);
        let knowledge = self.knowledge();
        let meant = meant.and_then(|key| knowledge.index.get(&key));
        let meant = meant.filter(|record| record.record().meaning() == Some(*module));
        let others = knowledge.index.by_module(module);
        let others = others.filter(|record| meant.is_none_or(|meant| meant.key() != record.key()));
        meant.into_iter().chain(others).take(MAX_ASKED).cloned().collect()
    }

    /// The same of what no record tells of.
    async fn obtain_unnamed(&self, module: Digest) -> Result<bool, RegistryError> {
        let key = Key::from_bytes(*module.as_bytes());
        let Some(node) = self.node().filter(|node| !node.peers().is_empty()) else {
            return Ok(false);
        };
        if self.lookups.is_absent(&key) {
            return Ok(false);
        }
        // In a network without routing, as a LAN may be, those who have it are connected. They come
        // first: anybody may be on record as a provider, and crowds are.
        let mut sources = self.nearest_live(&key);
        for peer in self.providers(node, key).await {
            if !sources.contains(&peer) {
                sources.push(peer);
            }
        }
        match self.fetch(Wanted::unnamed(module, sources)).await {
            Ok(()) => return Ok(true),
            Err(error) if error.is_ours() => return Err(error.into()),
            Err(error) => tracing::debug!(%error, %module, "a module is not to be had"),
        }
        self.lookups.remember_absent(key);
        Ok(false)
    }

    /// Who is on record as having a module.
    async fn providers(&self, node: &Node, key: Key) -> Vec<PeerId> {
        // The semaphore is never closed.
        let _place = self.lookups.places.acquire().await;
        timeout(PATIENCE, node.providers(key)).await.unwrap_or_default()
    }

    /// Some of the live peers, the nearest to a key first.
    fn nearest_live(&self, key: &Key) -> Vec<PeerId> {
        let knowledge = self.knowledge();
        let others = knowledge.repair.live().nearest(key).filter(|peer| **peer != self.own);
        others.take(MAX_ASKED).copied().collect()
    }
}

/// What came of asking, so far.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// How many peers were asked.
    asked: usize,
    /// How many of them answered, and know nothing.
    unknown: usize,
    /// Whether one of them knows it.
    found: bool,
}

/// What a record of another's says, as the registry has it.
fn entry(record: &SignedRecord) -> Entry {
    let stated = record.record();
    Entry {
        name: record.canonical_name().clone(),
        digest: stated.module,
        registered_at: UNIX_EPOCH + Duration::from_secs(stated.issued_at),
    }
}
