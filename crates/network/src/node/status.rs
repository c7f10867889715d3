//! What a node says about itself.

use libp2p::Multiaddr;

/// What a node is doing, and has done since it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeStatus {
    /// Where it listens, each ending in `/p2p/` and its id: what others may be given as a peer.
    pub(crate) addresses: Vec<Multiaddr>,
    /// Where others have confirmed that they reach it, in the same form.
    pub(crate) external_addresses: Vec<Multiaddr>,
    /// Peers in Kademlia's routing table.
    pub(crate) routable_peers: usize,
    /// Connections that others opened.
    pub(crate) inbound_connections: usize,
    /// Connections that this node opened.
    pub(crate) outbound_connections: usize,
    /// Peers that are not let in at the moment.
    pub(crate) banned_peers: usize,
    /// Bytes received on all streams.
    pub(crate) received_bytes: u64,
    /// Bytes sent on all streams.
    pub(crate) sent_bytes: u64,
    /// Times that another node with this node's identity was met: a copied data directory. Two such
    /// nodes cannot see each other, and the others cannot tell them apart. It is the one that dials
    /// that is sure to notice.
    pub(crate) same_identity: u64,
    /// What was refused.
    pub(crate) refusals: Refusals,
}

/// What was refused, by the bound that it exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    /// Connections beyond the bounds, or of banned peers.
    pub(crate) connections: u64,
    /// Peers that were disconnected because they are not of this network, or did not say.
    pub(crate) strangers: u64,
    /// Peers that were banned.
    pub(crate) bans: u64,
    /// Messages that made no sense, were too long or too slow: requests and answers.
    pub(crate) malformed: u64,
    /// Records that peers told of, asked or not, and that are none: nobody signed them, or somebody else.
    pub(crate) forged: u64,
    /// Requests and streams of peers that exceeded their rates.
    pub(crate) over_rate: u64,
    /// Requests of peers that had as many answered at the same time as may be, or all together had.
    pub(crate) requests: u64,
    /// Transfer streams, likewise.
    pub(crate) streams: u64,
    /// Requests that this node did not manage to answer in time.
    pub(crate) late_answers: u64,
    /// Requests to peers that had too many to answer already.
    pub(crate) asks: u64,
}
