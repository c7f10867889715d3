//! With which peers records have been compared to the end, so that what is not known here is known to
//! none of them.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::PeerId;

/// How long a peer is waited for that tells nothing, or nothing new, before its end is reached. Names
/// that only such a peer knows are then taken for unknown, as if it were not connected.
pub(crate) const AWAITED: Duration = Duration::from_secs(60);

/// The live peers, and how far comparing records with each has come. Times are since any fixed moment.
#[derive(Debug, Default)]
pub(crate) struct Compared(HashMap<PeerId, Progress>);

#[derive(Clone, Copy, Debug)]
enum Progress {
    /// It has not told all that it knows, and told something new last at this time, or was met then.
    Going {
        since: Duration,
    },
    Done,
}

impl Compared {
    /// A peer is connected.
    pub(crate) fn met(&mut self, peer: PeerId, now: Duration) {
        self.0.insert(peer, Progress::Going { since: now });
    }

    /// A peer is connected no more.
    pub(crate) fn gone(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// A peer has told something that was new, and not all.
    pub(crate) fn told_some(&mut self, peer: &PeerId, now: Duration) {
        if let Some(Progress::Going { since }) = self.0.get_mut(peer) {
            *since = now;
        }
    }

    /// A peer has told all that it knows.
    pub(crate) fn told_all(&mut self, peer: &PeerId) {
        if let Some(progress) = self.0.get_mut(peer) {
            *progress = Progress::Done;
        }
    }

    /// Whether there is nobody who might still tell something.
    pub(crate) fn is_complete(&self, now: Duration) -> bool {
        self.0.values().all(|progress| match progress {
            Progress::Going { since } => now >= *since + AWAITED,
            Progress::Done => true,
        })
    }

    /// Whether a peer has told all that it knows.
    #[cfg(test)]
    pub(crate) fn is_done(&self, peer: &PeerId) -> bool {
        matches!(self.0.get(peer), Some(Progress::Done))
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
        compared.gone(&peer);
        compared.told_some(&peer, AWAITED);
        assert!(compared.is_complete(SECOND), "it does not come back by that");
    }
}
