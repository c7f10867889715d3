//! Whom to dial, and when again: configured peers, remembered ones and found ones, each with a
//! back-off of its own. There is no I/O in it.

use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::Key;

/// How long to wait after the first failure. Each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait, so that a network that was cut in two is one again soon after it can be.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// After so many failures in a row a peer that is not configured counts as gone, and is dialled
/// only once in [`GONE_WAIT`].
const GONE_AFTER: u32 = 20;

/// How long to wait between two attempts to reach a peer that is gone.
const GONE_WAIT: Duration = Duration::from_secs(5 * 60);

/// The most peers that are remembered. Who failed most often gives way to a new one.
const MAX_REMEMBERED: usize = 512;

/// The most addresses that are remembered of a peer.
const MAX_ADDRESSES: usize = 16;

/// The most attempts at a time.
const MAX_DIALS: usize = 16;

/// Peers to dial.
pub(super) struct Redial {
    entries: Vec<Entry>,
    jitter: Jitter,
}

struct Entry {
    /// Who it is. Of a configured address without an id, who answered there last.
    peer: Option<PeerId>,
    addresses: Vec<Multiaddr>,
    /// Whether the operator said so, and whether he said who it is.
    configured: bool,
    expected: bool,
    failures: u32,
    next: Instant,
    dialing: Option<ConnectionId>,
}

impl Redial {
    /// Nobody yet. `local` is this node.
    pub(super) fn new(local: &PeerId) -> Self {
        Self { entries: Vec::new(), jitter: Jitter::of(local) }
    }

    /// Adds a peer that the operator has configured.
    pub(super) fn configure(&mut self, address: Multiaddr, now: Instant) {
        let peer = peer_of(&address);
        let known = self.entries.iter_mut().find(|entry| peer.is_some() && entry.peer == peer);
        match known {
            Some(entry) => entry.add(address),
            None => self.entries.push(Entry {
                configured: true,
                expected: peer.is_some(),
                ..Entry::new(peer, vec![address], now)
            }),
        }
    }

    /// Remembers where a peer can be found.
    pub(super) fn remember(&mut self, peer: PeerId, addresses: &[Multiaddr], now: Instant) {
        if addresses.is_empty() {
            return;
        }
        let known = self.entries.iter().position(|entry| entry.peer == Some(peer));
        let index = known.or_else(|| self.make_room().then(|| self.push(peer, now)));
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            addresses.iter().take(MAX_ADDRESSES).for_each(|address| entry.add(address.clone()));
        }
    }

    /// Forgets a peer that is not one of this network. One that is configured may become one.
    pub(super) fn forget(&mut self, peer: &PeerId, now: Instant) {
        self.entries.retain(|entry| entry.configured || entry.peer != Some(*peer));
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.peer == Some(*peer)) {
            entry.failed(now, &mut self.jitter);
        }
    }

    /// Whether the operator has configured this peer.
    pub(super) fn is_configured(&self, peer: &PeerId) -> bool {
        self.entries.iter().any(|entry| entry.configured && entry.peer == Some(*peer))
    }

    /// Whom to dial now: configured peers, and others while fewer than `wanted` are missing.
    pub(super) fn due(
        &mut self,
        now: Instant,
        mut wanted: usize,
        is_connected: impl Fn(&PeerId) -> bool,
    ) -> Vec<DialOpts> {
        let dialing = self.entries.iter().filter(|entry| entry.dialing.is_some()).count();
        let room = MAX_DIALS.saturating_sub(dialing);
        let mut due: Vec<&mut Entry> = self
            .entries
            .iter_mut()
            .filter(|entry| entry.dialing.is_none() && entry.next <= now)
            .filter(|entry| !entry.peer.is_some_and(|peer| is_connected(&peer)))
            .collect();
        due.sort_by_key(|entry| (!entry.configured, entry.failures, entry.next));
        let mut dials = Vec::new();
        for entry in due {
            if dials.len() >= room || (!entry.configured && wanted == 0) {
                break;
            }
            if !entry.configured {
                wanted -= 1;
            }
            dials.push(entry.dial());
        }
        dials
    }

    /// Notes that an attempt has reached `peer`. It counts as a failure until the peer answers: one
    /// that has no room for us lets us in and closes the connection at once.
    pub(super) fn reached(&mut self, connection: ConnectionId, peer: PeerId, now: Instant) {
        if let Some(entry) = self.dialing(connection) {
            if !entry.expected {
                entry.peer = Some(peer);
            }
            self.failed(connection, now);
        }
    }

    /// Notes that `peer` is connected and of this network.
    pub(super) fn answered(&mut self, peer: PeerId, now: Instant) {
        for entry in self.entries.iter_mut().filter(|entry| entry.peer == Some(peer)) {
            entry.failures = 0;
            entry.next = now + self.jitter.of_wait(FIRST_WAIT);
        }
    }

    /// Notes that an attempt has failed.
    pub(super) fn failed(&mut self, connection: ConnectionId, now: Instant) {
        let dialing = Some(connection);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.dialing == dialing) {
            entry.dialing = None;
            entry.failed(now, &mut self.jitter);
        }
    }

    /// Notes that an attempt has reached this node itself at an address, so that it is not made there
    /// again. A peer can have it all the same, in a network of its own, and others that lead to it.
    pub(super) fn is_ourself(&mut self, connection: ConnectionId, address: &Multiaddr) {
        if let Some(entry) = self.dialing(connection) {
            entry.addresses.retain(|known| without_peer(known.clone()) != *address);
        }
        self.entries
            .retain(|entry| entry.dialing != Some(connection) || !entry.addresses.is_empty());
    }

    fn dialing(&mut self, connection: ConnectionId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.dialing == Some(connection))
    }

    fn push(&mut self, peer: PeerId, now: Instant) -> usize {
        self.entries.push(Entry::new(Some(peer), Vec::new(), now));
        self.entries.len() - 1
    }

    /// Whether there is room for another, after whoever failed most often is gone.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < MAX_REMEMBERED {
            return true;
        }
        let worst = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| !entry.configured && entry.failures > 0)
            .max_by_key(|(_, entry)| entry.failures)
            .map(|(index, _)| index);
        worst.map(|index| self.entries.swap_remove(index)).is_some()
    }
}

impl Entry {
    fn new(peer: Option<PeerId>, addresses: Vec<Multiaddr>, now: Instant) -> Self {
        Self {
            peer,
            addresses,
            configured: false,
            expected: true,
            failures: 0,
            next: now,
            dialing: None,
        }
    }

    /// Adds an address, in place of the oldest if there are too many.
    fn add(&mut self, address: Multiaddr) {
        if self.addresses.contains(&address) {
            return;
        }
        if self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.remove(0);
        }
        self.addresses.push(address);
    }

    /// Dials where the peer can be, and nowhere else: what it says of itself names loopback addresses,
    /// too, which lead here, and the first answer is the one that counts.
    fn dial(&mut self) -> DialOpts {
        let opts = match self.peer {
            Some(peer) if self.expected => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(self.addresses.clone())
                .build(),
            _ => {
                let address = self.addresses.first().cloned().unwrap_or_else(Multiaddr::empty);
                DialOpts::unknown_peer_id().address(address).build()
            }
        };
        self.dialing = Some(opts.connection_id());
        opts
    }

    fn failed(&mut self, now: Instant, jitter: &mut Jitter) {
        self.failures = self.failures.saturating_add(1);
        let wait = if !self.configured && self.failures >= GONE_AFTER {
            GONE_WAIT
        } else {
            FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT)
        };
        self.next = now + jitter.of_wait(wait);
    }
}

/// Makes half of each wait random, so that nodes that lost each other do not dial in step.
struct Jitter(StdRng);

impl Jitter {
    /// That of one node. All that matters is that others' is different.
    fn of(peer: &PeerId) -> Self {
        Self(StdRng::from_seed(*Key::of_peer(peer).as_bytes()))
    }

    fn of_wait(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.0.random_range(0.5..1.0))
    }
}

/// Whose address this is, if it says so.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// An address without the id of the peer that it leads to.
pub(super) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if peer_of(&address).is_some() {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: fn(&PeerId) -> bool = |_| false;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn redial() -> (Redial, Instant) {
        (Redial::new(&PeerId::random()), Instant::now())
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_longest() {
        let (mut redial, mut now) = redial();
        redial.configure(address(1), now);
        for failures in 1..30 {
            let dials = redial.due(now, 0, NOBODY);
            assert_eq!(dials.len(), 1, "after {failures} failures");
            assert!(redial.due(now, 0, NOBODY).is_empty(), "it is being dialled");
            redial.failed(dials[0].connection_id(), now);
            let wait = (FIRST_WAIT * (1 << failures.min(10))).min(LONGEST_WAIT);
            assert!(redial.due(now + wait / 2 - Duration::from_millis(1), 0, NOBODY).is_empty());
            now += wait;
        }
    }

    #[test]
    fn configured_peers_come_first_and_others_while_they_are_wanted() {
        let (mut redial, now) = redial();
        let [one, two, three] = [(); 3].map(|()| PeerId::random());
        redial.remember(one, &[address(1)], now);
        redial.remember(two, &[address(2)], now);
        redial.configure(address(3).with(Protocol::P2p(three)), now);
        let dials = redial.due(now, 1, NOBODY);
        assert_eq!(dials.len(), 2);
        assert_eq!(dials[0].get_peer_id(), Some(three));
        assert!(redial.due(now, 0, NOBODY).is_empty());
        assert!(redial.due(now, 1, |peer| *peer == one || *peer == two).is_empty());
    }

    #[test]
    fn who_closes_the_connection_at_once_is_not_dialled_at_once_again() {
        let (mut redial, now) = redial();
        let peer = PeerId::random();
        redial.remember(peer, &[address(1)], now);
        let dial = redial.due(now, 1, NOBODY).remove(0);
        redial.reached(dial.connection_id(), peer, now);
        let soon = now + FIRST_WAIT;
        assert!(redial.due(now + FIRST_WAIT / 2, 1, NOBODY).is_empty());
        redial.answered(peer, now);
        assert_eq!(redial.due(soon, 1, NOBODY).len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_failures_give_way() {
        let (mut redial, now) = redial();
        let first = PeerId::random();
        redial.remember(first, &[address(0)], now);
        let dial = redial.due(now, 1, NOBODY).remove(0);
        for _ in 1..MAX_REMEMBERED {
            redial.remember(PeerId::random(), &[address(1)], now);
        }
        redial.remember(PeerId::random(), &[address(2)], now);
        assert_eq!(redial.entries.len(), MAX_REMEMBERED);
        redial.failed(dial.connection_id(), now);
        let last = PeerId::random();
        redial.remember(last, &[address(3)], now);
        assert_eq!(redial.entries.len(), MAX_REMEMBERED);
        assert!(redial.entries.iter().any(|entry| entry.peer == Some(last)));
        assert!(!redial.entries.iter().any(|entry| entry.peer == Some(first)));
    }

    #[test]
    fn a_peer_with_an_address_that_leads_here_is_dialled_at_its_others() {
        let (mut redial, now) = redial();
        let peer = PeerId::random();
        redial.remember(peer, &[address(1), address(2)], now);
        for (own, left) in [(address(1), vec![address(2)]), (address(2), vec![])] {
            let dial = redial.due(now + LONGEST_WAIT, 1, NOBODY).remove(0);
            redial.is_ourself(dial.connection_id(), &own);
            redial.failed(dial.connection_id(), now);
            let addresses = redial.entries.iter().flat_map(|entry| entry.addresses.clone());
            assert_eq!(addresses.collect::<Vec<_>>(), left);
        }
        assert!(redial.entries.is_empty());
    }

    #[test]
    fn a_peer_of_another_network_is_forgotten() {
        let (mut redial, now) = redial();
        let peer = PeerId::random();
        redial.remember(peer, &[address(1)], now);
        redial.forget(&peer, now);
        assert!(redial.due(now, 1, NOBODY).is_empty());
    }
}
