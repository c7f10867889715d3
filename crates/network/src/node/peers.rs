//! Who is connected, and who of them is a live peer: one that speaks this network's protocols.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use super::behaviour::SILENCE;

/// How long a peer may take to say which protocols it speaks.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest name of itself that is kept of a peer, in bytes.
const MAX_AGENT_BYTES: usize = 128;

/// A live peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Who it is.
    pub(crate) id: PeerId,
    /// Where it says that it can be reached.
    pub(crate) addresses: Vec<Multiaddr>,
    /// How long an answer took to come back, last time. `None`: not known yet.
    pub(crate) rtt: Option<Duration>,
    /// What it says that it is: a program and its version.
    pub(crate) agent: String,
    /// Who opened the oldest connection.
    pub(crate) direction: Direction,
    /// Whether it is reached through a relay alone, over which no content is moved.
    pub(crate) relayed: bool,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The peer did.
    Inbound,
    /// This node did.
    Outbound,
}

/// The live peers at one moment, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers(BTreeMap<PeerId, Arc<Peer>>);

impl Peers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.values().map(|peer| &**peer)
    }

    /// Those of them that are reached directly. Content, and names by the thousand, go to them alone.
    pub(crate) fn direct(&self) -> impl Iterator<Item = &Peer> {
        self.iter().filter(|peer| !peer.relayed)
    }

    /// One of them.
    pub(crate) fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.0.get(id).map(|peer| &**peer)
    }

    /// Whether a peer is one of them.
    #[cfg(test)]
    pub(crate) fn contains(&self, id: &PeerId) -> bool {
        self.0.contains_key(id)
    }
}

/// Everybody who is connected.
#[derive(Default)]
pub(super) struct Members {
    members: HashMap<PeerId, Member>,
    live: Peers,
}

struct Member {
    since: Instant,
    connections: Vec<Connection>,
    rtt: Option<Duration>,
    /// `None` until it has said what it speaks.
    identity: Option<Identity>,
}

/// What a live peer says about itself.
struct Identity {
    agent: String,
    addresses: Vec<Multiaddr>,
}

struct Connection {
    id: ConnectionId,
    direction: Direction,
    remote: Multiaddr,
    relayed: bool,
    since: Instant,
    /// When a ping was last answered on it; before the first time, when it began.
    answered: Instant,
}

impl Connection {
    /// Whether it stays on this machine. Where a relay is says nothing of who comes through it.
    fn is_local(&self) -> bool {
        !self.relayed && is_loopback(&self.remote)
    }
}

impl Members {
    /// The live ones.
    pub(super) fn live(&self) -> &Peers {
        &self.live
    }

    /// Notes a new connection. Returns whether the live peers have changed by it.
    pub(super) fn connected(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) -> bool {
        let direction = match endpoint {
            ConnectedPoint::Dialer { .. } => Direction::Outbound,
            ConnectedPoint::Listener { .. } => Direction::Inbound,
        };
        let (remote, relayed) = (endpoint.get_remote_address().clone(), endpoint.is_relayed());
        let (since, answered) = (now, now);
        let member = self.members.entry(peer).or_insert_with(|| Member::new(now));
        member.connections.push(Connection { id, direction, remote, relayed, since, answered });
        self.refresh(peer)
    }

    /// Notes that a connection is gone. Returns whether the live peers have changed by it.
    pub(super) fn disconnected(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        if let Some(member) = self.members.get_mut(&peer) {
            member.connections.retain(|connection| connection.id != id);
            if member.connections.is_empty() {
                self.members.remove(&peer);
            }
        }
        self.refresh(peer)
    }

    /// Notes that `peer` is of this network. Returns whether the live peers have changed by it.
    pub(super) fn identified(
        &mut self,
        peer: PeerId,
        agent: &str,
        addresses: Vec<Multiaddr>,
    ) -> bool {
        if let Some(member) = self.members.get_mut(&peer) {
            let end = agent.floor_char_boundary(MAX_AGENT_BYTES);
            member.identity = Some(Identity { agent: agent[..end].to_owned(), addresses });
        }
        self.refresh(peer)
    }

    /// Notes how long an answer of `peer` took to come back on a connection.
    pub(super) fn measured(&mut self, peer: PeerId, id: ConnectionId, rtt: Duration, now: Instant) {
        if let Some(member) = self.members.get_mut(&peer) {
            member.rtt = Some(rtt);
            let mut connections = member.connections.iter_mut();
            if let Some(connection) = connections.find(|connection| connection.id == id) {
                connection.answered = now;
            }
            self.refresh(peer);
        }
    }

    /// The connections on which nothing has been answered for [`SILENCE`]; each once in that time,
    /// since closing one takes a while.
    pub(super) fn dead_connections(&mut self, now: Instant) -> Vec<ConnectionId> {
        let connections = self.members.values_mut().flat_map(|member| &mut member.connections);
        let is_dead =
            |connection: &&mut Connection| now.duration_since(connection.answered) > SILENCE;
        let told = connections.filter(is_dead).map(|connection| {
            connection.answered = now;
            connection.id
        });
        told.collect()
    }

    /// Whether a connection of `peer` stays on this machine.
    pub(super) fn is_local(&self, peer: &PeerId) -> bool {
        self.members
            .get(peer)
            .is_some_and(|member| member.connections.iter().any(Connection::is_local))
    }

    /// Whether `peer` is reached through a relay alone.
    pub(super) fn is_relayed(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(Member::is_relayed)
    }

    /// Whether `peer` has opened this connection directly, without a relayed one that could have helped
    /// it through a router.
    pub(super) fn has_dialled_us(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.members.get(peer).is_some_and(|member| {
            let is_it = |one: &Connection| one.id == id && one.direction == Direction::Inbound;
            member.connections.iter().any(is_it)
                && !member.connections.iter().any(|one| one.relayed)
        })
    }

    /// Where this node has dialled `peer` directly, if it has.
    pub(super) fn dialled(&self, peer: &PeerId) -> Option<&Multiaddr> {
        let connections = &self.members.get(peer)?.connections;
        let is_dialled = |one: &&Connection| one.direction == Direction::Outbound && !one.relayed;
        connections.iter().find(is_dialled).map(|one| &one.remote)
    }

    /// Those who have not said in time what they speak.
    pub(super) fn silent(&self, now: Instant) -> Vec<PeerId> {
        let silent = |member: &Member| {
            member.identity.is_none() && now.duration_since(member.since) > IDENTIFY_TIMEOUT
        };
        self.members.iter().filter(|(_, member)| silent(member)).map(|(peer, _)| *peer).collect()
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether there is a connection to `peer`.
    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.members.contains_key(peer)
    }

    /// Everybody.
    pub(super) fn ids(&self) -> Vec<PeerId> {
        self.members.keys().copied().collect()
    }

    /// How many connections there are, in and out.
    pub(super) fn connections(&self) -> (usize, usize) {
        let all = self.members.values().flat_map(|member| &member.connections);
        let inbound =
            all.clone().filter(|connection| connection.direction == Direction::Inbound).count();
        (inbound, all.count() - inbound)
    }

    /// The connections that others opened and that have lasted for longer than `visit`, beyond
    /// `places`: those who came first have their places. Nor is anybody meant who is `expected`.
    pub(super) fn visits_over(
        &self,
        places: usize,
        visit: Duration,
        expected: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Vec<ConnectionId> {
        let members = self.members.iter().filter(|(peer, _)| !expected(peer));
        let connections = members.flat_map(|(_, member)| &member.connections);
        let mut inbound: Vec<_> =
            connections.filter(|connection| connection.direction == Direction::Inbound).collect();
        inbound.sort_by_key(|connection| connection.since);
        let beyond = inbound.into_iter().skip(places);
        let is_over = |connection: &&Connection| now.duration_since(connection.since) > visit;
        beyond.filter(is_over).map(|connection| connection.id).collect()
    }

    /// Brings the live peers up to date about `peer`. Returns whether something but its round-trip
    /// time has changed.
    fn refresh(&mut self, peer: PeerId) -> bool {
        let now = self.members.get(&peer).and_then(|member| member.live(peer));
        let before = match now {
            Some(now) => self.live.0.insert(peer, Arc::new(now)),
            None => self.live.0.remove(&peer),
        };
        match (before, self.live.0.get(&peer)) {
            (Some(before), Some(now)) => {
                Peer { rtt: now.rtt, ..Peer::clone(&before) } != Peer::clone(now)
            }
            (before, now) => before.is_some() != now.is_some(),
        }
    }
}

impl Member {
    fn new(since: Instant) -> Self {
        Self { since, connections: Vec::new(), rtt: None, identity: None }
    }

    fn live(&self, id: PeerId) -> Option<Peer> {
        let identity = self.identity.as_ref()?;
        Some(Peer {
            id,
            addresses: identity.addresses.clone(),
            rtt: self.rtt,
            agent: identity.agent.clone(),
            direction: self.connections.first()?.direction,
            relayed: self.is_relayed(),
        })
    }

    fn is_relayed(&self) -> bool {
        self.connections.iter().all(|connection| connection.relayed)
    }
}

/// Whether this is the address of a peer that is reached through a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether this address leads to the machine that uses it.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}
