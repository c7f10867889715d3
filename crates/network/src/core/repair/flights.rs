//! What was asked of peers and not reported yet.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;

use super::{LAST, MAX_ASKS, MAX_STORES, MAX_STORES_TO_ONE};
use crate::Key;

/// How long an answer to a question may take.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// How long storing may take: what is fetched for it is up to a graph of modules.
const STORED_WITHIN: Duration = Duration::from_secs(600);

/// Questions by peer and stores by peer and record, each with when it is given up.
#[derive(Debug, Default)]
pub(super) struct Flights {
    asks: BTreeMap<PeerId, (Duration, Vec<Key>)>,
    stores: BTreeMap<(PeerId, Key), Duration>,
}

impl Flights {
    /// How many questions and stores there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.asks.len(), self.stores.len())
    }

    /// Whether this peer is being asked.
    pub(super) fn asks(&self, peer: &PeerId) -> bool {
        self.asks.contains_key(peer)
    }

    /// How many more peers may be asked.
    pub(super) fn asks_left(&self) -> usize {
        MAX_ASKS.saturating_sub(self.asks.len())
    }

    /// `peer` is asked for `keys` now.
    pub(super) fn ask(&mut self, now: Duration, peer: PeerId, keys: Vec<Key>) {
        self.asks.insert(peer, (now + TOLD_WITHIN, keys));
    }

    /// A record is handed to `peer` now; `false` if it may not be.
    pub(super) fn store(&mut self, now: Duration, peer: PeerId, key: Key) -> bool {
        let first = Key::from_bytes([0; Key::BYTES]);
        let to_peer = self.stores.range((peer, first)..=(peer, LAST)).count();
        let may = self.stores.len() < MAX_STORES
            && to_peer < MAX_STORES_TO_ONE
            && !self.stores.contains_key(&(peer, key));
        if may {
            self.stores.insert((peer, key), now + STORED_WITHIN);
        }
        may
    }

    /// What `peer` was asked for, which it is not any more.
    pub(super) fn answered(&mut self, peer: &PeerId) -> Vec<Key> {
        self.asks.remove(peer).map(|(_, keys)| keys).unwrap_or_default()
    }

    /// The record is not on its way to `peer` any more.
    pub(super) fn landed(&mut self, peer: &PeerId, key: &Key) {
        self.stores.remove(&(*peer, *key));
    }

    /// Nothing is asked of `peer` any more.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.asks.remove(peer);
        self.stores.retain(|(to, _), _| to != peer);
    }

    /// The peers whose answers are late.
    pub(super) fn late_asks(&self, now: Duration) -> Vec<PeerId> {
        let late = self.asks.iter().filter(|(_, (until, _))| *until <= now);
        late.map(|(peer, _)| *peer).collect()
    }

    /// What should have been stored by now.
    pub(super) fn late_stores(&self, now: Duration) -> Vec<(PeerId, Key)> {
        let late = self.stores.iter().filter(|(_, until)| **until <= now);
        late.map(|(store, _)| *store).collect()
    }
}
