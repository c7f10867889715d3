//! What a backend that is a network knows besides content: whose a module is and who keeps it, and
//! how the network is. Plain data; an embedded backend has none of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Name;

/// Where a module comes from, in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The peer id of the node whose name it is, or for a module that was asked for by digest, of
    /// the node that registered it, as far as that is known here.
    pub owner: String,
    /// The name with its owner's peer id as the namespace, which means the same on every node.
    /// `None` for a module that was asked for by digest and has no name here, and for one that is too
    /// large for other nodes, which do not know its name.
    pub canonical_name: Option<Name>,
    /// How many other nodes are known to keep it.
    pub replicas: u32,
    /// Where this node has it from.
    pub source: ModuleSource,
}

/// Where a node has a module from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleSource {
    /// It was registered here.
    Local,
    /// A peer, by its id.
    Peer(String),
}

/// How a network is, as one of its nodes sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// This node.
    pub peer_id: String,
    /// By which addresses others reach this node: multiaddresses that end in its peer id.
    pub addresses: Vec<String>,
    /// The nodes that this one is connected to.
    pub peers: Vec<PeerStatus>,
    /// Its connections, and whom it knows besides.
    pub connections: ConnectionCounts,
    /// The records of names.
    pub records: RecordCounts,
    /// The content that is kept here for others.
    pub blobs: BlobCounts,
    /// Whether everything has enough copies.
    pub replication: ReplicationCounts,
    /// What went through the connections, since the start.
    pub traffic: Traffic,
    /// How much of what peers asked or sent was refused since the start, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// A node that this one is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which node.
    pub peer_id: String,
    /// The addresses that it is known by.
    pub addresses: Vec<String>,
    /// How long a packet takes there and back; `None` until it was measured.
    pub round_trip: Option<Duration>,
    /// What it says that it runs; `None` until it did.
    pub agent: Option<String>,
}

/// A node's connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Those that others opened.
    pub inbound: u64,
    /// Those that it opened.
    pub outbound: u64,
    /// Peers that it can route look-ups by, connected or not.
    pub routable_peers: u64,
    /// Peers that it does not let in at the moment.
    pub banned_peers: u64,
}

/// Records of names, by what this node has to do with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// All that it knows.
    pub known: u64,
    /// Its own, which it has signed.
    pub own: u64,
    /// Those of others whose content it keeps.
    pub held: u64,
}

/// Content that a node keeps for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobCounts {
    /// How many closures: modules, each with all that it links to.
    pub count: u64,
    /// How many bytes they have, as their owners' records say. What two closures share counts for both.
    pub bytes: u64,
}

/// Records whose content has too few copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicationCounts {
    /// Copies that are being made, or wait for that.
    pub pending: u64,
    /// Records of which fewer nodes keep the content than should.
    pub under_replicated: u64,
}

/// Bytes that went through a node's connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What came in.
    pub received_bytes: u64,
    /// What went out.
    pub sent_bytes: u64,
}
