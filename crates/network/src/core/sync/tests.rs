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
    fn entries_from(&self, key: &Key) -> impl Iterator<Item = Entry> {
        let part = self.0.range(key.rest_of_part());
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
            Ask::Pages(pages) => Answer::Pages(told(theirs, &pages).unwrap()),
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

/// What a peer does that answers with `told` when it is asked for the first pages of these parts.
fn lie(told: impl Fn(&[u8]) -> Vec<Vec<Entry>>) -> Result<(), Misbehaviour> {
    let mut round = Round::new(Fingerprints::new().summary(&Known::default()));
    assert_eq!(round.ask(), Some(Ask::Summary));
    let summary = vec![Key::from_bytes([9; Key::BYTES]); PARTS];
    round.answered(Answer::Summary(summary), &Known::default(), &mut random()).unwrap();
    let Some(Ask::Pages(pages)) = round.ask() else { panic!("parts differ") };
    assert_eq!(pages.len(), MAX_PAGES);
    let parts: Vec<_> = pages.iter().map(part_of).collect();
    let taken = round.answered(Answer::Pages(told(&parts)), &Known::default(), &mut random());
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
        let told: Vec<_> = theirs.entries_from(&first_of(1)).collect();
        let known: BTreeSet<_> = mine.entries_from(&first_of(1)).collect();
        let lacking = told.iter().filter(|entry| !known.contains(entry)).map(|entry| entry.key);
        prop_assert_eq!(
            missing(mine.entries_from(&first_of(1)), &told),
            lacking.collect::<Vec<_>>()
        );
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
fn a_part_is_told_page_by_page() {
    let mut known = Known::default();
    let count = u32::try_from(MAX_ENTRIES).unwrap();
    (0..count).for_each(|number| known.learn(entry(3, number, 0)));
    known.learn(entry(4, 0, 0));
    let before = Fingerprints::new().summary(&known);
    let last = entry(3, count, 0);
    known.learn(last);
    assert_ne!(Fingerprints::new().summary(&known), before);
    let page = |from| told(&known, &[from]).unwrap().remove(0);
    let first = page(first_of(3));
    assert_eq!(first.len(), MAX_ENTRIES);
    assert_eq!(page(next_of(&first[MAX_ENTRIES - 1].key).unwrap()), [last]);
    assert_eq!(page(next_of(&last.key).unwrap()), []);
    assert_eq!(told(&known, &[first_of(3); 2]), None, "each once");
    let many: Vec<_> = (0..).map(first_of).take(MAX_PAGES + 1).collect();
    assert_eq!(told(&known, &many), None);
}

#[test]
fn after_the_last_key_of_a_part_comes_none() {
    let mut last = [u8::MAX; Key::BYTES];
    last[0] = 3;
    assert_eq!(next_of(&Key::from_bytes(last)), None);
    last[Key::BYTES - 1] = 0;
    assert!(next_of(&Key::from_bytes(last)).is_some_and(|next| part_of(&next) == 3));
}

/// Names can be chosen so that their keys begin alike: whoever does so must not hide what comes after
/// theirs.
#[test]
fn parts_of_any_size_come_to_be_known() {
    let pages = 3 * MAX_ROUND_KEYS / MAX_ENTRIES;
    let count = u32::try_from(pages * MAX_ENTRIES + 7).unwrap();
    let mut theirs = Known::default();
    (0..count).for_each(|number| theirs.learn(entry(3, number, 0)));
    (0..=u8::MAX).for_each(|part| theirs.learn(entry(part, u32::MAX, 0)));
    // One that knows nothing, and one that knows all but the last.
    let mut one = Known::default();
    let mut other = theirs.clone();
    other.0.remove(&entry(3, count - 1, 0).key);
    let rounds = (1..).find(|_| {
        round(&mut one, &theirs);
        one.0 == theirs.0
    });
    assert_eq!(rounds, Some(4), "each brings as many as it may");
    round(&mut other, &theirs);
    assert_eq!(other.0, theirs.0);
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
    assert_eq!(lie(|parts| of(parts, &[(1, 1)])), Err(Misbehaviour::OtherPage));
    assert_eq!(lie(|parts| of(parts, &[(0, 2), (0, 1)])), Err(Misbehaviour::OutOfOrder));
    assert_eq!(lie(|parts| of(parts, &[(0, 1), (0, 1)])), Err(Misbehaviour::OutOfOrder));
    let many: Vec<_> = (0..).map(|number| (0, number)).take(MAX_ENTRIES + 1).collect();
    assert_eq!(lie(|parts| of(parts, &many)), Err(Misbehaviour::TooMany));
}

#[test]
fn answers_to_another_question_end_the_round() {
    for answer in [Answer::Found, Answer::Pages(Vec::new()), Answer::Summary(Vec::new())] {
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
    let (mut pages_asked, mut wanted) = (0, 0);
    while let Some(ask) = round.ask() {
        let answer = match ask {
            Ask::Summary => Answer::Summary(vec![Key::from_bytes([9; Key::BYTES]); PARTS]),
            Ask::Pages(pages) => {
                pages_asked += pages.len();
                Answer::Pages(pages.iter().map(full_page).collect())
            }
            Ask::Find(keys) => {
                wanted += keys.len();
                Answer::Found
            }
        };
        round.answered(answer, &none, &mut random()).unwrap();
    }
    assert_eq!(wanted, MAX_ROUND_KEYS);
    assert_eq!(pages_asked, MAX_ROUND_KEYS / MAX_ENTRIES);
    assert!(!round.is_complete());
}

/// As many entries as may be told of a page, whichever it is.
fn full_page(from: &Key) -> Vec<Entry> {
    let count = u32::try_from(MAX_ENTRIES).unwrap();
    let first = u32::from_be_bytes(from.as_bytes()[28..].try_into().unwrap());
    (first..first + count).map(|number| entry(part_of(from), number, 1)).collect()
}

/// One that need not be asked for anything.
struct Settled;

impl Entries for Settled {
    fn entries_from(&self, _: &Key) -> impl Iterator<Item = Entry> {
        std::iter::empty()
    }

    fn is_settled(&self, _: &Entry) -> bool {
        true
    }
}

#[test]
fn a_peer_that_always_has_another_page_is_left_as_well() {
    let mut round = Round::new(Fingerprints::new().summary(&Settled));
    let mut asked = 0;
    while let Some(ask) = round.ask() {
        let answer = match ask {
            Ask::Summary => Answer::Summary(vec![Key::from_bytes([9; Key::BYTES]); PARTS]),
            Ask::Pages(pages) => {
                asked += pages.len();
                Answer::Pages(pages.iter().map(full_page).collect())
            }
            Ask::Find(keys) => panic!("{keys:?} are settled"),
        };
        round.answered(answer, &Settled, &mut random()).unwrap();
    }
    assert_eq!(asked, MAX_ROUND_PAGES);
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
