use std::collections::BTreeSet;

use libp2p::PeerId;
use proptest::prelude::*;

use super::*;

/// A peer id that is the hash `bytes`.
fn peer(bytes: [u8; 32]) -> PeerId {
    let mut id = vec![0x12, 0x20];
    id.extend(bytes);
    PeerId::from_bytes(&id).unwrap()
}

fn peers(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<PeerId>> {
    prop::collection::btree_set(any::<[u8; 32]>(), size)
        .prop_map(|ids| ids.into_iter().map(peer).collect())
}

fn live(peers: &[PeerId]) -> LivePeers {
    peers.iter().copied().collect()
}

/// How many of the targets of before are none any more.
fn replaced(before: &[PeerId], after: &[PeerId]) -> usize {
    before.iter().filter(|peer| !after.contains(peer)).count()
}

proptest! {
    #[test]
    fn the_nearest_are_those_of_a_sort_by_distance(key: [u8; 32], peers in peers(0..40)) {
        let key = Key::from_bytes(key);
        let mut sorted = peers.clone();
        sorted.sort_by_key(|peer| key.hashed().distance(&Key::of_peer(peer)));
        let live = live(&peers);
        prop_assert_eq!(live.nearest(&key).copied().collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn the_owner_and_the_closest_others_are_the_targets(key: [u8; 32], peers in peers(1..12)) {
        let key = Key::from_bytes(key);
        let targets = targets(&key, &peers[0], &live(&peers));
        let distinct: BTreeSet<_> = targets.iter().collect();
        prop_assert_eq!(distinct.len(), targets.len());
        prop_assert_eq!(targets.len(), peers.len().min(REPLICAS));
        prop_assert_eq!(targets[0], peers[0]);
        let farthest = targets[1..].iter().map(|peer| key.hashed().distance(&Key::of_peer(peer))).max();
        for other in peers.iter().filter(|peer| !targets.contains(peer)) {
            prop_assert!(Some(key.hashed().distance(&Key::of_peer(other))) > farthest);
        }
    }

    #[test]
    fn the_order_in_which_peers_are_given_does_not_matter(
        key: [u8; 32],
        (peers, shuffled) in peers(1..12).prop_flat_map(|peers| {
            (Just(peers.clone()), Just(peers).prop_shuffle())
        }),
    ) {
        let key = Key::from_bytes(key);
        let mut one_by_one = LivePeers::new();
        for peer in &shuffled {
            prop_assert!(one_by_one.insert(*peer));
            prop_assert!(!one_by_one.insert(*peer));
        }
        let owner = &peers[0];
        prop_assert_eq!(targets(&key, owner, &live(&peers)), targets(&key, owner, &one_by_one));
    }

    /// Read backwards, it is the law for a peer that joins.
    #[test]
    fn one_that_goes_changes_one_place_at_most(
        key: [u8; 32],
        peers in peers(2..12),
        goes: prop::sample::Index,
        owner_lives: bool,
    ) {
        let key = Key::from_bytes(key);
        let owner = if owner_lives { peers[0] } else { peer([0; 32]) };
        let mut live = live(&peers);
        let before = targets(&key, &owner, &live);
        prop_assert!(live.remove(&peers[goes.index(peers.len())]));
        let after = targets(&key, &owner, &live);
        prop_assert!(replaced(&before, &after) <= 1);
        prop_assert!(replaced(&after, &before) <= 1);
    }

    #[test]
    fn who_is_not_willing_is_passed_over(key: [u8; 32], peers in peers(5..12)) {
        let key = Key::from_bytes(key);
        let live = live(&peers);
        let unwilling = targets(&key, &peers[0], &live)[1];
        let instead = willing_targets(&key, &peers[0], &live, |peer| *peer != unwilling);
        prop_assert_eq!(instead.len(), REPLICAS);
        prop_assert!(!instead.contains(&unwilling));
    }
}
