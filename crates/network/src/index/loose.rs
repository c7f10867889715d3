//! The records that may give way to others, and which of them does first.
//!
//! Whoever comes new takes the place of a record of the owner who has most, as long as that one has
//! more than the newcomer then has. Each time the sum of the squares of what owners have gets
//! smaller, so this comes to an end, in whichever order records come and however often: nodes that
//! tell each other what they have let go of do not push records to and fro. Of an owner's records the
//! one with the greatest key goes first, so that all nodes let go of the same ones, about.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;

use crate::Key;

/// The records that may give way to others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loose {
    of_owner: BTreeMap<PeerId, BTreeSet<Key>>,
    /// The owners by how many they have.
    by_count: BTreeSet<(usize, PeerId)>,
    total: usize,
}

impl Loose {
    pub(super) fn insert(&mut self, owner: PeerId, key: Key) {
        let keys = self.of_owner.entry(owner).or_default();
        let before = keys.len();
        if keys.insert(key) {
            self.by_count.remove(&(before, owner));
            self.by_count.insert((before + 1, owner));
            self.total += 1;
        }
    }

    /// Takes one away; says whether it was there.
    pub(super) fn remove(&mut self, owner: &PeerId, key: &Key) -> bool {
        let Some(keys) = self.of_owner.get_mut(owner) else { return false };
        if !keys.remove(key) {
            return false;
        }
        let left = keys.len();
        self.by_count.remove(&(left + 1, *owner));
        if left == 0 {
            self.of_owner.remove(owner);
        } else {
            self.by_count.insert((left, *owner));
        }
        self.total -= 1;
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// Those of one owner.
    pub(super) fn of(&self, owner: &PeerId) -> impl DoubleEndedIterator<Item = &Key> {
        self.of_owner.get(owner).into_iter().flatten()
    }

    /// Which record of an owner gives way first.
    pub(super) fn last_of(&self, owner: &PeerId) -> Option<Key> {
        self.of(owner).next_back().copied()
    }

    /// Which record gives way first to those who have no more than `most` of them.
    pub(super) fn last_of_more_than(&self, most: usize) -> Option<Key> {
        let (count, owner) = self.by_count.last()?;
        if *count <= most {
            return None;
        }
        self.last_of(owner)
    }
}
