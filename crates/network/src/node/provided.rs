//! Which peers provide what, as far as this node keeps it for the network: what libp2p's Kademlia
//! asks for as its record store.
//!
//! There are no values in it: names travel by the store protocol, where they are verified. What
//! peers say that they provide is a hint, which is bounded for each of them and for all together
//! and may be wrong.

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{K_VALUE, ProviderRecord, Record, RecordKey};

use super::config::PeerBounds;

/// The longest key that is kept: ours have 32 bytes.
const MAX_KEY_BYTES: usize = 64;

/// The most addresses of a provider that are kept.
const MAX_ADDRESSES: usize = 8;

/// Provider records, of this node and of others.
pub(super) struct Provided {
    local: PeerId,
    per_peer: usize,
    all: usize,
    own: HashMap<RecordKey, ProviderRecord>,
    foreign: HashMap<RecordKey, Vec<ProviderRecord>>,
    /// How many records of `foreign` are of each peer.
    counts: HashMap<PeerId, usize>,
    total: usize,
}

impl Provided {
    pub(super) fn new(local: PeerId, bounds: &PeerBounds) -> Self {
        Self {
            local,
            per_peer: bounds.provided_keys,
            all: bounds.all_provided_keys,
            own: HashMap::new(),
            foreign: HashMap::new(),
            counts: HashMap::new(),
            total: 0,
        }
    }

    /// Whether there is room for another record of `peer`, or could be made by dropping what has
    /// expired.
    fn has_room(&mut self, peer: &PeerId) -> bool {
        if self.is_full(peer) {
            self.drop_expired();
        }
        !self.is_full(peer)
    }

    fn is_full(&self, peer: &PeerId) -> bool {
        self.total >= self.all || self.counts.get(peer).is_some_and(|&count| count >= self.per_peer)
    }

    fn drop_expired(&mut self) {
        let now = Instant::now();
        self.foreign.retain(|_, records| {
            records.retain(|record| !record.is_expired(now));
            !records.is_empty()
        });
        self.counts.clear();
        for record in self.foreign.values().flatten() {
            *self.counts.entry(record.provider).or_default() += 1;
        }
        self.total = self.counts.values().sum();
    }

    fn add_foreign(&mut self, record: ProviderRecord) -> Result<()> {
        if let Some(known) = self.foreign.get_mut(&record.key) {
            if let Some(same) = known.iter_mut().find(|known| known.provider == record.provider) {
                *same = record;
                return Ok(());
            }
            if known.len() >= K_VALUE.get() {
                return Err(Error::MaxProvidedKeys);
            }
        }
        if !self.has_room(&record.provider) {
            return Err(Error::MaxProvidedKeys);
        }
        *self.counts.entry(record.provider).or_default() += 1;
        self.total += 1;
        self.foreign.entry(record.key.clone()).or_default().push(record);
        Ok(())
    }
}

impl RecordStore for Provided {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().len() > MAX_KEY_BYTES {
            return Err(Error::ValueTooLarge);
        }
        record.addresses.truncate(MAX_ADDRESSES);
        if record.provider == self.local {
            if self.own.len() >= self.all && !self.own.contains_key(&record.key) {
                return Err(Error::MaxProvidedKeys);
            }
            self.own.insert(record.key.clone(), record);
            return Ok(());
        }
        self.add_foreign(record)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let foreign = self.foreign.get(key).into_iter().flatten();
        self.own.get(key).into_iter().chain(foreign).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own.values().map(Cow::Borrowed).collect::<Vec<_>>().into_iter()
    }

    fn remove_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        if *peer == self.local {
            self.own.remove(key);
            return;
        }
        let Some(records) = self.foreign.get_mut(key) else { return };
        let before = records.len();
        records.retain(|record| record.provider != *peer);
        let removed = before - records.len();
        if records.is_empty() {
            self.foreign.remove(key);
        }
        self.total -= removed;
        if let Some(count) = self.counts.get_mut(peer) {
            *count -= removed;
            if *count == 0 {
                self.counts.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u32, peer: PeerId, expires: Option<Instant>) -> ProviderRecord {
        let mut record = ProviderRecord::new(key.to_be_bytes().to_vec(), peer, Vec::new());
        record.expires = expires;
        record
    }

    fn store(provided_keys: usize, all_provided_keys: usize) -> Provided {
        let bounds = PeerBounds { provided_keys, all_provided_keys, ..PeerBounds::default() };
        Provided::new(PeerId::random(), &bounds)
    }

    #[test]
    fn a_peer_that_provides_too_much_is_refused_and_others_are_not() {
        let mut store = store(2, 3);
        let [greedy, other] = [PeerId::random(), PeerId::random()];
        for key in 0..2 {
            store.add_provider(record(key, greedy, None)).unwrap();
        }
        store.add_provider(record(2, greedy, None)).unwrap_err();
        store.add_provider(record(1, greedy, None)).unwrap();
        store.add_provider(record(2, other, None)).unwrap();
        store.add_provider(record(3, other, None)).unwrap_err();
        store.add_provider(record(3, store.local, None)).unwrap();
        store.remove_provider(&RecordKey::from(0u32.to_be_bytes().to_vec()), &greedy);
        store.add_provider(record(3, other, None)).unwrap();
        assert_eq!(store.providers(&RecordKey::from(3u32.to_be_bytes().to_vec())).len(), 2);
        assert_eq!(store.provided().count(), 1);
    }

    #[test]
    fn what_has_expired_makes_room() {
        let mut store = store(1, 1);
        let [old, new] = [PeerId::random(), PeerId::random()];
        store.add_provider(record(0, old, Some(Instant::now()))).unwrap();
        store.add_provider(record(1, new, None)).unwrap();
        store.add_provider(record(2, old, None)).unwrap_err();
    }

    #[test]
    fn values_are_not_kept() {
        let mut store = store(1, 1);
        store.put(Record::new(b"key".to_vec(), b"value".to_vec())).unwrap_err();
        assert!(store.get(&RecordKey::from(b"key".to_vec())).is_none());
    }
}
