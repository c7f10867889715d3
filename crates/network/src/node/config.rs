//! What a node is started with.

use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::pnet::PreSharedKey;
use libp2p::{Multiaddr, PeerId};

use crate::Key;

/// Requests that a peer may begin in a second, over time, and their bytes. What a node sends by itself
/// keeps to what its peers take.
pub(crate) const REQUESTS_PER_SECOND: u32 = 50;
/// See [`REQUESTS_PER_SECOND`].
pub(crate) const REQUEST_BYTES_PER_SECOND: u32 = 1 << 20;

/// What a node is started with.
#[derive(Clone)]
pub(crate) struct NodeConfig {
    /// The node's identity. Its public key's peer id is what others know it by.
    pub(crate) keypair: Keypair,
    /// The secret of a private network, which is reached over TCP alone: nobody without it gets as
    /// far as a handshake. `None`: whoever knows `network` may come.
    pub(crate) secret: Option<PreSharedKey>,
    /// Which network this is. It is part of every protocol's name, so nodes of two networks have
    /// nothing to say to each other, and part as soon as they notice.
    pub(crate) network: Key,
    /// What it says that it is: a program and its version.
    pub(crate) agent: String,
    /// Where to listen. `/ip4/0.0.0.0/…` becomes one address for each interface.
    pub(crate) listen: Vec<Multiaddr>,
    /// Where to find the network: peers that are dialled until they answer, and again whenever the
    /// connection is lost. They are let in even when all places are taken.
    pub(crate) peers: Vec<Multiaddr>,
    /// Peers remembered from earlier, which are dialled while there are few connections.
    pub(crate) known: Vec<(PeerId, Vec<Multiaddr>)>,
    /// Whether to look for peers on the local network by multicast DNS, and to be found there.
    pub(crate) mdns: bool,
    /// Whether all peers reach each other directly, as on a local network or in one process. Such
    /// a node serves look-ups at once. One that is not so sure asks others whether it is reachable
    /// (AutoNAT), waits with serving until it is, and helps others or has itself helped through
    /// routers (relays, hole punching).
    pub(crate) local_only_mode: bool,
    /// What peers may use of this node.
    pub(crate) bounds: PeerBounds,
    /// What carries the bytes.
    pub(crate) transport: Transport,
}

/// What carries the bytes between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP (Noise, yamux) and QUIC, names by DNS; of a private network TCP alone.
    Network,
    /// Channels in this process, under `/memory/…` addresses: for many nodes in one process.
    Memory,
    /// The same, where all that is sent comes so much later.
    #[cfg(feature = "delay")]
    Delayed(Duration),
    /// TCP behind a wall that lets in only whom the node has dialled.
    #[cfg(test)]
    Walled,
}

/// What peers may use of a node, each by itself and all together.
///
/// Whoever asks for more is refused, and counted ([`super::Refusals`]); whoever goes on asking for
/// much more is disconnected and not let in for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerBounds {
    /// Connections, of all peers, either way.
    pub(crate) connections: u32,
    /// Those of them that others opened. The rest is for peers of our own choice, so that a crowd
    /// of strangers cannot have all places.
    pub(crate) inbound_connections: u32,
    /// Those beyond all these, of peers that come when the places are taken: they may stay for `visit`,
    /// to be told of other peers.
    pub(crate) visitors: u32,
    /// How long a visitor may stay, unless there is a place for it then.
    pub(crate) visit: Duration,
    /// Connections of one peer. Two nodes that dial each other at once have two, and a third is
    /// needed to replace a relayed one.
    pub(crate) connections_per_peer: u32,
    /// Connections on which the handshake is not done, each way.
    pub(crate) pending_connections: u32,
    /// While fewer peers than this are live, peers that were found are dialled. The places that are
    /// left are for those who dial us.
    pub(crate) wanted_peers: usize,
    /// Requests and transfer streams that a peer may begin in a second, over time.
    pub(crate) requests_per_second: u32,
    /// How many it may begin at once, after it was quiet.
    pub(crate) request_burst: u32,
    /// Bytes of requests that a peer may send in a second, over time.
    pub(crate) bytes_per_second: u32,
    /// How many it may send at once, after it was quiet.
    pub(crate) byte_burst: u32,
    /// Requests for content that a peer may make on its transfer streams in a second, over time. A
    /// request is for a range of 1 MiB at most; whoever makes more of them waits.
    pub(crate) content_requests_per_second: u32,
    /// How many it may make at once, after it was quiet.
    pub(crate) content_burst: u32,
    /// By how many bursts a peer may exceed the rates, being refused, before it is banned.
    pub(crate) patience: u32,
    /// For how long a banned peer is not let in.
    pub(crate) ban: Duration,
    /// A peer's requests that are answered at the same time.
    pub(crate) requests_at_once: usize,
    /// All peers' requests that are answered at the same time.
    pub(crate) all_requests_at_once: usize,
    /// A peer's transfer streams that are served at the same time.
    pub(crate) streams_at_once: usize,
    /// All peers' transfer streams that are served at the same time.
    pub(crate) all_streams_at_once: usize,
    /// Requests to one peer that wait for their answers.
    pub(crate) asks_at_once: usize,
    /// Keys that one peer may be on record as a provider of.
    pub(crate) provided_keys: usize,
    /// Provider records of all peers together.
    pub(crate) all_provided_keys: usize,
}

impl Default for PeerBounds {
    fn default() -> Self {
        Self {
            connections: 128,
            inbound_connections: 96,
            visitors: 8,
            visit: Duration::from_secs(10),
            connections_per_peer: 3,
            pending_connections: 32,
            wanted_peers: 64,
            requests_per_second: REQUESTS_PER_SECOND,
            request_burst: 500,
            bytes_per_second: REQUEST_BYTES_PER_SECOND,
            byte_burst: 8 << 20,
            content_requests_per_second: 256,
            content_burst: 1024,
            patience: 2,
            ban: Duration::from_secs(10 * 60),
            requests_at_once: 16,
            all_requests_at_once: 256,
            streams_at_once: 8,
            all_streams_at_once: 64,
            asks_at_once: 32,
            provided_keys: 4096,
            all_provided_keys: 64 << 10,
        }
    }
}

impl std::fmt::Debug for NodeConfig {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeConfig")
            .field("peer", &self.keypair.public().to_peer_id())
            .field("private", &self.secret.is_some())
            .field("network", &self.network)
            .field("listen", &self.listen)
            .field("peers", &self.peers)
            .field("known", &self.known.len())
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
