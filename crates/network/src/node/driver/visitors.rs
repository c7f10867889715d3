//! Who comes when all places are taken, and may stay for a while to be told of others.
//!
//! Otherwise whoever knows the address of one node alone, and that node is full, would never find the
//! network.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// How long until somebody may come for another visit, so that the places are for those who are new.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// The most visits that are remembered. While there are as many, nobody is let in for one.
const MAX_REMEMBERED: usize = 4096;

/// The visits of late.
#[derive(Debug, Default)]
pub(super) struct Visitors(HashMap<PeerId, Instant>);

impl Visitors {
    /// Whether a peer may come for a visit, which begins then.
    pub(super) fn admit(&mut self, peer: PeerId, now: Instant) -> bool {
        self.0.retain(|_, began| now.saturating_duration_since(*began) < AGAIN);
        let may_come = self.0.len() < MAX_REMEMBERED && !self.0.contains_key(&peer);
        if may_come {
            self.0.insert(peer, now);
        }
        may_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_once_in_a_while() {
        let mut visitors = Visitors::default();
        let ([one, other], now) = ([(); 2].map(|()| PeerId::random()), Instant::now());
        assert!(visitors.admit(one, now) && visitors.admit(other, now));
        assert!(!visitors.admit(one, now + AGAIN / 2));
        assert!(visitors.admit(one, now + AGAIN));
    }

    #[test]
    fn no_more_are_remembered_than_the_limit_says() {
        let (mut visitors, now) = (Visitors::default(), Instant::now());
        for _ in 0..MAX_REMEMBERED {
            assert!(visitors.admit(PeerId::random(), now));
        }
        assert!(!visitors.admit(PeerId::random(), now));
        assert!(visitors.admit(PeerId::random(), now + AGAIN));
    }
}
