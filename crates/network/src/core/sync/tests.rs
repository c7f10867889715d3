use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libp2p::PeerId;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::protocol::MAX_KEYS;

/// What a node knows.
#[derive(Clone, Debug, Default)]
struct Known(BTreeMap<Key, Key>);

impl Known {
    fn learn(&mut self, entry: Entry) {
        self.0.insert(entry.key, entry.hash);
    }
}

impl Entries for Known {
    fn part(&self, part: u8) -> impl Iterator<Item = Entry> {
        let ends = [0, u8::MAX].map(|fill| {
            let mut key = [fill; Key::BYTES];
            key[0] = part;
            Key::from_bytes(key)
        });
        let part = self.0.range(ends[0]..=ends[1]);
        part.map(|(key, hash)| Entry { key: *key, hash: *hash })
    }
}

/// The entry of part `part` that has this number.
fn entry(part: u8, number: u32, hash: u8) -> Entry {
    let mut key = [0; Key::BYTES];
    key[0] = part;
    key[28..].copy_from_slice(&number.to_be_bytes());
    Entry { key: Key::from_bytes(key), hash: Key::from_bytes([hash; Key::BYTES]) }
}

fn known() -> impl Strategy<Value = Known> {
    prop::collection::vec((0..4_u8, 0..40_u32, 0..2_u8), 0..60).prop_map(|entries| {
        let mut known = Known::default();
        entries.into_iter().for_each(|(part, number, hash)| known.learn(entry(part, number, hash)));
        known
    })
}

fn random() -> StdRng {
    StdRng::seed_from_u64(7)
}

/// Has a node that knows `mine` ask one that knows `theirs` until the round is over, and counts what
/// was asked.
fn round(mine: &mut Known, theirs: &Known) -> usize {
    let mut round = Round::new(Fingerprints::new().summary(mine));
    let mut asked = 0;
    while let Some(ask) = round.ask() {
        asked += 1;
        let answer = match ask {
            Ask::Summary => Answer::Summary(Fingerprints::new().summary(theirs)),
            Ask::Parts(parts) => Answer::Parts(told(theirs, &parts).unwrap()),
            Ask::Find(keys) => {
                assert!(keys.len() <= MAX_KEYS);
                for key in keys {
                    mine.learn(Entry { key, hash: theirs.0[&key] });
                }
                Answer::Found
            }
        };
        round.answered(answer, mine, &mut random()).unwrap();
    }
    asked
}

/// What a peer does that answers the parts it is asked for with `told`.
fn lie(told: impl Fn(&[u8]) -> Vec<Vec<Entry>>) -> Result<(), Misbehaviour> {
    let mut round = Round::new(Fingerprints::new().summary(&Known::default()));
    assert_eq!(round.ask(), Some(Ask::Summary));
    let summary = vec![Key::from_bytes([9; Key::BYTES]); PARTS];
    round.answered(Answer::Summary(summary), &Known::default(), &mut random()).unwrap();
    let Some(Ask::Parts(parts)) = round.ask() else { panic!("parts differ") };
    assert_eq!(parts.len(), MAX_PARTS);
    let taken = round.answered(Answer::Parts(told(&parts)), &Known::default(), &mut random());
    if taken.is_err() {
        assert_eq!(round.ask(), None);
    }
    taken
}

proptest! {
    #[test]
    fn after_a_round_each_way_both_know_the_same_keys(mut one in known(), mut other in known()) {
        round(&mut one, &other);
        for (key, hash) in &other.0 {
            prop_assert_eq!(one.0.get(key), Some(hash));
        }
        round(&mut other, &one);
        prop_assert_eq!(&one.0, &other.0);
        prop_assert_eq!(round(&mut one, &other), 1, "nothing differs any more");
    }

    #[test]
    fn what_is_missing_is_what_a_set_says(mine in known(), theirs in known()) {
        let told: Vec<_> = theirs.part(1).collect();
        let known: BTreeSet<_> = mine.part(1).collect();
        let lacking = told.iter().filter(|entry| !known.contains(entry)).map(|entry| entry.key);
        prop_assert_eq!(missing(mine.part(1), &told), lacking.collect::<Vec<_>>());
    }

    #[test]
    fn remembered_fingerprints_are_those_made_anew(known in known(), changes in known()) {
        let (mut known, mut fingerprints) = (known, Fingerprints::new());
        fingerprints.summary(&known);
        for (key, hash) in changes.0 {
            known.learn(Entry { key, hash });
            fingerprints.changed(&key);
        }
        prop_assert_eq!(fingerprints.summary(&known), Fingerprints::new().summary(&known));
    }
}

#[test]
fn a_part_is_told_up_to_its_bound_and_summed_up_so() {
    let mut known = Known::default();
    let count = u32::try_from(MAX_ENTRIES).unwrap();
    (0..count).for_each(|number| known.learn(entry(3, number, 0)));
    let before = Fingerprints::new().summary(&known);
    known.learn(entry(3, count, 0));
    assert_eq!(told(&known, &[3]).unwrap()[0].len(), MAX_ENTRIES);
    assert_eq!(Fingerprints::new().summary(&known), before);
    assert_eq!(told(&known, &[3; MAX_PARTS + 1]), None);
}

#[test]
fn answers_that_no_honest_peer_gives_end_the_round() {
    let of = |parts: &[u8], entries: &[(u8, u32)]| -> Vec<Vec<Entry>> {
        let entries = |part: &u8| {
            entries.iter().map(|(add, number)| entry(part.wrapping_add(*add), *number, 1)).collect()
        };
        parts.iter().map(entries).collect()
    };
    assert_eq!(lie(|parts| of(parts, &[(0, 1), (0, 2)])), Ok(()));
    assert_eq!(lie(|parts| of(&parts[1..], &[(0, 1)])), Err(Misbehaviour::Count));
    assert_eq!(lie(|parts| of(parts, &[(1, 1)])), Err(Misbehaviour::OtherPart));
    assert_eq!(lie(|parts| of(parts, &[(0, 2), (0, 1)])), Err(Misbehaviour::OutOfOrder));
    assert_eq!(lie(|parts| of(parts, &[(0, 1), (0, 1)])), Err(Misbehaviour::OutOfOrder));
    let many: Vec<_> = (0..).map(|number| (0, number)).take(MAX_ENTRIES + 1).collect();
    assert_eq!(lie(|parts| of(parts, &many)), Err(Misbehaviour::TooMany));
}

#[test]
fn answers_to_another_question_end_the_round() {
    for answer in [Answer::Found, Answer::Parts(Vec::new()), Answer::Summary(Vec::new())] {
        let mut round = Round::new(Fingerprints::new().summary(&Known::default()));
        round.ask();
        assert!(round.answered(answer, &Known::default(), &mut random()).is_err());
        assert_eq!(round.ask(), None);
    }
}

#[test]
fn a_peer_that_always_has_more_is_left_after_a_bounded_number_of_requests() {
    let none = Known::default();
    let mut round = Round::new(Fingerprints::new().summary(&none));
    let (mut parts_asked, mut wanted) = (0, 0);
    while let Some(ask) = round.ask() {
        let answer = match ask {
            Ask::Summary => Answer::Summary(vec![Key::from_bytes([9; Key::BYTES]); PARTS]),
            Ask::Parts(parts) => {
                parts_asked += parts.len();
                let count = u32::try_from(MAX_ENTRIES).unwrap();
                let full = |part| (0..count).map(move |number| entry(part, number, 1)).collect();
                Answer::Parts(parts.into_iter().map(full).collect())
            }
            Ask::Find(keys) => {
                wanted += keys.len();
                Answer::Found
            }
        };
        round.answered(answer, &none, &mut random()).unwrap();
    }
    assert_eq!(wanted, MAX_ROUND_KEYS);
    assert_eq!(parts_asked, MAX_ROUND_KEYS / MAX_ENTRIES);
    assert!(!round.is_complete());
}

#[test]
fn each_peer_has_its_round_when_it_is_connected_and_some_now_and_then() {
    let (mut schedule, mut random) = (Schedule::new(), random());
    let peers: Vec<_> = (0..6).map(|_| PeerId::random()).collect();
    schedule.begin(Duration::ZERO, &mut random);
    peers.iter().for_each(|peer| schedule.connected(*peer));
    let now = Duration::from_secs(1);
    let begun: Vec<_> = (0..9).filter_map(|_| schedule.begin(now, &mut random)).collect();
    assert_eq!(begun, peers[..MAX_ROUNDS]);
    schedule.gone(&peers[4]);
    begun.iter().for_each(|peer| schedule.ended(peer));
    assert_eq!(schedule.begin(now, &mut random), Some(peers[5]));
    schedule.ended(&peers[5]);
    assert_eq!(schedule.begin(now, &mut random), None);
    let later = now + SYNC_EVERY * 2;
    let begun: BTreeSet<_> = (0..9).filter_map(|_| schedule.begin(later, &mut random)).collect();
    assert_eq!(begun.len(), SYNC_PEERS);
    assert!(!begun.contains(&peers[4]));
}
