//! Who knows whom: Kademlia's routing tables.

use std::collections::HashMap;

use libp2p::PeerId;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use wasm_exec_network::Key;
use wasm_exec_network::core::placement::LivePeers;

/// The size of a bucket, and of the answer to a question for the closest.
pub(crate) const K: usize = 20;

/// Peers by numbers from 0, each with a routing table: of the peers whose keys have exactly so many
/// leading bits in common with its own, up to [`K`], for each number of bits.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) peers: Vec<PeerId>,
    keys: Vec<Key>,
    numbers: HashMap<PeerId, u32>,
    all: LivePeers,
    tables: Vec<Vec<u32>>,
}

impl Overlay {
    pub(crate) fn new(count: usize, random: &mut StdRng) -> Self {
        let peers: Vec<_> = (0..count).map(|_| random_peer(random)).collect();
        let keys: Vec<_> = peers.iter().map(Key::of_peer).collect();
        let numbers = peers.iter().copied().zip(0..).collect();
        let mut sorted: Vec<_> = keys.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let tables = keys.iter().map(|key| table(key, &sorted, random)).collect();
        let all = peers.iter().copied().collect();
        Self { peers, keys, numbers, all, tables }
    }

    pub(crate) fn number(&self, peer: &PeerId) -> u32 {
        self.numbers[peer]
    }

    /// The peers in a node's routing table.
    pub(crate) fn table(&self, node: u32) -> &[u32] {
        &self.tables[node as usize]
    }

    /// The peers that are closest to `key`, of all.
    pub(crate) fn closest(&self, key: &Key, count: usize) -> Vec<u32> {
        self.all.nearest(key).take(count).map(|peer| self.number(peer)).collect()
    }

    /// Those of a node's routing table.
    pub(crate) fn closest_known(&self, node: u32, key: &Key, count: usize) -> Vec<u32> {
        let mut known = self.table(node).to_vec();
        known.sort_by_cached_key(|peer| self.key(*peer).distance(&key.hashed()));
        known.truncate(count);
        known
    }

    pub(crate) fn key(&self, node: u32) -> &Key {
        &self.keys[node as usize]
    }
}

fn random_peer(random: &mut StdRng) -> PeerId {
    // The multihash of 32 bytes of SHA-256.
    let mut id = [0; 34];
    random.fill_bytes(&mut id);
    (id[0], id[1]) = (0x12, 0x20);
    PeerId::from_bytes(&id).expect("a multihash")
}

fn table(key: &Key, sorted: &[(Key, u32)], random: &mut StdRng) -> Vec<u32> {
    let bit = |key: &Key, index: usize| key.as_bytes()[index / 8] & (0x80 >> (index % 8)) != 0;
    let (mut table, mut near) = (Vec::new(), sorted);
    for index in 0.. {
        if near.len() == 1 {
            break;
        }
        let (zeros, ones) = near.split_at(near.partition_point(|(other, _)| !bit(other, index)));
        let bucket = if bit(key, index) { zeros } else { ones };
        near = if bit(key, index) { ones } else { zeros };
        table.extend(bucket.sample(random, K).map(|(_, number)| *number));
    }
    table
}
