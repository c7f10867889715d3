//! Who has room in an index, and who gives way when it is full.

use libp2p::PeerId;

use super::{Applied, Index, Interest};
use crate::Key;
use crate::protocol::Refusal;
use crate::record::SignedRecord;

#[cfg(test)]
mod tests;

impl Index {
    /// Whose place a new record takes; `None` if there is room.
    pub(super) fn place_for(
        &mut self,
        record: &SignedRecord,
        interest: Interest,
    ) -> Result<Option<Key>, Applied> {
        let owner = record.record().owner;
        if owner == self.own || self.held.contains(&record.key()) {
            return Ok(None);
        }
        let count = self.count_of(&owner);
        let is_wanted = interest == Interest::Wanted;
        if count >= self.limits.per_owner {
            let place = self.loose.last_of(&owner).filter(|_| is_wanted);
            return place.map(Some).ok_or_else(|| {
                self.turned_away += 1;
                self.excess.insert(record.hash());
                Applied::Refused(Refusal::TooMuch)
            });
        }
        if !self.is_full() {
            return Ok(None);
        }
        let most = if is_wanted || self.is_kept(&owner) { 0 } else { count + 1 };
        self.had_room = false;
        self.loose.last_of_more_than(most).map(Some).ok_or_else(|| {
            self.turned_away += 1;
            self.passed.insert(record.hash());
            Applied::NoRoom
        })
    }

    /// Forgets a record for want of room, and gives it.
    pub(super) fn displace(&mut self, key: &Key) -> Option<SignedRecord> {
        self.had_room = false;
        self.turned_away += 1;
        let among_all = self.is_full();
        let record = self.remove(key)?;
        let passed = if among_all { &mut self.passed } else { &mut self.excess };
        passed.insert(record.hash());
        Some(record)
    }

    /// Forgets as many records as are too many, and gives them.
    pub(crate) fn trim(&mut self) -> Vec<SignedRecord> {
        let mut displaced = Vec::new();
        while self.kept + self.loose.len() > self.limits.records
            && let Some(key) = self.loose.last_of_more_than(0)
        {
            displaced.extend(self.displace(&key));
        }
        displaced
    }

    /// Has the records of an owner not give way.
    pub(crate) fn trust(&mut self, owner: PeerId) {
        if self.trusted.insert(owner) {
            self.keep(&owner);
        }
    }

    /// The same, unless half of all room is for such owners already: anybody's names are pinned who is
    /// called, and may be many.
    pub(crate) fn pin(&mut self, owner: PeerId) {
        if self.pinned.insert(owner) {
            self.keep(&owner);
        }
    }

    fn keep(&mut self, owner: &PeerId) {
        let keys: Vec<Key> = self.loose.of(owner).copied().collect();
        for key in keys {
            self.leave_room(owner, &key);
            self.take_room(*owner, key);
        }
    }

    /// Holds the content of a record of another's, so that it does not give way; says whether it was
    /// not known before.
    pub(crate) fn hold(&mut self, record: &SignedRecord) -> bool {
        let (owner, key) = (record.record().owner, record.key());
        let is_known = self.records.contains_key(&key);
        if owner != self.own && !self.held.contains(&key) {
            if is_known {
                self.leave_room(&owner, &key);
            }
            self.held.insert(key);
        }
        if !is_known {
            self.link(record.clone());
        }
        !is_known
    }

    /// Holds the content no more. Gives the records that give way to it, or itself.
    pub(crate) fn release(&mut self, key: &Key) -> Vec<SignedRecord> {
        if self.held.remove(key)
            && let Some(record) = self.records.get(key)
        {
            let owner = record.record().owner;
            self.take_room(owner, *key);
        }
        self.trim()
    }

    /// Whether there may be records that this does not know because there was no room for them: of an
    /// owner, or of anybody.
    pub(crate) fn is_partial(&self, owner: Option<&PeerId>) -> bool {
        let has_share = |owner| self.count_of(owner) >= self.limits.per_owner;
        !self.passed.is_empty() || owner.is_some_and(has_share)
    }

    /// How often there was no room for a record, which was refused or forgotten.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away
    }

    pub(super) fn is_full(&self) -> bool {
        self.kept + self.loose.len() >= self.limits.records
    }

    /// Whether another record of an owner would be kept.
    fn is_kept(&self, owner: &PeerId) -> bool {
        let has_room = self.kept < self.limits.records / 2;
        self.trusted.contains(owner) || has_room && self.pinned.contains(owner)
    }

    pub(super) fn take_room(&mut self, owner: PeerId, key: Key) {
        if owner == self.own || self.held.contains(&key) {
            return;
        }
        match self.is_kept(&owner) {
            true => self.kept += 1,
            false => self.loose.insert(owner, key),
        }
    }

    /// Undoes [`Index::take_room`].
    pub(super) fn leave_room(&mut self, owner: &PeerId, key: &Key) {
        let has_other = *owner == self.own || self.held.contains(key);
        if !has_other && !self.loose.remove(owner, key) {
            self.kept -= 1;
        }
    }
}
