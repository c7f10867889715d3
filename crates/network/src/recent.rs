//! Hashes that are remembered for a while: as many as there is room for, the latest.

use std::collections::{HashSet, VecDeque};

use crate::Key;

/// The hashes that were remembered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recent {
    most: usize,
    hashes: HashSet<Key>,
    /// The same, the oldest first.
    order: VecDeque<Key>,
}

impl Recent {
    /// None yet, and never more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, hashes: HashSet::new(), order: VecDeque::new() }
    }

    /// Remembers a hash, in place of the oldest if there are too many.
    pub(crate) fn insert(&mut self, hash: Key) {
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }

    /// Whether a hash is remembered.
    pub(crate) fn contains(&self, hash: &Key) -> bool {
        self.hashes.contains(hash)
    }

    /// Whether none is.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_what_comes_again_counts_once() {
        let [one, two, three] = [1, 2, 3].map(|byte| Key::from_bytes([byte; Key::BYTES]));
        let mut recent = Recent::new(2);
        for hash in [one, two, two, one] {
            recent.insert(hash);
        }
        assert!(recent.contains(&one) && recent.contains(&two));
        recent.insert(three);
        assert!(!recent.contains(&one) && recent.contains(&two) && recent.contains(&three));
        recent.clear();
        assert!(recent.is_empty() && !recent.contains(&three));
    }
}
