//! What can go wrong between a node and its network.

use std::io;

use libp2p::{Multiaddr, TransportError, noise};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The identity cannot be used for handshakes.
    #[error("the identity cannot be used")]
    Identity(#[from] noise::Error),
    /// The resolver of names could not be set up.
    #[error("the resolver cannot be set up")]
    Resolver(#[from] io::Error),
    /// It cannot listen at an address that it is given.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// Why not.
        #[source]
        source: TransportError<io::Error>,
    },
    /// Listening at an address ended before it began.
    #[error("cannot listen at {address}: nothing came of it in time")]
    NotListening {
        /// The address.
        address: Multiaddr,
    },
}

/// Why a peer has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// It cannot be reached, or the connection was lost.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// There was no answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// It does not speak the protocol of this network.
    #[error("the peer is not of this network")]
    Unsupported,
    /// What it sent is no answer.
    #[error("the peer's answer makes no sense")]
    Malformed,
    /// It has not answered as many requests yet as may wait for it.
    #[error("too many requests wait for the peer")]
    TooMany,
    /// The node has shut down.
    #[error("the node has shut down")]
    ShutDown,
}

/// Why there is no transfer stream to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// It cannot be reached, or the connection was lost.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// It is reached through a relay alone, which is not there to carry content.
    #[error("the peer is reached through a relay only")]
    Relayed,
    /// Nothing came of it in time.
    #[error("the peer did not open the stream in time")]
    TimedOut,
    /// It does not speak the protocol of this network.
    #[error("the peer is not of this network")]
    Unsupported,
    /// As many streams as may are being opened to it already.
    #[error("too many streams to the peer are being opened")]
    TooMany,
    /// The node has shut down.
    #[error("the node has shut down")]
    ShutDown,
}
