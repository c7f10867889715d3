//! All the records that a node knows of, in memory.
//!
//! A node keeps every record that it hears of, as long as it is valid, so that names are looked up
//! without asking anybody. The room for that is bounded for each owner and for all of them. When it
//! is full, whoever has little of it is let in at the cost of whoever has most. The node's own records
//! have room of their own, and so have those whose content it holds for their owners; those of trusted
//! and pinned owners do not give way.

mod loose;
mod order;
mod room;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use libp2p::PeerId;
use wasm_exec_registry::{Digest, Name};

use crate::Key;
use crate::protocol::{Entry, Refusal};
use crate::recent::Recent;
use crate::record::{NameRecord, Seconds, Selected, SignedRecord, select};
use loose::Loose;
use order::{ByText, FIRST_KEY, LAST_KEY};

/// The most records that [`Index::claims`] tells of one name.
pub(crate) const MAX_CLAIMS: usize = 16;

/// Of how many records it is remembered that there was no room for them.
const MAX_PASSED: usize = 65_536;

/// How many records an index holds. One takes some 3 KiB of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexLimits {
    /// The most records, not counted the node's own and those whose content it holds.
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
    by_owner: BTreeMap<PeerId, Owner>,
    tombstones: usize,
    /// The keys of others' records whose content is held here, which is bounded elsewhere.
    held: BTreeSet<Key>,
    trusted: BTreeSet<PeerId>,
    pinned: BTreeSet<PeerId>,
    /// How many records do not give way because they are of a trusted or a pinned owner.
    kept: usize,
    /// Those that are neither own nor held nor kept.
    loose: Loose,
    /// The hashes of records that there was no room for among all.
    passed: Recent,
    /// The hashes of records beyond their owners' share.
    excess: Recent,
    /// Whether there has been room since expired records were last looked for.
    had_room: bool,
    /// How often there was no room for a record.
    turned_away: u64,
}

/// Somebody who has records.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    /// The peer id as names have it: to print one takes longer than to find a name.
    id: String,
    /// How many.
    records: usize,
}

/// Why a record is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Somebody tells of it.
    Told,
    /// Somebody here asks for it, so it takes the place of another if there is no room.
    Wanted,
}

/// What became of a record that was to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It was not known, and is now.
    New {
        /// Whether the name means something else than before; a record that was only issued again
        /// changes nothing.
        meaning_changed: bool,
        /// The record that is not known any more, for this one to have room.
        displaced: Option<SignedRecord>,
    },
    /// It is known.
    Same,
    /// This one is known, which supersedes it.
    Older(SignedRecord),
    /// This one is known, which the owner may not contradict: see [`Selected::Forbidden`].
    Forbidden(SignedRecord),
    /// It is as good as any other, and there is no room for it.
    NoRoom,
    /// It is out of time, or its owner has its share.
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
            held: BTreeSet::new(),
            trusted: BTreeSet::new(),
            pinned: BTreeSet::new(),
            kept: 0,
            loose: Loose::default(),
            passed: Recent::new(MAX_PASSED),
            excess: Recent::new(MAX_PASSED),
            had_room: true,
            turned_away: 0,
        }
    }

    /// Takes a record of this network, if it holds against the one that is known and there is room.
    pub(crate) fn apply(
        &mut self,
        record: SignedRecord,
        interest: Interest,
        now: Seconds,
    ) -> Applied {
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
            return self.apply_first(record, interest);
        };
        match select(&held, &record) {
            Selected::Newer => {
                let meaning_changed = held.record().meaning() != record.record().meaning();
                self.unlink(&held);
                self.link(record);
                Applied::New { meaning_changed, displaced: None }
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
    /// node's clock at least, and whether or not there is room: what gives way is decided when it is
    /// known what is held ([`Index::trim`]).
    pub(crate) fn take_back(&mut self, record: SignedRecord) {
        if !self.records.contains_key(&record.key()) {
            self.link(record);
        }
    }

    /// Takes a record of whose key there is none.
    fn apply_first(&mut self, record: SignedRecord, interest: Interest) -> Applied {
        let displaced = match self.place_for(&record, interest) {
            Ok(Some(key)) => self.displace(&key),
            Ok(None) => None,
            Err(refused) => return refused,
        };
        let meaning_changed = record.record().meaning().is_some();
        self.link(record);
        Applied::New { meaning_changed, displaced }
    }

    fn count_of(&self, owner: &PeerId) -> usize {
        self.by_owner.get(owner).map_or(0, |owner| owner.records)
    }

    /// Forgets the records that have expired, and gives them.
    pub(crate) fn expire(&mut self, now: Seconds) -> Vec<SignedRecord> {
        let due = self.by_expiry.range(..(now, FIRST_KEY));
        let keys: Vec<Key> = due.map(|&(_, key)| key).collect();
        let expired: Vec<_> = keys.iter().filter_map(|key| self.remove(key)).collect();
        if !expired.is_empty() {
            self.excess.clear();
        }
        // While there is room, comparing with others brings what there was none for.
        let has_room = !self.is_full();
        if has_room && self.had_room {
            self.passed.clear();
        }
        self.had_room = has_room;
        expired
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
    /// last one of its key that was forbidden, or there was no room for it and is none.
    pub(crate) fn knows(&self, key: &Key, hash: &Key) -> bool {
        match self.records.get(key) {
            Some(known) => known.hash() == *hash || self.forbidden.get(key) == Some(hash),
            None => self.excess.contains(hash) || self.is_full() && self.passed.contains(hash),
        }
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
        let id = self.id_of(owner);
        let itself = id.and_then(|id| self.by_name.get(format!("{id}:{label}").as_str()));
        let versions = id.into_iter().flat_map(move |id| {
            // The character after the at sign is `A`.
            let [from, to] = ['@', 'A'].map(|end| format!("{id}:{label}{end}"));
            self.by_name.range::<str, _>((Included(&*from), Excluded(&*to)))
        });
        itself.into_iter().chain(versions.map(|(_, record)| record))
    }

    /// What one owner says of exactly this name; its namespace does not count.
    pub(crate) fn of_name(&self, owner: &PeerId, name: &Name) -> Option<&SignedRecord> {
        let namespace = name.namespace().map_or(0, |namespace| namespace.len() + 1);
        let plain = &name.as_str()[namespace..];
        self.by_name.get(format!("{}:{plain}", self.id_of(owner)?).as_str())
    }

    /// How names have an owner, if there is a record of that owner's.
    fn id_of(&self, owner: &PeerId) -> Option<&str> {
        self.by_owner.get(owner).map(|owner| &*owner.id)
    }

    /// Who has records of this label or of versions of it, in the order of their ids, and how many.
    pub(crate) fn owners(&self, label: &str) -> impl Iterator<Item = (&PeerId, usize)> {
        let owners = self.by_label.get(label).into_iter().flatten();
        owners.map(|(owner, count)| (owner, *count))
    }

    /// What this key has, and those after it that begin with the same byte, in their order.
    pub(crate) fn entries_from(&self, key: &Key) -> impl Iterator<Item = Entry> {
        let records = self.records.range(key.rest_of_part());
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
        self.take_room(*owner, key);
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
        let new = || Owner { id: owner.to_string(), records: 0 };
        self.by_owner.entry(*owner).or_insert_with(new).records += 1;
        self.records.insert(key, signed);
    }

    /// Undoes [`Index::link`].
    fn unlink(&mut self, signed: &SignedRecord) {
        let NameRecord { owner, name, module, not_after, tombstone, .. } = signed.record();
        let key = signed.key();
        self.leave_room(owner, &key);
        self.records.remove(&key);
        self.hashes.remove(&signed.hash());
        self.by_claim.remove(&(signed.claim(), key));
        self.by_module.remove(&(*module, key));
        self.tombstones -= usize::from(*tombstone);
        self.by_expiry.remove(&(*not_after, key));
        self.by_name.remove(signed.canonical_name().as_str());
        if let Some(of_owner) = self.by_owner.get_mut(owner) {
            of_owner.records -= 1;
            if of_owner.records == 0 {
                self.by_owner.remove(owner);
            }
        }
        if let Some(owners) = self.by_label.get_mut(name.label()) {
            order::decrement(owners, owner);
            if owners.is_empty() {
                self.by_label.remove(name.label());
            }
        }
    }
}
