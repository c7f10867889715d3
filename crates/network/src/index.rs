//! All the records that a node knows of, in memory.
//!
//! A node keeps every record that it hears of, as long as it is valid, so that names are looked up
//! without asking anybody. What makes room for that is bounded for each owner and for all of them;
//! only the node's own records always have room.

mod order;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use libp2p::PeerId;
use wasm_exec_registry::{Digest, Name};

use crate::Key;
use crate::protocol::{Entry, Refusal};
use crate::record::{NameRecord, Seconds, Selected, SignedRecord, canonical, select};
use order::{ByText, FIRST_KEY, LAST_KEY};

/// The most records that [`Index::claims`] tells of one name.
pub(crate) const MAX_CLAIMS: usize = 16;

/// How many records an index holds. One takes some 3 KiB of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexLimits {
    /// The most records, the node's own not counted.
    pub(crate) records: usize,
    /// The most records of one other owner, tombstones included.
    pub(crate) per_owner: usize,
}

impl Default for IndexLimits {
    /// 100,000 records, and a twentieth of that for one owner.
    fn default() -> Self {
        Self { records: 100_000, per_owner: 5_000 }
    }
}

/// The records that are known, by all that they are looked for by.
///
/// There is one for each key: the one that [holds](select).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index {
    own: PeerId,
    limits: IndexLimits,
    records: BTreeMap<Key, SignedRecord>,
    /// The hashes of what is in `records`.
    hashes: BTreeSet<Key>,
    /// Under the keys of records, the hash of the last one that was [`Applied::Forbidden`].
    forbidden: BTreeMap<Key, Key>,
    by_claim: BTreeSet<(Key, Key)>,
    by_module: BTreeSet<(Digest, Key)>,
    by_expiry: BTreeSet<(Seconds, Key)>,
    /// By canonical name.
    by_name: BTreeMap<ByText, SignedRecord>,
    /// For each label, how many records its owners have of it.
    by_label: BTreeMap<String, BTreeMap<PeerId, usize>>,
    by_owner: BTreeMap<PeerId, usize>,
    tombstones: usize,
}

/// What became of a record that was to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was not known, and is now. `meaning_changed` says whether the name means something else
    /// than before; a record that was only issued again changes nothing.
    New { meaning_changed: bool },
    /// It is known.
    Same,
    /// This one is known, which supersedes it.
    Older(SignedRecord),
    /// This one is known, which the owner may not contradict: see [`Selected::Forbidden`].
    Forbidden(SignedRecord),
    /// It is out of time, or there is no room for it.
    Refused(Refusal),
}

/// How much an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All records, tombstones included.
    pub(crate) records: usize,
    /// Those of the node's own names.
    pub(crate) own: usize,
    /// Those of names that have been deleted.
    pub(crate) tombstones: usize,
    /// Their owners.
    pub(crate) owners: usize,
}

impl Index {
    /// An index of nothing, of the node with this peer id.
    pub(crate) fn new(limits: IndexLimits, own: PeerId) -> Self {
        Self {
            own,
            limits,
            records: BTreeMap::new(),
            hashes: BTreeSet::new(),
            forbidden: BTreeMap::new(),
            by_claim: BTreeSet::new(),
            by_module: BTreeSet::new(),
            by_expiry: BTreeSet::new(),
            by_name: BTreeMap::new(),
            by_label: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            tombstones: 0,
        }
    }

    /// Takes a record of this network, if it holds against the one that is known and there is room.
    pub(crate) fn apply(&mut self, record: SignedRecord, now: Seconds) -> Applied {
        if let Err(error) = record.record().check_time(now) {
            return Applied::Refused(error.refusal());
        }
        let key = record.key();
        // What is valid supersedes what has expired, whatever else they say; but a version means one
        // module for as long as anybody remembers.
        let supersedes = |held: &SignedRecord| {
            let (held, new) = (held.record(), record.record());
            held.is_expired(now) && (held.name.version().is_none() || held.module == new.module)
        };
        if self.records.get(&key).is_some_and(supersedes) {
            self.remove(&key);
        }
        let Some(held) = self.records.get(&key).cloned() else {
            return self.apply_first(record);
        };
        match select(&held, &record) {
            Selected::Newer => {
                let meaning_changed = held.record().meaning() != record.record().meaning();
                self.unlink(&held);
                self.link(record);
                Applied::New { meaning_changed }
            }
            Selected::Same => Applied::Same,
            Selected::Older => Applied::Older(held),
            Selected::Forbidden => {
                self.forbidden.insert(key, record.hash());
                Applied::Forbidden(held)
            }
        }
    }

    /// Takes back a record that was known when the node ended, also if it has expired since, by this
    /// node's clock at least.
    pub(crate) fn take_back(&mut self, record: SignedRecord) {
        if !self.records.contains_key(&record.key()) && self.has_room_for(&record.record().owner) {
            self.link(record);
        }
    }

    /// Takes a record of whose key there is none.
    fn apply_first(&mut self, record: SignedRecord) -> Applied {
        if !self.has_room_for(&record.record().owner) {
            return Applied::Refused(Refusal::TooMuch);
        }
        let meaning_changed = record.record().meaning().is_some();
        self.link(record);
        Applied::New { meaning_changed }
    }

    fn has_room_for(&self, owner: &PeerId) -> bool {
        let others = self.records.len() - self.count_of(&self.own);
        let share = self.limits.per_owner;
        *owner == self.own || others < self.limits.records && self.count_of(owner) < share
    }

    fn count_of(&self, owner: &PeerId) -> usize {
        self.by_owner.get(owner).copied().unwrap_or_default()
    }

    /// Forgets the records that have expired, and gives them.
    pub(crate) fn expire(&mut self, now: Seconds) -> Vec<SignedRecord> {
        let due = self.by_expiry.range(..(now, FIRST_KEY));
        let keys: Vec<Key> = due.map(|&(_, key)| key).collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Forgets the record with this key, and gives it.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<SignedRecord> {
        let record = self.records.get(key)?.clone();
        self.unlink(&record);
        self.forbidden.remove(key);
        Some(record)
    }

    /// The record with this key.
    pub(crate) fn get(&self, key: &Key) -> Option<&SignedRecord> {
        self.records.get(key)
    }

    /// Whether a record whose bytes have this hash needs not be looked at: it is known, or is the
    /// last one of its key that was forbidden.
    pub(crate) fn knows(&self, key: &Key, hash: &Key) -> bool {
        self.hashes.contains(hash) || self.forbidden.get(key) == Some(hash)
    }

    /// Whether a record with these bytes is known.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        self.hashes.contains(&SignedRecord::hash_of(bytes))
    }

    /// Records with this claim key, in the order of their keys: at most [`MAX_CLAIMS`].
    pub(crate) fn claims(&self, claim: &Key) -> impl Iterator<Item = &SignedRecord> {
        let keys = self.by_claim.range((*claim, FIRST_KEY)..=(*claim, LAST_KEY));
        keys.filter_map(|(_, key)| self.records.get(key)).take(MAX_CLAIMS)
    }

    /// The records, tombstones not among them, of names that mean the module with this digest, in
    /// the order of their keys.
    pub(crate) fn by_module(&self, module: &Digest) -> impl Iterator<Item = &SignedRecord> {
        let keys = self.by_module.range((*module, FIRST_KEY)..=(*module, LAST_KEY));
        keys.filter_map(|(_, key)| self.records.get(key))
    }

    /// What one owner says of a label: of the label itself first, then of its versions, in the order
    /// of their texts.
    pub(crate) fn of_owner(
        &self,
        owner: &PeerId,
        label: &str,
    ) -> impl Iterator<Item = &SignedRecord> {
        let itself = self.by_name.get(format!("{owner}:{label}").as_str());
        // The character after the at sign is `A`.
        let [from, to] = ['@', 'A'].map(|end| format!("{owner}:{label}{end}"));
        let versions = self.by_name.range::<str, _>((Included(&*from), Excluded(&*to)));
        itself.into_iter().chain(versions.map(|(_, record)| record))
    }

    /// What one owner says of exactly this name; its namespace does not count.
    pub(crate) fn of_name(&self, owner: &PeerId, name: &Name) -> Option<&SignedRecord> {
        let canonical = canonical(owner, name).ok()?;
        self.by_name.get(canonical.as_str())
    }

    /// Who has records of this label or of versions of it, in the order of their ids.
    pub(crate) fn owners(&self, label: &str) -> impl Iterator<Item = &PeerId> {
        self.by_label.get(label).into_iter().flat_map(BTreeMap::keys)
    }

    /// What the keys that begin with this byte have, in their order.
    pub(crate) fn entries(&self, part: u8) -> impl Iterator<Item = Entry> {
        let [first, last] = [0, u8::MAX].map(|rest| {
            let mut bytes = [rest; Key::BYTES];
            bytes[0] = part;
            Key::from_bytes(bytes)
        });
        let records = self.records.range(first..=last);
        records.map(|(&key, record)| Entry { key, hash: record.hash() })
    }

    /// The records that this node issued.
    pub(crate) fn own(&self) -> impl Iterator<Item = &SignedRecord> {
        let start = format!("{}:", self.own);
        let names = self.by_name.range::<str, _>((Included(&*start), Unbounded));
        let own = names.map(|(_, record)| record);
        own.take_while(|record| record.record().owner == self.own)
    }

    /// How much there is.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            records: self.records.len(),
            own: self.count_of(&self.own),
            tombstones: self.tombstones,
            owners: self.by_owner.len(),
        }
    }

    fn link(&mut self, signed: SignedRecord) {
        let NameRecord { owner, name, module, not_after, tombstone, .. } = signed.record();
        let key = signed.key();
        self.hashes.insert(signed.hash());
        self.by_claim.insert((signed.claim(), key));
        if *tombstone {
            self.tombstones += 1;
        } else {
            self.by_module.insert((*module, key));
        }
        self.by_expiry.insert((*not_after, key));
        self.by_name.insert(ByText(signed.canonical_name().clone()), signed.clone());
        let owners = self.by_label.entry(name.label().to_owned()).or_default();
        *owners.entry(*owner).or_default() += 1;
        *self.by_owner.entry(*owner).or_default() += 1;
        self.records.insert(key, signed);
    }

    /// Undoes [`Index::link`].
    fn unlink(&mut self, signed: &SignedRecord) {
        let NameRecord { owner, name, module, not_after, tombstone, .. } = signed.record();
        let key = signed.key();
        self.records.remove(&key);
        self.hashes.remove(&signed.hash());
        self.by_claim.remove(&(signed.claim(), key));
        self.by_module.remove(&(*module, key));
        self.tombstones -= usize::from(*tombstone);
        self.by_expiry.remove(&(*not_after, key));
        self.by_name.remove(signed.canonical_name().as_str());
        order::decrement(&mut self.by_owner, owner);
        if let Some(owners) = self.by_label.get_mut(name.label()) {
            order::decrement(owners, owner);
            if owners.is_empty() {
                self.by_label.remove(name.label());
            }
        }
    }
}
