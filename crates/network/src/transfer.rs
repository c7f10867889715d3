//! Moving content between nodes: a protocol of requests and responses over streams.
//!
//! A provider is asked for a module's contents list, or for a range of an item in one. Ranges come
//! with the hashes that prove them: each is verified against the item's BLAKE3 root, as a contents
//! list states it, before a byte of it is kept. So an item can be put together from several
//! providers, none of which is trusted, and whoever sends a wrong byte is known.
//!
//! All that is taken from a peer has a length that is known before it is asked for. Several requests
//! may follow each other on a stream, one at a time.

mod conversation;
mod fetch;
mod job;
mod message;
mod partial;
mod proof;
mod range;
mod schedule;
mod serve;

pub(crate) use fetch::{FetchError, Fetcher, Peers, Timing};
pub(crate) use partial::Partials;
pub(crate) use proof::{Unproved, prove};
#[cfg(test)]
pub(crate) use serve::ServeError;
pub(crate) use serve::{ServeLimits, Server, Source};

/// The protocol's name.
pub(crate) const TRANSFER_PROTOCOL: &str = "/wasm-exec/transfer/1";

/// What a provider did that no honest one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Fault {
    /// It sent bytes that are not those of the item.
    #[error("it sent wrong bytes")]
    WrongBytes,
    /// It announced more or fewer bytes than there are.
    #[error("it announced a wrong length")]
    WrongLength,
    /// It sent what is no response.
    #[error("it sent no response of this protocol")]
    Malformed,
}

#[cfg(test)]
mod tests;
