//! What a node says about itself.

use libp2p::{Multiaddr, PeerId};

/// What a node is doing, and has done since it started.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Who it is.
    pub peer_id: PeerId,
    /// Where it listens, each ending in `/p2p/` and its id: what others may be given as a peer.
    pub addresses: Vec<Multiaddr>,
    /// Where others have confirmed that they reach it, in the same form.
    pub external_addresses: Vec<Multiaddr>,
    /// Live peers.
    pub peers: usize,
    /// Peers in Kademlia's routing table.
    pub routable_peers: usize,
    /// Connections that others opened.
    pub inbound_connections: usize,
    /// Connections that this node opened.
    pub outbound_connections: usize,
    /// Peers that are not let in at the moment.
    pub banned_peers: usize,
    /// Bytes received on all streams.
    pub received_bytes: u64,
    /// Bytes sent on all streams.
    pub sent_bytes: u64,
    /// Times that another node with this node's identity was met: a copied data directory. Two such
    /// nodes cannot see each other, and the others cannot tell them apart. It is the one that dials
    /// that is sure to notice.
    pub same_identity: u64,
    /// What was refused.
    pub refusals: Refusals,
}

/// What was refused, by the bound that it exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Connections beyond the bounds, or of banned peers.
    pub connections: u64,
    /// Peers that were disconnected because they are not of this network, or did not say.
    pub strangers: u64,
    /// Peers that were banned.
    pub bans: u64,
    /// Messages that made no sense, were too long or too slow: requests and answers.
    pub malformed: u64,
    /// Requests and streams of peers that exceeded their rates.
    pub over_rate: u64,
    /// Requests of peers that had as many answered at the same time as may be, or all together had.
    pub requests: u64,
    /// Transfer streams, likewise.
    pub streams: u64,
    /// Requests that this node did not manage to answer in time.
    pub late_answers: u64,
    /// Requests to peers that had too many to answer already.
    pub asks: u64,
}

impl NodeStatus {
    /// That of a node which has done nothing yet.
    pub(super) fn new(peer_id: PeerId) -> Self {
        Self {
            peer_id,
            addresses: Vec::new(),
            external_addresses: Vec::new(),
            peers: 0,
            routable_peers: 0,
            inbound_connections: 0,
            outbound_connections: 0,
            banned_peers: 0,
            received_bytes: 0,
            sent_bytes: 0,
            same_identity: 0,
            refusals: Refusals::default(),
        }
    }
}
