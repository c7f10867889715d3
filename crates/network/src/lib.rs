//! The peer-to-peer backend of the registry: what is registered on one node is callable by name on
//! every node, with no server in between and no peer that has to be trusted.
//!
//! A node keeps what it registers in the embedded backend, tells the others by signed records of
//! names, and hands copies to the peers closest to each record's [`Key`]. Whatever comes from a peer
//! is verified before it is used: records by their owners' signatures, manifests and blobs by their
//! digests while they arrive.

#[cfg(test)]
mod adversaries;
mod audits;
mod backend;
mod compared;
mod config;
mod contents;
pub mod core;
mod exchange;
mod fetching;
mod held;
mod index;
mod key;
mod knowledge;
mod landed;
mod library;
mod lookup;
mod names;
mod network_id;
mod node;
mod offers;
mod pace;
mod protocol;
mod publishing;
mod recent;
mod record;
mod rows;
mod shared;
mod status;
mod suspicions;
mod transfer;
mod upkeep;

pub use backend::{NetworkBackend, NetworkError};
pub use config::{InvalidNetworkConfig, NetworkConfig};
pub use fetching::MAX_CLOSURE_BYTES;
pub use key::{Distance, Key};
pub use node::NodeError;
