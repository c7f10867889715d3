//! What records are taken, which of two holds, and what owners may issue.

use libp2p::core::SignedEnvelope;
use libp2p::identity::Keypair;
use proptest::prelude::*;
use wasm_exec_registry::Digest;

use super::fixtures::{NOW, content, first, keypair, name, owner, sign, signed};
use super::*;
use crate::protocol::Refusal;

fn verify(bytes: &[u8]) -> Result<SignedRecord, InvalidRecord> {
    SignedRecord::verify(bytes, &NetworkId::open(), NOW)
}

/// An envelope of anything, signed by anybody, for any purpose.
fn envelope(key: &Keypair, domain: &str, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    SignedEnvelope::new(key, domain.into(), payload_type.into(), payload.into())
        .unwrap()
        .into_protobuf_encoding()
}

/// What owner 1 could sign with a program of their own.
fn forged(payload: &[u8]) -> Vec<u8> {
    envelope(&keypair(1), "wasm-exec-name-record", "/wasm-exec/name-record/1", payload)
}

fn json(record: &NameRecord) -> String {
    serde_json_canonicalizer::to_string(record).unwrap()
}

#[test]
fn the_signed_text_is_canonical_json() {
    let record = first(1, "utils@1.2.0", 7);
    let (network, module, contents) =
        (json_text(&record.network), record.module, record.contents.digest);
    assert_eq!(
        json(&record),
        format!(
            "{{\"bytes\":1007,\"contents\":{{\"digest\":\"{contents}\",\"size\":300}},\
             \"incarnation\":0,\"issued_at\":1800000000,\"module\":\"{module}\",\
             \"name\":\"utils@1.2.0\",\"network\":{network},\"not_after\":1802592000,\
             \"owner\":\"{}\",\"sequence\":1,\"tombstone\":false}}",
            owner(1)
        )
    );
    // Nothing but these bytes decides which record it is, so forging it by hand gives the same.
    assert_eq!(sign(1, &record).bytes(), &forged(json(&record).as_bytes()));
}

fn json_text(network: &NetworkId) -> String {
    serde_json::to_string(network).unwrap()
}

#[test]
fn canonical_names_say_the_owner() {
    let signed = signed(1, "utils@1.2.0", 7);
    assert_eq!(signed.canonical_name().as_str(), format!("{}:utils@1.2.0", owner(1)));
    assert_eq!(canonical(&owner(1), &name("acme:a")).unwrap().label(), "a");
}

#[test]
fn keys_tell_networks_owners_and_names_apart() {
    let record = first(1, "a", 1);
    let other_network = NameRecord { network: NetworkId::private(b"1"), ..record.clone() };
    let records = [record, other_network, first(2, "a", 1), first(1, "b", 1)];
    let keys = records.each_ref().map(NameRecord::key);
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{key:?}");
    }
    let claims = records.each_ref().map(|r| NameRecord::claim_key(&r.network, &r.name));
    assert_eq!(claims[0], claims[2]);
    assert_ne!(claims[0], claims[1]);
    assert_ne!(claims[0], claims[3]);
    assert_eq!(sign(1, &records[0]).claim(), claims[0]);
    assert_eq!(sign(1, &records[0]).key(), keys[0]);
}

#[test]
fn the_longest_names_fit() {
    let (label, version) = ("a".repeat(64), format!("1.0.0-{}", "a".repeat(58)));
    let longest = NameRecord {
        sequence: MAX_NUMBER,
        contents: ContentsId { size: MAX_CONTENTS_BYTES as u32, ..content(1).contents },
        bytes: MAX_CONTENT_BYTES,
        issued_at: MAX_NUMBER - MAX_LIFETIME,
        not_after: MAX_NUMBER,
        ..first(1, &format!("{label}@{version}"), 1)
    };
    assert!(sign(1, &longest).bytes().len() < MAX_RECORD_BYTES / 2);
}

#[test]
fn bytes_with_any_bit_flipped_are_refused() {
    let signed = signed(1, "utils", 1);
    for bit in 0..signed.bytes().len() * 8 {
        let mut bytes = signed.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn bytes_that_say_the_same_otherwise_are_refused() {
    let signed = signed(1, "utils", 1);
    let refused = |bytes: Vec<u8>| verify(&bytes).expect_err("it was taken");
    // An unknown field of protobuf: number 15, a varint of 0.
    let more = [signed.bytes(), [0x78, 0].as_slice()].concat();
    assert!(matches!(refused(more), InvalidRecord::NotCanonical));
    let twice = [signed.bytes().as_ref(), signed.bytes()].concat();
    assert!(matches!(refused(twice), InvalidRecord::NotCanonical));
    let text = json(signed.record());
    for other in [
        format!("{text} "),
        text.replace("\"sequence\":1", "\"sequence\":1e0"),
        text.replace("\"bytes\"", "\"b\\u0079tes\""),
        text.replace("\"bytes\":1001,", "").replace("false}", "false,\"bytes\":1001}"),
    ] {
        let error = refused(forged(other.as_bytes()));
        assert!(matches!(error, InvalidRecord::NotCanonical | InvalidRecord::Json(_)), "{other}");
    }
    for other in [
        String::new(),
        "{}".to_owned(),
        "[".repeat(1000),
        text.replace("\"sequence\"", "\"more\":1,\"sequence\""),
        text.replace("\"bytes\"", "\"bytes\":1001,\"bytes\""),
        text.replace("\"sequence\":1", "\"sequence\":-1"),
        text.replace("\"name\":\"utils\"", "\"name\":\"../etc\""),
    ] {
        assert!(matches!(refused(forged(other.as_bytes())), InvalidRecord::Json(_)), "{other}");
    }
    let large = forged(&[b' '; MAX_RECORD_BYTES]);
    assert!(matches!(refused(large), InvalidRecord::TooLarge { .. }));
}

#[test]
fn what_was_signed_for_something_else_is_refused() {
    let payload = json(&first(1, "utils", 1));
    let (domain, kind) = ("wasm-exec-name-record", "/wasm-exec/name-record/1");
    assert!(verify(&envelope(&keypair(1), domain, kind, payload.as_bytes())).is_ok());
    for (domain, kind) in [
        ("libp2p-routing-record", kind),
        (domain, "/wasm-exec/name-record/2"),
        ("", kind),
        (domain, ""),
    ] {
        let error = verify(&envelope(&keypair(1), domain, kind, payload.as_bytes())).unwrap_err();
        assert!(matches!(error, InvalidRecord::Signature(_)), "{error}");
    }
}

#[test]
fn nobody_else_signs_for_an_owner() {
    let record = first(2, "utils", 1);
    let error = SignedRecord::sign(&record, &keypair(1)).unwrap_err();
    assert!(matches!(error, SignError::Invalid(InvalidRecord::OtherOwner)), "{error}");

    let bytes = forged(json(&record).as_bytes());
    assert!(matches!(verify(&bytes), Err(InvalidRecord::OtherOwner)));

    // With the owner's key in the place of the signer's: a field of 36 bytes, which comes first.
    let owners = sign(2, &record);
    let mut swapped = bytes;
    swapped[..38].copy_from_slice(&owners.bytes()[..38]);
    assert!(matches!(verify(&swapped), Err(InvalidRecord::Signature(_))));
}

#[test]
fn a_record_is_of_its_network_and_time() {
    let record = first(1, "utils", 1);
    let bytes = sign(1, &record).bytes().clone();
    let other = NetworkId::private(b"secret");
    let at = |network: &NetworkId, now| {
        let verified = SignedRecord::verify(&bytes, network, now);
        verified.map(drop).map_err(|error| error.refusal())
    };
    for (network, now, expected) in [
        (NetworkId::open(), NOW, Ok(())),
        (NetworkId::open(), NOW - MAX_CLOCK_SKEW, Ok(())),
        (NetworkId::open(), NOW - MAX_CLOCK_SKEW - 1, Err(Refusal::OutOfTime)),
        (NetworkId::open(), record.not_after, Ok(())),
        (NetworkId::open(), record.not_after + 1, Err(Refusal::OutOfTime)),
        (other, NOW, Err(Refusal::OtherNetwork)),
    ] {
        assert_eq!(at(&network, now), expected, "{network:?} at {now}");
    }
}

#[test]
fn numbers_have_bounds() {
    type Change = fn(&mut NameRecord);
    let out_of_bounds: [(Change, &str); 12] = [
        (|r| r.sequence = 0, "sequence"),
        (|r| r.sequence = MAX_NUMBER + 1, "sequence"),
        (|r| r.sequence = u64::MAX, "sequence"),
        (|r| r.incarnation = 1, "incarnation"),
        (|r| (r.incarnation, r.sequence, r.name) = (1, 9, name("a@1.0.0")), "incarnation"),
        (|r| r.contents.size = 0, "contents.size"),
        (|r| r.contents.size = MAX_CONTENTS_BYTES as u32 + 1, "contents.size"),
        (|r| r.bytes = 0, "bytes"),
        (|r| r.bytes = MAX_CONTENT_BYTES + 1, "bytes"),
        (|r| r.not_after = r.issued_at - 1, "not_after"),
        (|r| r.not_after = r.issued_at + MAX_LIFETIME + 1, "not_after"),
        (|r| (r.issued_at, r.not_after) = (u64::MAX, u64::MAX), "not_after"),
    ];
    for (change, field) in out_of_bounds {
        let mut record = first(1, "utils", 1);
        change(&mut record);
        let error = SignedRecord::sign(&record, &keypair(1)).unwrap_err();
        let SignError::Invalid(InvalidRecord::OutOfBounds(found)) = error else {
            panic!("{field}: {error}");
        };
        assert_eq!(found, field);
        // Others refuse it for that, too, from somebody whose program signs it.
        let payload = serde_json::to_string(&record).unwrap();
        let Err(InvalidRecord::OutOfBounds(found)) = verify(&forged(payload.as_bytes())) else {
            panic!("{field} was not looked at");
        };
        assert_eq!(found, field);
    }
    let namespace = NameRecord { name: name("acme:utils"), ..first(1, "utils", 1) };
    let error = SignedRecord::sign(&namespace, &keypair(1)).unwrap_err();
    assert!(matches!(error, SignError::Invalid(InvalidRecord::Namespace)), "{error}");
}

#[test]
fn which_record_holds() {
    let start = first(1, "a", 1);
    let refreshed = start.refreshed(NOW + 1).unwrap();
    let deleted = refreshed.deleted(NOW + 2).unwrap();
    let deleted_instead = start.deleted(NOW + 1).unwrap();
    assert_eq!(deleted_instead.sequence, refreshed.sequence);
    let back = deleted.given(content(1), NOW + 3).unwrap();
    let anew = deleted.given(content(2), NOW + 3).unwrap();
    let changed = NameRecord { sequence: 9, module: Digest::of(b"changed"), ..refreshed.clone() };
    for (current, new, expected) in [
        (&start, &start, Selected::Same),
        (&start, &refreshed, Selected::Newer),
        (&refreshed, &start, Selected::Older),
        (&start, &deleted, Selected::Newer),
        (&deleted, &refreshed, Selected::Older),
        (&deleted, &back, Selected::Newer),
        (&deleted, &anew, Selected::Newer),
        // The tombstone in between was missed.
        (&start, &anew, Selected::Newer),
        (&anew, &deleted, Selected::Older),
        (&start, &changed, Selected::Forbidden),
        (&changed, &refreshed, Selected::Forbidden),
        (&deleted, &changed, Selected::Forbidden),
        // Two of one sequence, of which the owner knew only one when it signed the other.
        (&refreshed, &deleted_instead, Selected::Newer),
        (&deleted_instead, &refreshed, Selected::Older),
    ] {
        let [current, new] = [current, new].map(|record| sign(1, record));
        assert_eq!(select(&current, &new), expected, "{:?}\n{:?}", current, new);
    }
}

#[test]
fn what_follows_a_record() {
    let taken = |module| Err(NoSuccessor::Taken { module: content(module).module });
    for text in ["a", "a@1.0.0"] {
        let record = first(1, text, 1);
        assert_eq!(record.given(content(2), NOW), taken(1), "{text}");
        let same = record.given(content(1), NOW + 1).unwrap();
        assert_eq!((same.sequence, same.incarnation, same.module), (2, 0, record.module));

        let deleted = same.deleted(NOW + 2).unwrap();
        assert_eq!((deleted.sequence, deleted.meaning()), (3, None));
        assert_eq!(deleted.module, record.module);

        let back = deleted.given(content(1), NOW + 3).unwrap();
        assert_eq!((back.sequence, back.incarnation), (4, 0));
        assert_eq!(back.meaning(), Some(record.module));
    }
    let deleted = first(1, "a", 1).deleted(NOW).unwrap();
    let anew = deleted.given(content(2), NOW).unwrap();
    assert_eq!((anew.sequence, anew.incarnation, anew.tombstone), (3, 1, false));
    assert_eq!(anew.meaning(), Some(content(2).module));
    let deleted = first(1, "a@1.0.0", 1).deleted(NOW).unwrap();
    assert_eq!(deleted.given(content(2), NOW), taken(1));

    let last = NameRecord { sequence: MAX_NUMBER, ..first(1, "a", 1) };
    assert_eq!(last.refreshed(NOW), Err(NoSuccessor::Exhausted));
    assert_eq!(last.deleted(NOW), Err(NoSuccessor::Exhausted));
}

#[test]
fn records_are_issued_again_in_time_and_tombstones_outlive_them() {
    let record = first(1, "a", 1);
    let third = LIFETIME / 3;
    assert!(!record.is_due(NOW));
    assert!(!record.is_due(record.not_after - third));
    assert!(record.is_due(record.not_after - third + 1));
    assert!(record.is_due(record.not_after + 1));

    let again = record.refreshed(record.not_after).unwrap();
    assert_eq!(again.not_after, record.not_after + LIFETIME);
    // The clock has been set back.
    let deleted = again.deleted(NOW).unwrap();
    assert_eq!(deleted.not_after, again.not_after);
    assert!(!deleted.is_due(deleted.not_after));
    // By more than a record may be valid.
    let deleted = again.deleted(NOW - 2 * MAX_LIFETIME).unwrap();
    assert_eq!(deleted.not_after - deleted.issued_at, MAX_LIFETIME);
    sign(1, &deleted);
}

/// Any record that may be, of one unversioned name.
fn any_record() -> impl Strategy<Value = NameRecord> {
    (0..3_u64, 0..3_u64, 0..2_u8, 0..3_u64, any::<bool>()).prop_map(
        |(incarnation, sequence, module, issued_at, tombstone)| NameRecord {
            incarnation,
            sequence: 2 * incarnation + 1 + sequence,
            issued_at: NOW + issued_at,
            tombstone,
            ..first(1, "a", module)
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Give(u8),
    Refresh,
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..3_u8).prop_map(Step::Give),
        1 => Just(Step::Refresh),
        2 => Just(Step::Delete),
    ]
}

/// All the records that an owner who keeps to the rules issues.
fn history(text: &str, steps: &[Step]) -> Vec<SignedRecord> {
    let mut record = first(1, text, 0);
    let mut history = vec![sign(1, &record)];
    for (step, now) in steps.iter().zip(NOW + 1..) {
        let next = match step {
            Step::Give(module) => record.given(content(*module), now),
            Step::Refresh => record.refreshed(now),
            Step::Delete => record.deleted(now),
        };
        if let Ok(next) = next {
            history.push(sign(1, &next));
            record = next;
        }
    }
    history
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_is_read_again(
        of: u8,
        text in "[a-z0-9_][a-zA-Z0-9_.-]{0,63}(@(0|[1-9][0-9]{0,2})\\.0\\.0(-rc\\.1)?)?",
        module: u8,
        sequence in 1..=MAX_NUMBER,
        size in 1..=MAX_CONTENTS_BYTES as u32,
        bytes in 1..=MAX_CONTENT_BYTES,
        lifetime in 0..=MAX_LIFETIME,
        tombstone: bool,
        bit: prop::sample::Index,
    ) {
        let record = NameRecord {
            sequence,
            contents: ContentsId { size, ..content(module).contents },
            bytes,
            not_after: NOW + lifetime,
            tombstone,
            ..first(of, &text, module)
        };
        let signed = sign(of, &record);
        let read = verify(signed.bytes()).unwrap();
        prop_assert_eq!(read.record(), &record);
        prop_assert_eq!(&read, &signed);
        prop_assert_eq!(SignedRecord::hash_of(signed.bytes()), signed.hash());

        let mut flipped = signed.bytes().to_vec();
        let bit = bit.index(flipped.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(&flipped).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes).is_err());
        prop_assert!(verify(&forged(&bytes)).is_err());
    }

    #[test]
    fn select_is_an_order(records in prop::collection::vec(any_record(), 3)) {
        let records: Vec<_> = records.iter().map(|record| sign(1, record)).collect();
        for a in &records {
            for b in &records {
                let reverse = match select(a, b) {
                    Selected::Newer => Selected::Older,
                    Selected::Older => Selected::Newer,
                    equal => equal,
                };
                prop_assert_eq!(select(b, a), reverse);
                prop_assert_eq!(select(a, b) == Selected::Same, a == b);
                for c in &records {
                    if select(a, b) == Selected::Newer && select(b, c) == Selected::Newer {
                        prop_assert_eq!(select(a, c), Selected::Newer);
                    }
                }
            }
        }
    }

    #[test]
    fn records_merge_to_the_last_one_in_any_order(
        (records, order) in prop::sample::select(vec!["a", "a@1.0.0"])
            .prop_flat_map(|text| {
                let steps = prop::collection::vec(step(), 0..12);
                steps.prop_map(move |steps| history(text, &steps))
            })
            .prop_flat_map(|records| {
                (Just(records.clone()), Just(records).prop_shuffle())
            }),
        missed: prop::sample::Index,
    ) {
        let last = records.last().unwrap();
        // All but the last one may be missed.
        let missed = &records[missed.index(records.len())];
        let mut heard = order.iter().filter(|&record| record == last || record != missed);
        let mut held = heard.next().unwrap();
        for record in heard {
            match select(held, record) {
                Selected::Newer => held = record,
                Selected::Older => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(held, last);
    }
}
