//! The peer-to-peer backend of the registry: what is registered on one node is callable by name on
//! every node, with no server in between and no peer that has to be trusted.
//!
//! A node keeps what it registers in the embedded backend, tells the others by signed records of
//! names, and hands copies to the peers closest to each record's [`Key`]. Whatever comes from a peer
//! is verified before it is used: records by their owners' signatures, manifests and blobs by their
//! digests while they arrive.

mod config;
mod contents;
pub mod core;
mod index;
mod key;
mod names;
mod network_id;
mod node;
mod protocol;
mod record;
mod stub;
mod transfer;

pub use config::{InvalidNetworkConfig, NetworkConfig};
pub use key::Key;

pub use stub::{NetworkBackend, NetworkError};
pub use node::{
    AskError, Direction, NodeConfig, NodeError, NodeStatus, OpenError, Peer, PeerBounds, Peers,
    Refusals, Transport,
};
