//! Which peers should hold a record's content.
//!
//! The owner while it lives, and of the others those that are closest to the record's key. Every
//! node comes to the same answer from the same peers, and one peer that comes or goes changes one
//! place of a record at most.

mod live;
#[cfg(test)]
mod tests;

use libp2p::PeerId;

pub use self::live::{LivePeers, Nearest};
use crate::Key;

/// How many peers should hold a record's content, its owner included.
pub const REPLICAS: usize = 3;

/// The peers that should hold the content of `owner`'s record under `key`: at most [`REPLICAS`], all
/// of them distinct and in `live`; the owner first, then the nearest first.
pub fn targets(key: &Key, owner: &PeerId, live: &LivePeers) -> Vec<PeerId> {
    willing_targets(key, owner, live, |_| true)
}

/// As [`targets`], passing over those that are not `willing`, whose places go to the next nearest.
pub fn willing_targets(
    key: &Key,
    owner: &PeerId,
    live: &LivePeers,
    willing: impl Fn(&PeerId) -> bool,
) -> Vec<PeerId> {
    let owner_first = live.get(owner).into_iter();
    let others = live.nearest(key).filter(|peer| *peer != owner);
    owner_first.chain(others).filter(|peer| willing(peer)).take(REPLICAS).copied().collect()
}
