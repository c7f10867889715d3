//! What a node knows of the network, and what it holds of it.

use libp2p::PeerId;

use crate::Key;
use crate::compared::Compared;
use crate::core::repair::Repair;
use crate::core::sync::{Entries, Fingerprints, Schedule};
use crate::held::Held;
use crate::index::{Applied, Index, Interest};
use crate::names::{NewPin, Pins};
use crate::protocol::{CopyOf, Entry};
use crate::record::{Seconds, SignedRecord};

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

    /// Takes a record into the index. What is held for one before it that meant something else is held
    /// no more, from this moment on; says whether there is such content, which is on the disk still.
    pub(crate) fn apply(
        &mut self,
        record: &SignedRecord,
        interest: Interest,
        now: Seconds,
    ) -> (Applied, bool) {
        let key = record.key();
        let before = self.index.get(&key).map(|before| before.record().module);
        let applied = self.index.apply(record.clone(), interest, now);
        if !matches!(applied, Applied::New { .. }) {
            return (applied, false);
        }
        self.fingerprints.changed(&key);
        let is_outdated = self.repair.holds(&key) && before != record.record().meaning();
        if is_outdated {
            self.repair.released(&key);
        }
        (applied, is_outdated)
    }

    /// Whether this node holds a copy.
    pub(crate) fn has_copy(&self, copy: &CopyOf) -> bool {
        self.repair.holds(&copy.key) && self.means(copy)
    }

    /// Whether what is known of a name now is that it means what this is a copy of.
    pub(crate) fn means(&self, copy: &CopyOf) -> bool {
        let record = self.index.get(&copy.key);
        record.is_some_and(|record| record.record().meaning() == Some(copy.module))
    }

    /// Whether a name means something else by now, or nothing, than this record says.
    pub(crate) fn is_superseded(&self, record: &SignedRecord) -> bool {
        let known = self.index.get(&record.key());
        known.is_some_and(|known| known.record().meaning() != record.record().meaning())
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
