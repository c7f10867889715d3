//! What a node knows of the network, and what it holds of it.

use libp2p::PeerId;

use crate::Key;
use crate::compared::Compared;
use crate::core::repair::Repair;
use crate::core::sync::{Entries, Fingerprints, Schedule};
use crate::held::Held;
use crate::index::Index;
use crate::names::{NewPin, Pins};
use crate::protocol::Entry;
use crate::record::SignedRecord;

/// What is known of the network.
#[derive(Debug)]
pub(crate) struct Knowledge {
    pub(crate) index: Index,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) pins: Pins,
    pub(crate) held: Held,
    pub(crate) repair: Repair,
    pub(crate) schedule: Schedule,
    /// Which live peers have been asked for all their records since they are connected.
    pub(crate) compared: Compared,
}

impl Entries for Index {
    fn entries_from(&self, key: &Key) -> impl Iterator<Item = Entry> {
        self.entries_from(key)
    }

    fn is_settled(&self, entry: &Entry) -> bool {
        self.knows(&entry.key, &entry.hash)
    }
}

impl Knowledge {
    /// Pins a label, and says whether it is pinned to this owner now.
    pub(crate) fn pin(&mut self, pin: NewPin) -> bool {
        let owner = pin.owner;
        let is_pinned = self.pins.pin(pin);
        if is_pinned {
            self.index.pin(owner);
        }
        is_pinned
    }

    /// Holds the content of a record; says whether the record was not known before.
    pub(crate) fn hold(&mut self, record: &SignedRecord, own: &PeerId) -> bool {
        let (key, stated) = (record.key(), record.record());
        if stated.owner != *own && !self.held.contains(&key) {
            self.held.insert(key, stated.owner, stated.bytes);
        }
        if !self.repair.holds(&key) {
            self.repair.held(key, stated.owner);
        }
        let is_new = self.index.hold(record);
        if is_new {
            self.fingerprints.changed(&key);
        }
        is_new
    }

    /// Holds the content of the record under a key no more. Gives the records that are not known any
    /// more for that.
    pub(crate) fn release(&mut self, key: &Key) -> Vec<SignedRecord> {
        self.held.remove(key);
        self.repair.released(key);
        self.index.release(key)
    }
}
