//! What a node decides, without I/O: which peers should hold a record's content, how two nodes find
//! out what one of them has not heard of, and what to do when peers go away.
//!
//! Time and chance are passed in, so the same code serves the real node and a simulation of
//! thousands of nodes from a seed. Nothing here verifies a record: whoever carries out what is
//! decided here checks signatures and digests. So a peer that lies to this code can withhold, or
//! make this node ask in vain for as much as a bound allows, and no more.

pub mod placement;
pub mod repair;
pub mod sync;

pub use crate::protocol::Entry;
