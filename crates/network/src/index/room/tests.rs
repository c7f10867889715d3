//! Who is let in where there is no room, and at whose cost.

use proptest::prelude::*;

use super::*;
use crate::core::sync::{Entries, Fingerprints, differing, missing};
use crate::index::IndexLimits;
use crate::record::fixtures::{NOW, first, owner, sign, signed};
use crate::record::{NameRecord, Seconds};

const OWN: u8 = 0;
const ROOM: usize = 12;
const LIMITS: IndexLimits = IndexLimits { records: ROOM, per_owner: 8 };

fn index() -> Index {
    Index::new(LIMITS, owner(OWN))
}

/// So many records of one owner.
fn crowd(of: u8, count: usize) -> Vec<SignedRecord> {
    (0..count).map(|number| signed(of, &format!("name{number}"), 1)).collect()
}

fn told(index: &mut Index, record: &SignedRecord) -> Applied {
    index.apply(record.clone(), Interest::Told, NOW)
}

fn wanted(index: &mut Index, record: &SignedRecord) -> Applied {
    index.apply(record.clone(), Interest::Wanted, NOW)
}

fn is_new(applied: &Applied) -> bool {
    matches!(applied, Applied::New { .. })
}

/// An index that two owners have filled, and all that they have told.
fn filled() -> (Index, Vec<SignedRecord>) {
    let mut index = index();
    let records = [crowd(1, 8), crowd(2, 8)].concat();
    for record in &records {
        told(&mut index, record);
    }
    assert_eq!(index.counts().records, ROOM);
    (index, records)
}

fn count_of(index: &Index, of: u8) -> usize {
    index.count_of(&owner(of))
}

#[test]
fn newcomers_are_let_in_at_the_cost_of_those_who_have_most() {
    let (mut index, _) = filled();
    assert_eq!([1, 2].map(|of| count_of(&index, of)), [6, 6]);
    let last = index.loose.last_of_more_than(0).unwrap();
    let newcomer = signed(3, "a", 1);
    let Applied::New { displaced: Some(displaced), .. } = told(&mut index, &newcomer) else {
        panic!("it is let in");
    };
    assert_eq!(displaced.key(), last, "the one with the greatest key");
    for record in crowd(3, 8) {
        told(&mut index, &record);
    }
    assert_eq!([1, 2, 3].map(|of| count_of(&index, of)), [4, 4, 4]);
    assert_eq!(told(&mut index, &signed(3, "b", 1)), Applied::NoRoom);
    for of in 4..=255 {
        told(&mut index, &signed(of, "a", 1));
    }
    assert_eq!(index.by_owner.len(), ROOM, "each has one");
    assert_eq!(index.counts().records, ROOM);
}

#[test]
fn what_is_own_held_trusted_or_pinned_does_not_give_way() {
    let (held, trusted) = (signed(100, "held", 1), signed(101, "trusted", 1));
    let (pinned, own) = (signed(102, "pinned", 1), signed(OWN, "own", 1));
    let mut index = index();
    index.trust(owner(101));
    let kept = [held.clone(), trusted, pinned, own];
    for record in &kept {
        assert!(is_new(&told(&mut index, record)));
    }
    // One was there before it was held or pinned.
    assert!(!index.hold(&held));
    index.pin(owner(102));
    for of in 1..=99 {
        for record in crowd(of, 2) {
            told(&mut index, &record);
        }
    }
    assert_eq!(index.counts().records, ROOM + 2, "own and held ones have room of their own");
    for record in &kept {
        assert_eq!(index.get(&record.key()), Some(record));
    }
    // Nor are new ones of trusted owners refused, nor what is given to hold.
    assert!(is_new(&told(&mut index, &signed(101, "later", 1))));
    let unknown = signed(103, "held", 1);
    assert_eq!(told(&mut index, &unknown), Applied::NoRoom);
    assert!(index.hold(&unknown));
    assert_eq!(index.get(&unknown.key()), Some(&unknown));
    assert_eq!(index.counts().records, ROOM + 3);
    // What is held no more is as any other.
    index.release(&unknown.key());
    assert_eq!(index.release(&held.key()).len(), 1);
    assert_eq!(index.counts().records, ROOM + 1);
}

/// Anybody's name is pinned who is called, so pins must not close the index to others.
#[test]
fn pinned_owners_keep_half_of_the_room() {
    let mut index = index();
    (1..=2).for_each(|of| index.pin(owner(of)));
    for record in [crowd(1, 8), crowd(2, 8)].concat() {
        told(&mut index, &record);
    }
    for of in 10..100 {
        told(&mut index, &signed(of, "a", 1));
    }
    // Beyond that they are as all others are, who have one each.
    let pinned = count_of(&index, 1) + count_of(&index, 2);
    assert_eq!((index.kept, pinned, index.by_owner.len()), (ROOM / 2, ROOM / 2 + 2, ROOM / 2));
}

#[test]
fn what_is_asked_for_takes_the_place_of_what_nobody_asked_for() {
    let mut index = index();
    for of in 1..=99 {
        told(&mut index, &signed(of, "a", 1));
    }
    let sought = signed(100, "a", 1);
    assert_eq!(told(&mut index, &sought), Applied::NoRoom);
    assert!(index.is_partial(None));
    assert!(matches!(wanted(&mut index, &sought), Applied::New { displaced: Some(_), .. }));
    assert_eq!(index.get(&sought.key()), Some(&sought));
    assert_eq!(index.counts().records, ROOM);
}

#[test]
fn what_is_asked_for_beyond_an_owners_share_takes_the_place_of_another_of_its() {
    let mut index = index();
    for record in crowd(1, 8) {
        assert!(is_new(&told(&mut index, &record)));
    }
    assert!(index.is_partial(Some(&owner(1))) && !index.is_partial(Some(&owner(2))));
    let sought = signed(1, "sought", 1);
    let refused = Applied::Refused(Refusal::TooMuch);
    assert_eq!(told(&mut index, &sought), refused);
    assert!(index.knows(&sought.key(), &sought.hash()), "nobody need tell it again");
    assert!(is_new(&wanted(&mut index, &sought)));
    assert_eq!(count_of(&index, 1), 8);
    assert!(!index.is_partial(None), "others' are all there");
}

/// A tombstone that had to go has to come back when what it deleted does.
#[test]
fn a_displaced_tombstone_counts_again_when_its_name_comes_back() {
    let record = first(1, "a", 1);
    let tombstone = sign(1, &record.deleted(NOW).unwrap());
    let record = sign(1, &record);
    let mut index = index();
    for of in 2..=99 {
        told(&mut index, &signed(of, "a", 1));
    }
    assert_eq!(told(&mut index, &tombstone), Applied::NoRoom);
    assert!(index.knows(&tombstone.key(), &tombstone.hash()));
    assert!(is_new(&wanted(&mut index, &record)));
    assert!(!index.knows(&tombstone.key(), &tombstone.hash()));
    assert!(is_new(&told(&mut index, &tombstone)));
}

#[test]
fn what_there_was_no_room_for_is_asked_for_again_when_there_is() {
    let (mut index, _) = filled();
    let short = NameRecord { not_after: NOW + 1, ..first(3, "short", 1) };
    assert!(is_new(&told(&mut index, &sign(3, &short))));
    for record in crowd(4, 8) {
        told(&mut index, &record);
    }
    let late = crowd(4, 8).pop().unwrap();
    assert_eq!(told(&mut index, &late), Applied::NoRoom);
    let knows = |index: &Index| index.knows(&late.key(), &late.hash());
    assert!(knows(&index));
    let later: Seconds = NOW + 2;
    assert_eq!(index.expire(later).len(), 1);
    assert!(!knows(&index) && index.is_partial(None));
    assert!(is_new(&index.apply(late.clone(), Interest::Told, NOW)));
    // It is full again, and lacks some, until there has been room for a while.
    index.expire(later);
    assert!(index.is_partial(None));
    let some = index.loose.last_of_more_than(0).unwrap();
    index.remove(&some);
    index.expire(later);
    assert!(index.is_partial(None));
    index.expire(later);
    assert!(!index.is_partial(None));
}

#[test]
fn what_was_kept_from_the_last_time_is_cut_to_size_when_it_is_known_what_is_held() {
    let mut index = index();
    let records = [crowd(1, 8), crowd(2, 8), vec![signed(3, "held", 1)]].concat();
    records.iter().for_each(|record| index.take_back(record.clone()));
    index.hold(&records[16]);
    assert_eq!(index.trim().len(), 4);
    assert_eq!([1, 2, 3].map(|of| count_of(&index, of)), [6, 6, 1]);
    assert_eq!(index.trim(), []);
}

/// What one node would ask another for.
fn asks_for(mine: &Index, theirs: &Index) -> Vec<SignedRecord> {
    let [mut one, mut other] = [(); 2].map(|()| Fingerprints::new());
    let parts = differing(&one.summary(mine), &other.summary(theirs));
    let mut lacking = Vec::new();
    for part in parts {
        let from = Key::from_bytes(std::array::from_fn(|at| if at == 0 { part } else { 0 }));
        let open = Entries::entries_from(theirs, &from).filter(|entry| !mine.is_settled(entry));
        let open: Vec<_> = open.collect();
        let keys = missing(Entries::entries_from(mine, &from), &open);
        lacking.extend(keys.iter().filter_map(|key| theirs.get(key).cloned()));
    }
    lacking
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Nodes that heard the same in any order come to an end with telling each other, hold as much as
    /// there is room for, and nobody has two more than somebody who was refused.
    #[test]
    fn full_nodes_do_not_push_records_to_and_fro(
        told_to in prop::collection::vec((1..9_u8, 0..8_usize), 20..60).prop_flat_map(|all| {
            (Just(all.clone()).prop_shuffle(), Just(all).prop_shuffle())
        }),
    ) {
        let filled = |all: Vec<(u8, usize)>| {
            let mut index = index();
            for (of, number) in all {
                told(&mut index, &signed(of, &format!("name{number}"), 1));
            }
            index
        };
        let (mut one, mut other) = (filled(told_to.0), filled(told_to.1));
        let mut quiet = false;
        for _ in 0..100 {
            let (here, there) = (asks_for(&one, &other), asks_for(&other, &one));
            quiet = here.is_empty() && there.is_empty();
            if quiet {
                break;
            }
            here.iter().for_each(|record| drop(told(&mut one, record)));
            there.iter().for_each(|record| drop(told(&mut other, record)));
        }
        prop_assert!(quiet, "they go on telling each other");
        for index in [&one, &other] {
            prop_assert!(index.counts().records <= ROOM);
            let counts: Vec<_> = index.by_owner.values().map(|owner| owner.records).collect();
            let most = counts.iter().max().copied().unwrap_or(0);
            for of in 1..9 {
                if !index.passed.is_empty() && count_of(index, of) + 1 < most {
                    let more = told(&mut index_clone(index), &signed(of, "more", 1));
                    prop_assert!(is_new(&more));
                }
            }
        }
    }
}

/// The same records in an index of its own.
fn index_clone(of: &Index) -> Index {
    let mut index = Index::new(LIMITS, owner(OWN));
    of.records.values().for_each(|record| index.take_back(record.clone()));
    index
}

#[test]
fn counts_are_those_of_the_records() {
    let (mut index, records) = filled();
    index.pin(owner(1));
    index.trust(owner(2));
    for record in &records {
        index.hold(record);
        index.release(&record.key());
    }
    for (number, record) in records.iter().enumerate() {
        if number % 3 == 0 {
            index.remove(&record.key());
        }
        let known = index.counts().records - index.held.len();
        assert_eq!(index.kept + index.loose.len(), known);
    }
}
