//! Anti-entropy: how a node finds out which records a peer knows and it does not.
//!
//! The key space is compared by 256 parts, one for each first byte of a key. Nodes that know the
//! same tell each other so in one answer of 8 KiB; nodes that do not ask for the entries of the
//! parts that differ, page by page, and then for the records that they lack (Demers et al., "Epidemic
//! Algorithms for Replicated Database Maintenance", 1987). A [`Round`] is one such conversation, of the side
//! that asks; a [`Schedule`] says with whom the next is due.

mod round;
mod schedule;
#[cfg(test)]
mod tests;

pub use self::round::{Answer, Ask, MAX_ROUND_KEYS, MAX_ROUND_PAGES, Misbehaviour, Round};
pub use self::schedule::{MAX_ROUNDS, SYNC_EVERY, SYNC_PEERS, Schedule};
use super::Entry;
use crate::Key;
use crate::protocol::{MAX_ENTRIES, MAX_PAGES, PARTS};

/// The records that a node knows of, by parts.
pub trait Entries {
    /// The entry of this key and of those after it in the same part, by ascending keys.
    fn entries_from(&self, key: &Key) -> impl Iterator<Item = Entry>;

    /// Whether a record that a peer has need not be asked for, since it is known not to hold.
    fn is_settled(&self, _entry: &Entry) -> bool {
        false
    }
}

/// What sums up each part. Remembered, and made anew for what changed.
#[derive(Debug)]
pub struct Fingerprints {
    parts: Vec<Option<Key>>,
}

impl Fingerprints {
    /// Nothing is remembered yet.
    pub fn new() -> Self {
        Self { parts: vec![None; PARTS] }
    }

    /// The entry of `key` has come, gone, or got another hash.
    pub fn changed(&mut self, key: &Key) {
        self.parts[usize::from(part_of(key))] = None;
    }

    /// A fingerprint of each part, in their order: the BLAKE3 hash of its entries.
    pub fn summary(&mut self, entries: &impl Entries) -> Vec<Key> {
        let fingerprints = (0..=u8::MAX).zip(&mut self.parts);
        fingerprints
            .map(|(part, known)| *known.get_or_insert_with(|| fingerprint(entries, part)))
            .collect()
    }
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self::new()
    }
}

fn fingerprint(entries: &impl Entries, part: u8) -> Key {
    let mut hasher = blake3::Hasher::new();
    for entry in entries.entries_from(&first_of(part)) {
        hasher.update(entry.key.as_bytes()).update(entry.hash.as_bytes());
    }
    Key::from_bytes(*hasher.finalize().as_bytes())
}

/// What a node answers when it is asked for the pages that begin at these keys: as many entries of
/// each as may be told. `None` if more pages were asked for than may be, or not in ascending order.
pub fn told(entries: &impl Entries, pages: &[Key]) -> Option<Vec<Vec<Entry>>> {
    let tell = |from: &Key| entries.entries_from(from).take(MAX_ENTRIES).collect();
    let ascend = pages.is_sorted_by(|one, next| one < next);
    (pages.len() <= MAX_PAGES && ascend).then(|| pages.iter().map(tell).collect())
}

/// The parts whose fingerprints differ, in their order.
pub fn differing(mine: &[Key], theirs: &[Key]) -> Vec<u8> {
    let pairs = (0..=u8::MAX).zip(mine.iter().zip(theirs));
    pairs.filter(|(_, (mine, theirs))| mine != theirs).map(|(part, _)| part).collect()
}

/// The keys of `theirs` that are not in `mine`, or there with another hash. Both are by ascending
/// keys. Whose record of two is the newer one says only the record, so it is asked for.
pub fn missing(mine: impl IntoIterator<Item = Entry>, theirs: &[Entry]) -> Vec<Key> {
    let mut mine = mine.into_iter().peekable();
    let lacks = |entry: &&Entry| {
        while mine.next_if(|known| known.key < entry.key).is_some() {}
        mine.peek().is_none_or(|known| known != *entry)
    };
    theirs.iter().filter(lacks).map(|entry| entry.key).collect()
}

/// The part that a key belongs to.
fn part_of(key: &Key) -> u8 {
    key.as_bytes()[0]
}

/// The first key of a part.
fn first_of(part: u8) -> Key {
    let mut key = [0; Key::BYTES];
    key[0] = part;
    Key::from_bytes(key)
}

/// The next key of the same part; `None` after the last.
fn next_of(key: &Key) -> Option<Key> {
    let mut next = *key.as_bytes();
    for byte in next[1..].iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Key::from_bytes(next));
        }
    }
    None
}
