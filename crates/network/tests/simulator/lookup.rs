//! A look-up in the distributed hash table, by Kademlia's iterative search with hedging.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use wasm_exec_network::{Distance, Key};

use super::overlay::{K, Overlay};

/// How many are asked at once.
const ALPHA: usize = 3;

/// The round trip between two peers, on average; each takes up to a fifth more or less.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// After so long another peer is asked besides; an answer still counts when it comes.
const HEDGE_AFTER: Duration = ROUND_TRIP.saturating_mul(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Honest,
    Dead,
    /// Says it knows nothing, and that the closest peers are liars.
    Liar,
}

/// How a record was found. The peers that the searcher has in its routing table are one hop away,
/// those that they name two, and so on; what counts is the one that had the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) hops: u32,
    pub(crate) latency: Duration,
}

#[derive(Debug)]
pub(crate) struct Network<'a> {
    pub(crate) overlay: &'a Overlay,
    pub(crate) conduct: &'a [Conduct],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Asked,
    Late,
    Answered,
}

#[derive(Debug)]
struct Candidate {
    node: u32,
    hops: u32,
    state: State,
}

/// One look-up. Candidates are by their distance from the key.
struct Search<'a> {
    network: &'a Network<'a>,
    key: Key,
    candidates: BTreeMap<Distance, Candidate>,
    /// When an answer comes (`true`) or is late, and whose.
    events: BinaryHeap<Reverse<(Duration, Distance, bool)>>,
    waiting: usize,
}

impl Network<'_> {
    /// Looks for a record that the honest of `holders` have, from `node`.
    pub(crate) fn find(
        &self,
        node: u32,
        key: &Key,
        holders: &[u32],
        random: &mut StdRng,
    ) -> Option<Found> {
        let candidates = BTreeMap::new();
        let mut search = Search {
            network: self,
            key: key.hashed(),
            candidates,
            events: BinaryHeap::new(),
            waiting: 0,
        };
        search.add(&self.overlay.closest_known(node, key, K), 1);
        let mut now = Duration::ZERO;
        loop {
            search.ask(now, random);
            let Reverse((at, place, answered)) = search.events.pop()?;
            now = at;
            let candidate = search.candidates.get_mut(&place)?;
            let (node, hops) = (candidate.node, candidate.hops);
            search.waiting -= usize::from(candidate.state == State::Asked);
            if !answered {
                if candidate.state == State::Asked {
                    candidate.state = State::Late;
                }
                continue;
            }
            candidate.state = State::Answered;
            let honest = self.conduct[node as usize] == Conduct::Honest;
            if honest && holders.contains(&node) {
                return Some(Found { hops, latency: now });
            }
            search.add(&self.closest_said(node, key), hops + 1);
        }
    }

    /// The closest peers that a node says there are.
    fn closest_said(&self, node: u32, key: &Key) -> Vec<u32> {
        if self.conduct[node as usize] == Conduct::Honest {
            return self.overlay.closest_known(node, key, K);
        }
        let closest = self.overlay.closest(key, K * 8).into_iter();
        closest.filter(|peer| self.conduct[*peer as usize] == Conduct::Liar).take(K).collect()
    }
}

impl Search<'_> {
    fn add(&mut self, nodes: &[u32], hops: u32) {
        for node in nodes {
            let place = self.network.overlay.key(*node).distance(&self.key);
            let candidate = Candidate { node: *node, hops, state: State::New };
            self.candidates.entry(place).or_insert(candidate);
        }
    }

    /// Asks the closest that were not asked yet, as many as may be, until the [`K`] closest of those
    /// that answer did.
    fn ask(&mut self, now: Duration, random: &mut StdRng) {
        let closest = self.candidates.iter_mut();
        let closest = closest.filter(|(_, candidate)| candidate.state != State::Late).take(K);
        for (place, candidate) in closest.filter(|(_, candidate)| candidate.state == State::New) {
            if self.waiting >= ALPHA {
                return;
            }
            self.waiting += 1;
            candidate.state = State::Asked;
            self.events.push(Reverse((now + HEDGE_AFTER, *place, false)));
            if self.network.conduct[candidate.node as usize] != Conduct::Dead {
                let round_trip = ROUND_TRIP.mul_f64(random.random_range(0.8..1.2));
                self.events.push(Reverse((now + round_trip, *place, true)));
            }
        }
    }
}
