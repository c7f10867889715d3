//! What a node holds for others: which content of whose is on its disk, and how much that is.

use std::collections::HashMap;

use libp2p::PeerId;

use crate::Key;

/// How much a node holds for others, in bytes of what records say that their contents have. Content
/// that two records share counts for both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldingLimits {
    /// For all owners together.
    pub(crate) bytes: u64,
    /// For one owner.
    pub(crate) bytes_per_owner: u64,
    /// Records of all owners together.
    pub(crate) records: usize,
}

impl Default for HoldingLimits {
    /// 16 GiB, of which one owner has a quarter at most, and 65,536 records.
    fn default() -> Self {
        Self { bytes: 16 << 30, bytes_per_owner: 4 << 30, records: 1 << 16 }
    }
}

/// The records whose content is held for others.
#[derive(Debug)]
pub(crate) struct Held {
    limits: HoldingLimits,
    records: HashMap<Key, Holding>,
    by_owner: HashMap<PeerId, u64>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    owner: PeerId,
    bytes: u64,
}

impl Held {
    pub(crate) fn new(limits: HoldingLimits) -> Self {
        Self { limits, records: HashMap::new(), by_owner: HashMap::new(), bytes: 0 }
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.records.contains_key(key)
    }

    /// Whether so much more may be held for an owner.
    pub(crate) fn has_room(&self, owner: &PeerId, bytes: u64) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or(0);
        self.records.len() < self.limits.records
            && self.bytes.saturating_add(bytes) <= self.limits.bytes
            && of_owner.saturating_add(bytes) <= self.limits.bytes_per_owner
    }

    pub(crate) fn insert(&mut self, key: Key, owner: PeerId, bytes: u64) {
        self.remove(&key);
        self.records.insert(key, Holding { owner, bytes });
        *self.by_owner.entry(owner).or_default() += bytes;
        self.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(Holding { owner, bytes }) = self.records.remove(key) else { return };
        self.bytes -= bytes;
        if let Some(of_owner) = self.by_owner.get_mut(&owner) {
            *of_owner -= bytes;
            if *of_owner == 0 {
                self.by_owner.remove(&owner);
            }
        }
    }

    /// How many records are held, and their bytes.
    pub(crate) fn totals(&self) -> (usize, u64) {
        (self.records.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; Key::BYTES])
    }

    #[test]
    fn nobody_holds_more_than_the_limits_say() {
        let mut held = Held::new(HoldingLimits { bytes: 100, bytes_per_owner: 60, records: 3 });
        let [one, two] = [(); 2].map(|()| PeerId::random());
        held.insert(key(1), one, 50);
        assert!(held.has_room(&one, 10) && !held.has_room(&one, 11));
        assert!(held.has_room(&two, 50) && !held.has_room(&two, 51));
        assert!(!held.has_room(&two, u64::MAX));
        held.insert(key(2), two, 1);
        held.insert(key(3), two, 0);
        assert!(!held.has_room(&one, 0), "there are three records");
        held.remove(&key(3));
        assert!(held.has_room(&one, 10));
    }

    #[test]
    fn what_is_held_anew_counts_once_and_what_goes_counts_no_more() {
        let mut held = Held::new(HoldingLimits::default());
        let owner = PeerId::random();
        held.insert(key(1), owner, 50);
        held.insert(key(1), owner, 70);
        assert_eq!(held.totals(), (1, 70));
        held.remove(&key(1));
        held.remove(&key(1));
        assert_eq!(held.totals(), (0, 0));
        assert!(held.by_owner.is_empty() && !held.contains(&key(1)));
    }
}
