//! What each peer has used of this node, and what follows from it.
//!
//! A peer has two token buckets, for requests and for their bytes. It may overdraw them: what it
//! asks for then is refused, but charged. So a peer that calms down is served again after a while,
//! and one that does not falls ever deeper, until it is banned. What it asks for on transfer streams
//! has a bucket of its own, for which it is made to wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::PeerBounds;
use crate::pace::{Bucket, Pace};

/// The most peers that are remembered with what they used. The connected ones are far fewer, and
/// the others are forgotten as soon as their buckets are full again.
const MAX_ACCOUNTS: usize = 4096;

/// The most peers that are banned at a time. The ban that ends first gives way to a new one.
const MAX_BANS: usize = 4096;

/// What becomes of what a peer asks for, in order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It is served.
    Serve,
    /// It is refused.
    Refuse,
    /// The peer is to be banned.
    Ban,
}

/// What all peers have used.
pub(super) struct Ledger {
    bounds: PeerBounds,
    accounts: HashMap<PeerId, Account>,
    bans: HashMap<PeerId, Instant>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// What one peer has used.
struct Account {
    requests: Credit,
    bytes: Credit,
    content: Pace,
    requests_at_once: Arc<Semaphore>,
    streams_at_once: Arc<Semaphore>,
}

/// A place among what is done for a peer, and among what is done for all. Freed on drop.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Ledger {
    pub(super) fn new(bounds: PeerBounds) -> Self {
        Self {
            accounts: HashMap::new(),
            bans: HashMap::new(),
            requests: Arc::new(Semaphore::new(bounds.all_requests_at_once)),
            streams: Arc::new(Semaphore::new(bounds.all_streams_at_once)),
            bounds,
        }
    }

    /// Charges `peer` for so many requests of so many bytes together.
    pub(super) fn charge(
        &mut self,
        peer: PeerId,
        requests: u32,
        bytes: u64,
        now: Instant,
    ) -> Verdict {
        let Some(account) = self.account(peer, now) else { return Verdict::Refuse };
        let requests = account.requests.take(f64::from(requests), now);
        let bytes = account.bytes.take(bytes as f64, now);
        requests.max(bytes)
    }

    /// How many requests are charged for one that makes no sense: a tenth of a burst.
    pub(super) fn price_of_nonsense(&self) -> u32 {
        (self.bounds.request_burst / 10).max(1)
    }

    /// A place to answer a request of `peer` in.
    pub(super) fn request_place(&mut self, peer: PeerId, now: Instant) -> Option<Place> {
        let all = Arc::clone(&self.requests);
        let account = self.account(peer, now)?;
        Place::among(&account.requests_at_once, all)
    }

    /// A place to serve a transfer stream of `peer` in, and how fast all its streams together are
    /// served.
    pub(super) fn stream_place(&mut self, peer: PeerId, now: Instant) -> Option<(Place, Pace)> {
        let all = Arc::clone(&self.streams);
        let account = self.account(peer, now)?;
        let place = Place::among(&account.streams_at_once, all)?;
        Some((place, account.content.clone()))
    }

    /// Bans `peer`. Whose ban has to give way to it, if there are too many, is returned.
    pub(super) fn ban(&mut self, peer: PeerId, now: Instant) -> Option<PeerId> {
        self.accounts.remove(&peer);
        self.bans.insert(peer, now + self.bounds.ban);
        if self.bans.len() <= MAX_BANS {
            return None;
        }
        let first = *self.bans.iter().min_by_key(|(_, end)| **end)?.0;
        self.bans.remove(&first);
        Some(first)
    }

    /// How many peers are banned.
    pub(super) fn banned(&self) -> usize {
        self.bans.len()
    }

    /// Whether `peer` is banned.
    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        self.bans.contains_key(peer)
    }

    /// Ends the bans that have lasted, and returns whose.
    pub(super) fn end_bans(&mut self, now: Instant) -> Vec<PeerId> {
        self.bans.extract_if(|_, end| *end <= now).map(|(peer, _)| peer).collect()
    }

    /// Forgets those who have used nothing lately.
    pub(super) fn forget_quiet(&mut self, now: Instant) {
        self.accounts.retain(|_, account| !account.is_quiet(now));
    }

    fn account(&mut self, peer: PeerId, now: Instant) -> Option<&mut Account> {
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&peer) {
            self.forget_quiet(now);
            if self.accounts.len() >= MAX_ACCOUNTS {
                return None;
            }
        }
        let bounds = &self.bounds;
        Some(self.accounts.entry(peer).or_insert_with(|| Account::new(bounds, now)))
    }
}

impl Account {
    fn new(bounds: &PeerBounds, now: Instant) -> Self {
        let credit = |rate, burst| Credit::new(rate, burst, bounds.patience, now);
        Self {
            requests: credit(bounds.requests_per_second, bounds.request_burst),
            bytes: credit(bounds.bytes_per_second, bounds.byte_burst),
            content: Pace::new(bounds.content_requests_per_second, bounds.content_burst, now),
            requests_at_once: Arc::new(Semaphore::new(bounds.requests_at_once)),
            streams_at_once: Arc::new(Semaphore::new(bounds.streams_at_once)),
        }
    }

    /// Whether nothing would be lost by forgetting this. Each place that is taken has its semaphore.
    fn is_quiet(&mut self, now: Instant) -> bool {
        self.requests.bucket.is_full(now)
            && self.bytes.bucket.is_full(now)
            && self.content.is_quiet(now)
            && Arc::strong_count(&self.requests_at_once) == 1
            && Arc::strong_count(&self.streams_at_once) == 1
    }
}

impl Place {
    fn among(own: &Arc<Semaphore>, all: Arc<Semaphore>) -> Option<Self> {
        let own = Arc::clone(own).try_acquire_owned().ok()?;
        let of_all = all.try_acquire_owned().ok()?;
        Some(Self { _own: own, _of_all: of_all })
    }
}

/// Tokens that may be overdrawn, and how far.
struct Credit {
    bucket: Bucket,
    deepest: f64,
}

impl Credit {
    fn new(rate: u32, burst: u32, patience: u32, now: Instant) -> Self {
        let deepest = -f64::from(patience) * f64::from(burst);
        Self { bucket: Bucket::new(rate, burst, now), deepest }
    }

    fn take(&mut self, tokens: f64, now: Instant) -> Verdict {
        let level = self.bucket.take(tokens, now);
        if level >= 0.0 {
            Verdict::Serve
        } else if level >= self.deepest {
            Verdict::Refuse
        } else {
            Verdict::Ban
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(PeerBounds {
            requests_per_second: 10,
            request_burst: 20,
            bytes_per_second: 1000,
            byte_burst: 5000,
            patience: 1,
            requests_at_once: 2,
            all_requests_at_once: 3,
            ..PeerBounds::default()
        })
    }

    #[test]
    fn a_burst_is_served_then_the_rate_and_going_on_is_a_ban() {
        let (mut ledger, peer, start) = (ledger(), PeerId::random(), Instant::now());
        let mut at = |millis: u64, requests| {
            ledger.charge(peer, requests, 0, start + Duration::from_millis(millis))
        };
        assert_eq!(at(0, 20), Verdict::Serve);
        assert_eq!(at(0, 1), Verdict::Refuse);
        assert_eq!(at(300, 1), Verdict::Serve);
        assert_eq!(at(300, 20), Verdict::Refuse);
        assert_eq!(at(300, 20), Verdict::Ban);
    }

    #[test]
    fn bytes_count_as_well_and_peers_do_not_share() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let [one, other] = [PeerId::random(), PeerId::random()];
        assert_eq!(ledger.charge(one, 1, 5001, now), Verdict::Refuse);
        assert_eq!(ledger.charge(one, 1, 5000, now), Verdict::Ban);
        assert_eq!(ledger.charge(other, 1, 5000, now), Verdict::Serve);
    }

    #[test]
    fn places_are_each_peers_and_all_peers() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let [one, other] = [PeerId::random(), PeerId::random()];
        let first = ledger.request_place(one, now).unwrap();
        let _second = ledger.request_place(one, now).unwrap();
        assert!(ledger.request_place(one, now).is_none());
        let _third = ledger.request_place(other, now).unwrap();
        assert!(ledger.request_place(other, now).is_none());
        drop(first);
        ledger.forget_quiet(now);
        assert!(ledger.request_place(one, now).is_some());
    }

    #[test]
    fn bans_end_and_are_bounded() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let first = PeerId::random();
        assert_eq!(ledger.ban(first, now), None);
        let later = now + Duration::from_millis(1);
        for _ in 1..MAX_BANS {
            assert_eq!(ledger.ban(PeerId::random(), later), None);
        }
        assert_eq!(ledger.ban(PeerId::random(), later), Some(first));
        assert_eq!(ledger.end_bans(now + ledger.bounds.ban).len(), 0);
        assert_eq!(ledger.end_bans(later + ledger.bounds.ban).len(), MAX_BANS);
    }

    #[test]
    fn the_quiet_are_forgotten() {
        let (mut ledger, now) = (ledger(), Instant::now());
        ledger.charge(PeerId::random(), 10, 0, now);
        ledger.forget_quiet(now);
        assert_eq!(ledger.accounts.len(), 1);
        ledger.forget_quiet(now + Duration::from_secs(1));
        assert_eq!(ledger.accounts.len(), 0);
    }
}
