//! The peers that live, by their places in the key space.

use libp2p::PeerId;

use crate::Key;

/// A set of peers that gives the nearest of them to a key without looking at all.
#[derive(Clone, Debug, Default)]
pub struct LivePeers {
    /// In the order of their places, which is that of a binary trie's leaves.
    places: Vec<(Key, PeerId)>,
}

impl LivePeers {
    /// No peers.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, in no order that means something.
    pub fn iter(&self) -> impl Iterator<Item = &PeerId> {
        self.places.iter().map(|(_, peer)| peer)
    }

    /// Whether `peer` is one of them.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.get(peer).is_some()
    }

    /// `peer`, if it is one of them.
    pub fn get(&self, peer: &PeerId) -> Option<&PeerId> {
        let index = self.find(&Key::of_peer(peer)).ok()?;
        Some(&self.places[index].1)
    }

    /// Adds a peer; `false` if it was there.
    pub fn insert(&mut self, peer: PeerId) -> bool {
        let place = Key::of_peer(&peer);
        let Err(index) = self.find(&place) else { return false };
        self.places.insert(index, (place, peer));
        true
    }

    /// Takes a peer out; `false` if it was not there.
    pub fn remove(&mut self, peer: &PeerId) -> bool {
        let Ok(index) = self.find(&Key::of_peer(peer)) else { return false };
        self.places.remove(index);
        true
    }

    /// All of them, the nearest to `key` first, as libp2p's Kademlia has it, which hashes keys once more:
    /// so who is asked for a record is who should know of it. Each step takes time logarithmic in their number.
    pub fn nearest(&self, key: &Key) -> Nearest<'_> {
        Nearest { key: key.hashed(), left: vec![(&self.places, 0)] }
    }

    fn find(&self, place: &Key) -> Result<usize, usize> {
        self.places.binary_search_by(|(there, _)| there.cmp(place))
    }
}

impl FromIterator<PeerId> for LivePeers {
    fn from_iter<I: IntoIterator<Item = PeerId>>(peers: I) -> Self {
        let mut places: Vec<_> =
            peers.into_iter().map(|peer| (Key::of_peer(&peer), peer)).collect();
        places.sort_unstable_by_key(|(place, _)| *place);
        places.dedup_by_key(|(place, _)| *place);
        Self { places }
    }
}

/// Peers by their distance from a key; see [`LivePeers::nearest`].
#[derive(Clone, Debug)]
pub struct Nearest<'a> {
    key: Key,
    /// Subtrees that are left, the nearest last, each with the first bit that can differ within it.
    left: Vec<(&'a [(Key, PeerId)], usize)>,
}

impl<'a> Iterator for Nearest<'a> {
    type Item = &'a PeerId;

    fn next(&mut self) -> Option<&'a PeerId> {
        loop {
            match self.left.pop()? {
                ([], _) => {}
                ([(_, peer)], _) => return Some(peer),
                (subtree, index) => {
                    let middle = subtree.partition_point(|(place, _)| !bit(place, index));
                    let (zeros, ones) = subtree.split_at(middle);
                    let (near, far) =
                        if bit(&self.key, index) { (ones, zeros) } else { (zeros, ones) };
                    self.left.extend([(far, index + 1), (near, index + 1)]);
                }
            }
        }
    }
}

/// The bit of a key, counted from the most significant.
fn bit(key: &Key, index: usize) -> bool {
    key.as_bytes()[index / 8] & (0x80 >> (index % 8)) != 0
}
