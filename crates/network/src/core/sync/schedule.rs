//! With whom the next round is due.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use libp2p::PeerId;
use rand::seq::IteratorRandom;
use rand::{Rng, RngExt};

/// How often a node begins rounds, on average.
pub const SYNC_EVERY: Duration = Duration::from_secs(30);

/// With how many peers it does: what one does not tell, or lies about, another tells.
pub const SYNC_PEERS: usize = 3;

/// How many rounds there may be at once.
pub const MAX_ROUNDS: usize = 4;

/// When to begin a round, and with whom: with each peer when it is connected, and with a few of them
/// now and then. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Schedule {
    connected: BTreeSet<PeerId>,
    /// Peers with which a round is due; some may be gone. At most one of each that is connected.
    due: VecDeque<PeerId>,
    running: BTreeSet<PeerId>,
    next: Duration,
}

impl Schedule {
    /// Nobody is connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer is connected. A round with it is due.
    pub fn connected(&mut self, peer: PeerId) {
        if self.connected.insert(peer) {
            self.due.push_back(peer);
        }
    }

    /// A peer is gone, and a round with it over.
    pub fn gone(&mut self, peer: &PeerId) {
        self.connected.remove(peer);
        self.running.remove(peer);
        self.due.retain(|due| due != peer);
    }

    /// The round with this peer is over, however it ended.
    pub fn ended(&mut self, peer: &PeerId) {
        self.running.remove(peer);
    }

    /// The peer to begin a round with now, if any. To be called until there is none, and again when a
    /// peer was connected, a round ended, or a second passed.
    pub fn begin(&mut self, now: Duration, random: &mut impl Rng) -> Option<PeerId> {
        if now >= self.next {
            self.next = now + SYNC_EVERY.mul_f64(random.random_range(0.75..1.25));
            let idle = self.connected.iter().filter(|peer| !self.due.contains(peer));
            let chosen = idle.copied().sample(random, SYNC_PEERS);
            self.due.extend(chosen);
        }
        if self.running.len() >= MAX_ROUNDS {
            return None;
        }
        let index = self.due.iter().position(|peer| !self.running.contains(peer))?;
        let peer = self.due.remove(index)?;
        self.running.insert(peer);
        Some(peer)
    }
}
