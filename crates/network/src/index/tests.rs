//! What an index tells, how it stays within its bounds, and that all its tables say the same.

use proptest::prelude::*;

use super::*;
use crate::network_id::NetworkId;
use crate::record::fixtures::{NOW, content, first, keypair, name, owner, sign, signed};
use crate::record::{LIFETIME, MAX_CLOCK_SKEW};

const OWN: u8 = 0;
const CHANGED: Applied = Applied::New { meaning_changed: true, displaced: None };
const UNCHANGED: Applied = Applied::New { meaning_changed: false, displaced: None };

fn index() -> Index {
    Index::new(IndexLimits::default(), owner(OWN))
}

fn told(index: &mut Index, record: SignedRecord, now: Seconds) -> Applied {
    index.apply(record, Interest::Told, now)
}

fn index_of(records: &[SignedRecord]) -> Index {
    let mut index = index();
    for record in records {
        assert_eq!(told(&mut index, record.clone(), NOW), CHANGED, "{record:?}");
    }
    index
}

fn texts<'a>(records: impl Iterator<Item = &'a SignedRecord>) -> Vec<&'a str> {
    records.map(|record| record.record().name.as_str()).collect()
}

#[test]
fn says_what_became_of_a_record() {
    let start = first(1, "a", 1);
    let refreshed = start.refreshed(NOW + 1).unwrap();
    let deleted = refreshed.deleted(NOW + 2).unwrap();
    let again = deleted.refreshed(NOW + 3).unwrap();
    let back = again.given(content(1), NOW + 4).unwrap();
    let changed = NameRecord { module: content(2).module, sequence: 9, ..start.clone() };
    let [start, refreshed, deleted, again, back, changed] =
        [start, refreshed, deleted, again, back, changed].map(|record| sign(1, &record));

    let mut index = index();
    let mut apply = |record: &SignedRecord| told(&mut index, record.clone(), NOW);
    assert_eq!(apply(&start), CHANGED);
    assert_eq!(apply(&start), Applied::Same);
    assert_eq!(apply(&refreshed), UNCHANGED);
    assert_eq!(apply(&start), Applied::Older(refreshed.clone()));
    assert_eq!(apply(&changed), Applied::Forbidden(refreshed));
    assert_eq!(apply(&deleted), CHANGED);
    assert_eq!(apply(&again), UNCHANGED);
    assert_eq!(apply(&back), CHANGED);
    assert_eq!(index.get(&start.key()), Some(&back));
    assert_eq!(index.counts(), Counts { records: 1, own: 0, tombstones: 0, owners: 1 });

    assert!(index.holds(back.bytes()) && index.knows(&back.key(), &back.hash()));
    assert!(index.knows(&changed.key(), &changed.hash()));
    for other in [&changed, &again] {
        assert!(!index.holds(other.bytes()));
    }
    assert!(!index.knows(&again.key(), &again.hash()));
}

#[test]
fn the_tombstone_of_an_unknown_name_changes_nothing() {
    let deleted = sign(1, &first(1, "a", 1).deleted(NOW).unwrap());
    let mut index = index();
    assert_eq!(told(&mut index, deleted.clone(), NOW), UNCHANGED);
    assert_eq!(index.counts().tombstones, 1);
    assert!(matches!(told(&mut index, signed(1, "a", 1), NOW), Applied::Older(_)));
    assert_eq!(index.by_module(&content(1).module).count(), 0);
    assert_eq!(index.of_name(&owner(1), &name("a")), Some(&deleted));
}

#[test]
fn records_out_of_time_are_refused_and_make_room() {
    let record = signed(1, "a", 1);
    let not_after = record.record().not_after;
    let refused = Applied::Refused(Refusal::OutOfTime);
    let mut index = index();
    assert_eq!(told(&mut index, record.clone(), not_after + 1), refused);
    assert_eq!(told(&mut index, record.clone(), NOW - MAX_CLOCK_SKEW - 1), refused);
    assert_eq!(told(&mut index, record.clone(), not_after), CHANGED);

    assert_eq!(index.expire(not_after), []);
    assert_eq!(index.expire(not_after + 1), std::slice::from_ref(&record));
    assert_eq!(index.counts(), Counts { records: 0, own: 0, tombstones: 0, owners: 0 });

    // One that has expired and was not looked for yet holds against nothing.
    assert_eq!(told(&mut index, record, NOW), CHANGED);
    let other = NameRecord { issued_at: not_after, not_after: not_after + 9, ..first(1, "a", 2) };
    assert_eq!(told(&mut index, sign(1, &other), not_after + 1), CHANGED);
    assert_eq!(index.counts().records, 1);
}

#[test]
fn no_owner_takes_more_than_its_share() {
    let mut index = Index::new(IndexLimits { records: 5, per_owner: 2 }, owner(OWN));
    let mut apply = |of, text| told(&mut index, signed(of, text, 1), NOW);
    let too_much = Applied::Refused(Refusal::TooMuch);
    for text in ["a", "b"] {
        assert_eq!(apply(1, text), CHANGED);
        assert_eq!(apply(2, text), CHANGED);
    }
    assert_eq!(apply(1, "c"), too_much);
    // The node's own always have room, and take none from others.
    for text in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(apply(OWN, text), CHANGED);
    }
    assert_eq!(apply(3, "a"), CHANGED);
    assert_eq!(apply(3, "b"), Applied::NoRoom);
    assert!(matches!(apply(4, "a"), Applied::New { displaced: Some(_), .. }));
    // What takes another one's place needs no room.
    let next = first(1, "a", 1).refreshed(NOW).unwrap();
    assert_eq!(told(&mut index, sign(1, &next), NOW), UNCHANGED);
    assert_eq!(index.counts(), Counts { records: 11, own: 6, tombstones: 0, owners: 5 });
}

#[test]
fn finds_an_owners_versions_of_a_label_and_nothing_near() {
    let near = ["a", "a@1.0.0", "a@1.0.0-rc.1", "a@10.0.0", "a-b", "a.b@1.0.0", "a0", "aA", "a_"];
    let mut records: Vec<_> = near.iter().map(|text| signed(1, text, 1)).collect();
    records.push(signed(2, "a@2.0.0", 1));
    let index = index_of(&records);
    let of = |of, label| texts(index.of_owner(&owner(of), label));
    assert_eq!(of(1, "a"), ["a", "a@1.0.0", "a@1.0.0-rc.1", "a@10.0.0"]);
    assert_eq!(of(1, "a.b"), ["a.b@1.0.0"]);
    assert_eq!(of(1, "b"), [""; 0]);
    assert_eq!(of(3, "a"), [""; 0]);
    let mut owners = [(owner(1), 4), (owner(2), 1)];
    owners.sort();
    assert!(index.owners("a").eq(owners.iter().map(|(owner, count)| (owner, *count))));
    assert!(index.owners("a0").eq([(&owner(1), 1)]));
    assert_eq!(index.owners("b").count(), 0);
    assert_eq!(index.of_name(&owner(1), &name("acme:a@1.0.0")), Some(&records[1]));
}

#[test]
fn own_records_are_those_that_this_node_issued() {
    let records = [signed(1, "a", 1), signed(1, "b", 1), signed(OWN, "b", 1), signed(OWN, "ba", 1)];
    assert_eq!(texts(index_of(&records).own()), ["b", "ba"]);
}

#[test]
fn tells_few_of_many_claims_in_one_order() {
    let mut records: Vec<_> = (1..=20).map(|of| signed(of, "a", of)).collect();
    records.push(signed(1, "a@1.0.0", 1));
    let index = index_of(&records);
    records.reverse();
    let claim = NameRecord::claim_key(&NetworkId::open(), &name("a"));
    let claims: Vec<_> = index.claims(&claim).collect();
    assert_eq!(claims.len(), MAX_CLAIMS);
    assert!(claims.is_sorted_by_key(|record| record.key()));
    assert!(index_of(&records).claims(&claim).eq(claims));
}

/// Every table again, from the records alone.
fn check(index: &Index) {
    let records: Vec<_> = index.records.values().collect();
    let mut rebuilt = Index::new(index.limits, index.own);
    for &record in &records {
        rebuilt.link(record.clone());
    }
    rebuilt.forbidden.clone_from(&index.forbidden);
    rebuilt.passed.clone_from(&index.passed);
    rebuilt.excess.clone_from(&index.excess);
    (rebuilt.had_room, rebuilt.turned_away) = (index.had_room, index.turned_away);
    assert_eq!(index, &rebuilt);
    for &record in &records {
        assert!(index.holds(record.bytes()));
        assert!(index.claims(&record.claim()).any(|claim| claim == record));
        let module = index.by_module(&record.record().module);
        assert_eq!(
            module.filter(|&found| found == record).count(),
            usize::from(!record.record().tombstone)
        );
    }
    let part = |part| Key::from_bytes(std::array::from_fn(|at| if at == 0 { part } else { 0 }));
    let parts = (0..=u8::MAX).map(part);
    let entries: Vec<_> =
        parts.flat_map(|part| index.entries_from(&part).collect::<Vec<_>>()).collect();
    let expected = records.iter().map(|record| Entry { key: record.key(), hash: record.hash() });
    assert!(entries.into_iter().eq(expected));
    assert_eq!(index.own().count(), index.counts().own);
    let tombstones = records.iter().filter(|record| record.record().tombstone).count();
    assert_eq!(index.counts().tombstones, tombstones);
}

/// A record of few owners and names, so that they meet.
fn any_record() -> impl Strategy<Value = SignedRecord> {
    let text = prop::sample::select(vec!["a", "a@1.0.0", "a@2.0.0", "b"]);
    (0..3_u8, text, 0..3_u64, 0..2_u8, 0..3 * LIFETIME, any::<bool>()).prop_map(
        |(of, text, sequence, module, later, tombstone)| {
            let first = first(of, text, module);
            let record =
                NameRecord { sequence: 1 + sequence, not_after: NOW + later, tombstone, ..first };
            SignedRecord::sign(&record, &keypair(of)).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_tables_say_the_same(
        steps in prop::collection::vec((any_record(), 0..LIFETIME, 0..4_u8), 0..40),
    ) {
        let mut index = Index::new(IndexLimits { records: 4, per_owner: 3 }, owner(OWN));
        let mut now = NOW;
        for (record, later, kind) in steps {
            now += later / 4;
            let before = index.counts();
            match kind {
                0 => {
                    for expired in index.expire(now) {
                        prop_assert!(expired.record().is_expired(now));
                    }
                    prop_assert!(index.records.values().all(|held| !held.record().is_expired(now)));
                }
                _ => match told(&mut index, record.clone(), now) {
                    Applied::New { .. } => prop_assert_eq!(index.get(&record.key()), Some(&record)),
                    Applied::Same => prop_assert_eq!(index.get(&record.key()), Some(&record)),
                    Applied::Older(held) | Applied::Forbidden(held) => {
                        prop_assert_eq!(index.get(&record.key()), Some(&held));
                        prop_assert_eq!(index.counts(), before);
                    }
                    Applied::Refused(_) | Applied::NoRoom => {
                        prop_assert_ne!(index.get(&record.key()), Some(&record));
                    }
                },
            }
            let counts = index.counts();
            prop_assert!(counts.records - counts.own <= 4);
            check(&index);
        }
    }
}
