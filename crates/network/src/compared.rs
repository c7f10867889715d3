//! With which peers records have been compared to the end, so that what is not known here is known to
//! none of them.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::PeerId;

/// How long a peer is waited for that tells nothing, or nothing new, before its end is reached. Names
/// that only such a peer knows are then taken for unknown, as if it were not connected.
pub(crate) const AWAITED: Duration = Duration::from_secs(60);

/// How long it is remembered of a peer that is gone how long it was waited for. Who comes back later is
/// waited for anew.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// Of how many that is remembered. Who was gone first is forgotten first.
const MAX_GONE: usize = 1024;

/// The live peers, and how far comparing records with each has come. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    live: HashMap<PeerId, Progress>,
    /// Those who are gone before they told all: else one that comes back before each wait is over would
    /// be waited for without end.
    gone: HashMap<PeerId, Gone>,
}

#[derive(Clone, Copy, Debug)]
enum Progress {
    /// It has not told all that it knows.
    Going {
        /// When it told something new last, or was met.
        since: Duration,
        /// How long it had been waited for when it was met.
        waited: Duration,
    },
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Gone {
    at: Duration,
    waited: Duration,
}

impl Compared {
    /// A peer is connected.
    pub(crate) fn met(&mut self, peer: PeerId, now: Duration) {
        self.gone.retain(|_, gone| now < gone.at + REMEMBERED);
        let waited = self.gone.remove(&peer).map_or(Duration::ZERO, |gone| gone.waited);
        self.live.insert(peer, Progress::Going { since: now, waited });
    }

    /// A peer is connected no more.
    pub(crate) fn gone(&mut self, peer: &PeerId, now: Duration) {
        let Some(Progress::Going { since, waited }) = self.live.remove(peer) else { return };
        if self.gone.len() >= MAX_GONE
            && let Some(first) = self.gone.iter().min_by_key(|(_, gone)| gone.at)
        {
            let first = *first.0;
            self.gone.remove(&first);
        }
        let waited = waited + now.saturating_sub(since);
        self.gone.insert(*peer, Gone { at: now, waited });
    }

    /// A peer has told something that was new, and not all.
    pub(crate) fn told_some(&mut self, peer: &PeerId, now: Duration) {
        if let Some(progress @ Progress::Going { .. }) = self.live.get_mut(peer) {
            *progress = Progress::Going { since: now, waited: Duration::ZERO };
        }
    }

    /// A peer has told all that it knows.
    pub(crate) fn told_all(&mut self, peer: &PeerId) {
        if let Some(progress) = self.live.get_mut(peer) {
            *progress = Progress::Done;
        }
    }

    /// Whether there is nobody who might still tell something.
    pub(crate) fn is_complete(&self, now: Duration) -> bool {
        self.live.values().all(|progress| match progress {
            Progress::Going { since, waited } => now + *waited >= *since + AWAITED,
            Progress::Done => true,
        })
    }

    /// Whether a peer has told all that it knows.
    #[cfg(test)]
    pub(crate) fn is_done(&self, peer: &PeerId) -> bool {
        matches!(self.live.get(peer), Some(Progress::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_peer_is_awaited_for_so_long_and_no_longer() {
        let mut compared = Compared::default();
        assert!(compared.is_complete(SECOND), "there is nobody");
        let [silent, honest] = [(); 2].map(|()| PeerId::random());
        compared.met(silent, SECOND);
        compared.met(honest, SECOND);
        compared.told_all(&honest);
        assert!(!compared.is_complete(AWAITED));
        assert!(compared.is_complete(SECOND + AWAITED));
        compared.told_all(&silent);
        assert!(compared.is_complete(SECOND));
    }

    #[test]
    fn who_goes_on_telling_is_awaited_longer_and_who_is_gone_is_not() {
        let mut compared = Compared::default();
        let peer = PeerId::random();
        compared.met(peer, SECOND);
        compared.told_some(&peer, AWAITED);
        assert!(!compared.is_complete(SECOND + AWAITED));
        assert!(compared.is_complete(AWAITED + AWAITED));
        compared.gone(&peer, AWAITED);
        compared.told_some(&peer, AWAITED);
        assert!(compared.is_complete(SECOND), "it does not come back by that");
    }

    #[test]
    fn who_comes_and_goes_is_awaited_for_so_long_in_all() {
        let mut compared = Compared::default();
        let peer = PeerId::random();
        let (almost, mut now) = (AWAITED - SECOND, SECOND);
        compared.met(peer, now);
        now += almost;
        compared.gone(&peer, now);
        // The time that it is gone does not count.
        now += AWAITED;
        compared.met(peer, now);
        assert!(!compared.is_complete(now));
        for _ in 0..3 {
            now += SECOND;
            assert!(compared.is_complete(now));
            compared.gone(&peer, now);
            compared.met(peer, now);
        }
        assert!(compared.is_complete(now));
        // Telling something new counts anew, and so does a long time.
        compared.told_some(&peer, now);
        assert!(!compared.is_complete(now + almost));
        compared.gone(&peer, now + AWAITED);
        now += AWAITED + REMEMBERED;
        compared.met(peer, now);
        assert!(!compared.is_complete(now + almost));
        compared.told_all(&peer);
        compared.gone(&peer, now);
        compared.met(peer, now);
        assert!(!compared.is_complete(now + almost), "it has told all, and may know more");
    }

    #[test]
    fn so_many_are_remembered_and_the_last_ones() {
        let mut compared = Compared::default();
        let peers: Vec<_> = (0..=MAX_GONE).map(|_| PeerId::random()).collect();
        peers.iter().for_each(|peer| compared.met(*peer, SECOND));
        for (number, peer) in peers.iter().enumerate() {
            compared.gone(peer, AWAITED + SECOND * (1 + number as u32));
        }
        assert_eq!(compared.gone.len(), MAX_GONE);
        let now = AWAITED + SECOND * (2 + MAX_GONE as u32);
        compared.met(peers[MAX_GONE], now);
        assert!(compared.is_complete(now));
        compared.met(peers[0], now);
        assert!(!compared.is_complete(now), "it is forgotten");
    }
}
