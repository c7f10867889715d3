use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::core::placement::{REPLICAS, targets};
use crate::protocol::MAX_KEYS;

const SECOND: Duration = Duration::from_secs(1);

/// One node's repair, with a clock.
struct Node {
    repair: Repair,
    now: Duration,
    random: StdRng,
}

impl Node {
    /// The peer at `place` by its nearness to `key` among `peers`, none of which is the owner.
    fn at(place: usize, key: &Key, peers: &[PeerId]) -> Self {
        let me = *peers.iter().copied().collect::<LivePeers>().nearest(key).nth(place).unwrap();
        let mut repair = Repair::new(me);
        peers.iter().for_each(|peer| repair.joined(*peer));
        Self { repair, now: SECOND, random: StdRng::seed_from_u64(7) }
    }

    fn plan(&mut self) -> Vec<Action> {
        self.repair.plan(self.now, &mut self.random)
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn ended(&mut self, peer: &PeerId, key: &Key, stored: Stored) {
        self.repair.store_ended(self.now, peer, key, stored, &mut self.random);
    }

    /// Has all questions answered, by `holds`, until there are none, and gives what else is planned.
    fn answer(&mut self, holds: impl Fn(&PeerId) -> bool) -> Vec<Action> {
        let (asks, others): (Vec<_>, Vec<_>) =
            self.plan().into_iter().partition(|action| matches!(action, Action::AskHolds { .. }));
        if asks.is_empty() {
            return others;
        }
        for ask in asks {
            let Action::AskHolds { peer, keys } = ask else { unreachable!() };
            let held = if holds(&peer) { keys } else { Vec::new() };
            self.repair.told(self.now, &peer, &held);
        }
        others.into_iter().chain(self.answer(holds)).collect()
    }

    fn targets(&self, key: &Key, owner: &PeerId) -> Vec<PeerId> {
        targets(key, owner, self.repair.live())
    }
}

fn peers(count: usize) -> Vec<PeerId> {
    (0..count).map(|_| PeerId::random()).collect()
}

fn key() -> Key {
    Key::of(b"record")
}

#[test]
fn the_first_holder_hands_it_to_those_that_lack_it_and_then_rests() {
    let mut node = Node::at(0, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    let [me, second, third] = node.targets(&key(), &PeerId::random())[..] else { panic!("three") };
    assert_eq!(me, node.repair.me);
    assert_eq!(
        node.answer(|peer| *peer == second),
        [Action::Store { peer: third, key: key() }],
        "the second has it"
    );
    assert_eq!(node.repair.counts(), Counts { held: 1, wanting: 1, asks: 0, stores: 1 });
    node.ended(&third, &key(), Stored::Yes);
    assert_eq!(node.after(SECOND).plan(), []);
    assert_eq!(node.repair.counts(), Counts { held: 1, wanting: 0, asks: 0, stores: 0 });
}

#[test]
fn the_second_holder_waits_for_the_first_and_asks_again() {
    let mut node = Node::at(1, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    let [first, _, third] = node.targets(&key(), &PeerId::random())[..] else { panic!("three") };
    assert_eq!(node.answer(|peer| *peer == first), []);
    assert_eq!(node.after(SECOND).plan(), [], "it is the first one's turn");
    let ask = Action::AskHolds { peer: third, keys: vec![key()] };
    assert_eq!(node.after(SECOND).plan(), [ask]);
    node.repair.told(node.now, &third, &[]);
    assert_eq!(node.plan(), [Action::Store { peer: third, key: key() }]);
}

#[test]
fn the_nearest_holder_acts_when_no_target_holds_it() {
    let mut node = Node::at(3, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    let stores = node.answer(|_| false);
    let targets = node.targets(&key(), &PeerId::random()).into_iter();
    let expected: Vec<_> = targets.map(|peer| Action::Store { peer, key: key() }).collect();
    assert_eq!(stores, expected);
}

#[test]
fn what_peers_hold_in_its_place_is_released_after_a_while() {
    let mut node = Node::at(5, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    assert_eq!(node.answer(|_| true), []);
    assert_eq!(node.after(LINGER / 2).answer(|_| true), []);
    assert_eq!(node.after(LINGER / 2).answer(|_| true), [Action::Release { key: key() }]);
    assert!(!node.repair.holds(&key()));
}

#[test]
fn nothing_is_released_that_a_target_lacks() {
    let mut node = Node::at(5, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    let third = node.targets(&key(), &PeerId::random())[2];
    assert_eq!(node.answer(|_| true), []);
    let lost = node.after(LINGER + SECOND).answer(|peer| *peer != third);
    assert!(!lost.contains(&Action::Release { key: key() }));
    assert!(node.repair.holds(&key()));
}

#[test]
fn an_owner_keeps_its_own() {
    let mut node = Node::at(8, &key(), &peers(9));
    let me = node.repair.me;
    node.repair.held(key(), me);
    for _ in 0..4 {
        assert_eq!(node.after(LINGER).answer(|_| true), []);
    }
    assert!(node.repair.holds(&key()));
}

#[test]
fn one_that_refuses_is_passed_over_for_the_next_nearest() {
    let mut node = Node::at(0, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    let nearest: Vec<_> = node.repair.live().nearest(&key()).copied().collect();
    assert_eq!(node.answer(|peer| *peer == nearest[1]).len(), 1);
    node.ended(&nearest[2], &key(), Stored::Refused);
    let stores = node.answer(|peer| *peer == nearest[1]);
    assert_eq!(stores, [Action::Store { peer: nearest[3], key: key() }]);
}

#[test]
fn failures_are_tried_again_later_and_later() {
    let mut node = Node::at(0, &key(), &peers(2));
    let me = node.repair.me;
    node.repair.held(key(), me);
    let mut tried_at = Vec::new();
    while tried_at.len() < 5 {
        for action in node.after(SECOND).answer(|_| false) {
            let Action::Store { peer, key } = action else { panic!("{action:?}") };
            tried_at.push(node.now);
            node.ended(&peer, &key, Stored::Failed);
        }
    }
    let waits: Vec<_> = tried_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.is_sorted_by(|one, next| *next > *one + SECOND), "{waits:?}");
}

#[test]
fn questions_that_are_never_answered_do_not_hold_up_the_others() {
    let mut node = Node::at(0, &key(), &peers(9));
    node.repair.held(key(), PeerId::random());
    let asked = node.plan().len();
    assert_eq!(asked, REPLICAS - 1);
    assert_eq!(node.after(SECOND).plan(), []);
    node.after(SECOND * 60).plan();
    assert_eq!(node.repair.counts().asks, 0);
    assert_eq!(node.after(SECOND * 10).plan().len(), asked);
}

#[test]
fn what_was_known_of_a_peer_goes_with_it() {
    let mut node = Node::at(0, &key(), &peers(3));
    node.repair.held(key(), PeerId::random());
    assert_eq!(node.answer(|_| true), []);
    let second = node.targets(&key(), &PeerId::random())[1];
    node.repair.left(&second);
    assert_eq!(node.plan(), []);
    node.repair.joined(second);
    assert_eq!(node.plan(), [Action::AskHolds { peer: second, keys: vec![key()] }]);
}

/// What can happen to a node, by the numbers of peers and records.
#[derive(Clone, Debug)]
enum Event {
    Joined(usize),
    Left(usize),
    Held(usize, usize),
    Released(usize),
    Told(usize, Vec<bool>),
    NotTold(usize),
    Ended(usize, usize, Stored),
    Waited(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let stored = prop_oneof![Just(Stored::Yes), Just(Stored::Refused), Just(Stored::Failed)];
    prop_oneof![
        (0..9_usize).prop_map(Event::Joined),
        (0..9_usize).prop_map(Event::Left),
        (0..100_usize, 0..9_usize).prop_map(|(key, owner)| Event::Held(key, owner)),
        (0..100_usize).prop_map(Event::Released),
        (0..9_usize, any::<Vec<bool>>()).prop_map(|(peer, held)| Event::Told(peer, held)),
        (0..9_usize).prop_map(Event::NotTold),
        (0..9_usize, 0..100_usize, stored)
            .prop_map(|(peer, key, stored)| Event::Ended(peer, key, stored)),
        (0..700_u64).prop_map(Event::Waited),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_happens_bounds_hold_and_owners_keep_their_own(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let peers = peers(9);
        let keys: Vec<_> = (0..100_u8).map(|number| Key::of(&[number])).collect();
        let mut node = Node::at(0, &key(), &peers);
        let me = node.repair.me;
        let mut owners = BTreeMap::new();
        for key in &keys {
            node.repair.held(*key, peers[0]);
            owners.insert(*key, peers[0]);
        }
        for event in events {
            let (now, random) = (node.now, &mut node.random);
            match event {
                Event::Joined(peer) => node.repair.joined(peers[peer]),
                Event::Left(peer) => node.repair.left(&peers[peer]),
                Event::Held(key, owner) => {
                    node.repair.held(keys[key], peers[owner]);
                    owners.insert(keys[key], peers[owner]);
                }
                Event::Released(key) => node.repair.released(&keys[key]),
                Event::Told(peer, held) => {
                    let held = keys.iter().zip(held).filter(|(_, held)| *held);
                    let held: Vec<_> = held.map(|(key, _)| *key).collect();
                    node.repair.told(now, &peers[peer], &held);
                }
                Event::NotTold(peer) => node.repair.not_told(now, &peers[peer], random),
                Event::Ended(peer, key, stored) => {
                    node.repair.store_ended(now, &peers[peer], &keys[key], stored, random);
                }
                Event::Waited(seconds) => node.now += SECOND * u32::try_from(seconds).unwrap(),
            }
            for action in node.plan() {
                match action {
                    Action::AskHolds { peer, keys } => {
                        prop_assert!(peer != me && keys.len() <= MAX_KEYS);
                        prop_assert!(keys.iter().all(|key| node.repair.holds(key)));
                    }
                    Action::Store { peer, key } => {
                        prop_assert!(peer != me && node.repair.holds(&key));
                        prop_assert!(node.repair.live().contains(&peer));
                    }
                    Action::Release { key } => prop_assert!(owners[&key] != me),
                }
            }
            let counts = node.repair.counts();
            prop_assert!(counts.asks <= MAX_ASKS && counts.stores <= MAX_STORES);
        }
    }
}
