//! Peers that say they hold what they cannot prove to hold.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;

use super::Proof;

/// How often in a row a peer may be silent when it is to prove something: it may be busy.
const MAX_SILENCES: u32 = 3;

/// For how long nothing is believed of a peer that was found out.
const DISTRUSTED_FOR: Duration = Duration::from_secs(60 * 60);

/// The most peers that are remembered as found out. Beyond them the first is forgotten.
const MAX_DISTRUSTED: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Of live peers, how often each has been silent.
    silences: BTreeMap<PeerId, u32>,
    /// Until when.
    distrusted: BTreeMap<PeerId, Duration>,
}

impl Doubts {
    /// Notes how `peer` answered; `true` if it is found out now.
    pub(super) fn note(&mut self, now: Duration, peer: &PeerId, proof: Proof) -> bool {
        let is_found_out = match proof {
            Proof::Given => {
                self.silences.remove(peer);
                false
            }
            Proof::Silent => {
                let silences = self.silences.entry(*peer).or_default();
                *silences += 1;
                *silences >= MAX_SILENCES
            }
            Proof::Wrong => true,
        };
        if is_found_out {
            self.silences.remove(peer);
            self.distrust(now, *peer);
        }
        is_found_out
    }

    fn distrust(&mut self, now: Duration, peer: PeerId) {
        self.distrusted.retain(|_, until| now < *until);
        if self.distrusted.len() >= MAX_DISTRUSTED {
            let first = self.distrusted.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                self.distrusted.remove(&first);
            }
        }
        self.distrusted.insert(peer, now + DISTRUSTED_FOR);
    }

    /// Whether `peer` is not believed. It does not help it to come again.
    pub(super) fn is_distrusted(&self, now: Duration, peer: &PeerId) -> bool {
        self.distrusted.get(peer).is_some_and(|until| now < *until)
    }

    /// `peer` is gone.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.silences.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn silence_in_a_row_and_one_wrong_proof_are_found_out() {
        let (mut doubts, peer) = (Doubts::default(), PeerId::random());
        for proof in [Proof::Silent, Proof::Silent, Proof::Given, Proof::Silent, Proof::Silent] {
            assert!(!doubts.note(NOW, &peer, proof));
        }
        assert!(doubts.note(NOW, &peer, Proof::Silent));
        let other = PeerId::random();
        assert!(doubts.note(NOW, &other, Proof::Wrong));
        for peer in [peer, other] {
            assert!(doubts.is_distrusted(NOW + DISTRUSTED_FOR / 2, &peer));
            assert!(!doubts.is_distrusted(NOW + DISTRUSTED_FOR, &peer));
        }
    }

    #[test]
    fn who_goes_and_comes_again_is_found_out_still_and_not_all_are_remembered() {
        let (mut doubts, first) = (Doubts::default(), PeerId::random());
        doubts.note(NOW, &first, Proof::Wrong);
        doubts.forget(&first);
        assert!(doubts.is_distrusted(NOW, &first));
        for _ in 0..MAX_DISTRUSTED {
            doubts.note(NOW * 2, &PeerId::random(), Proof::Wrong);
        }
        assert_eq!(doubts.distrusted.len(), MAX_DISTRUSTED);
        assert!(!doubts.is_distrusted(NOW * 2, &first));
    }
}
