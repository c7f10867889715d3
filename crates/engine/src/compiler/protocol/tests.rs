use proptest::prelude::*;

use super::*;

const KEY: Key = Key([7; HASH_BYTES]);
const MAXIMUM: u64 = 1 << 20;

fn setup() -> impl Strategy<Value = Setup> {
    (any::<[u8; 32]>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
        |(key, parent, threads, stack_bytes, memory_bytes)| Setup {
            key: Key(key),
            parent,
            threads,
            stack_bytes,
            memory_bytes,
        },
    )
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(Answer::Compiled),
        any::<String>().prop_map(Answer::Refused),
        Just(Answer::OutOfMemory),
        any::<String>().prop_map(Answer::Panicked),
    ]
}

/// Reads an answer as the engine does.
fn read(frame: &[u8], key: &Key, number: u64) -> Result<Answer, Malformed> {
    let (header, content) = frame.split_at_checked(AnswerHeader::BYTES).ok_or(Malformed::Short)?;
    let header = AnswerHeader::decode(header, MAXIMUM)?;
    let content = content.get(..header.length).ok_or(Malformed::Short)?;
    let mut hasher = header.hasher(key, number);
    hasher.update(content);
    header.answer(&hasher, content.to_vec())
}

fn written(answer: &Answer, number: u64) -> Vec<u8> {
    [&answer.header(&KEY, number), answer.content()].concat()
}

proptest! {
    #[test]
    fn what_the_engine_sends_is_read_as_it_was(
        setup in setup(),
        metered: bool,
        cpu_seconds: u64,
        length in 0..=MAXIMUM_WASM,
    ) {
        let frame = setup.encode();
        prop_assert_eq!(frame.len(), Setup::BYTES);
        prop_assert_eq!(Setup::decode(&frame), Ok(setup));
        let profile = if metered { Profile::Metered } else { Profile::Fast };
        let job = JobHeader { profile, cpu_seconds, length };
        prop_assert_eq!(job.encode().len(), JobHeader::BYTES);
        prop_assert_eq!(JobHeader::decode(&job.encode()), Ok(job));
    }

    #[test]
    fn what_a_worker_sends_is_read_as_it_was(
        layers: u8,
        compatibility: u64,
        answer in answer(),
        number: u64,
    ) {
        let hello = Hello { layers, compatibility };
        prop_assert_eq!(hello.encode(&KEY).len(), Hello::BYTES);
        prop_assert_eq!(Hello::decode(&hello.encode(&KEY), &KEY), Ok(hello));
        prop_assert_eq!(answer.header(&KEY, number).len(), AnswerHeader::BYTES);
        prop_assert_eq!(read(&written(&answer, number), &KEY, number), Ok(answer));
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_refused(bytes: Vec<u8>) {
        // All that matters is that none of them panics, and that no answer is made up.
        let _ = Setup::decode(&bytes);
        let _ = JobHeader::decode(&bytes);
        prop_assert!(Hello::decode(&bytes, &KEY).is_err());
        prop_assert!(read(&bytes, &KEY, 0).is_err());
    }

    #[test]
    fn a_changed_answer_is_none(
        answer in answer(),
        position: prop::sample::Index,
        change in 1..=u8::MAX,
    ) {
        let mut frame = written(&answer, 3);
        let position = position.index(frame.len());
        frame[position] ^= change;
        prop_assert!(read(&frame, &KEY, 3).is_err());
    }

    #[test]
    fn a_changed_hello_is_none(position in 0..Hello::BYTES, change in 1..=u8::MAX) {
        let mut frame = Hello { layers: 7, compatibility: 1 }.encode(&KEY);
        frame[position] ^= change;
        prop_assert!(Hello::decode(&frame, &KEY).is_err());
    }

    #[test]
    fn a_torn_answer_is_none(answer in answer(), length: prop::sample::Index) {
        let frame = written(&answer, 0);
        let torn = &frame[..length.index(frame.len())];
        prop_assert!(read(torn, &KEY, 0).is_err());
    }
}

#[test]
fn an_answer_counts_once_and_for_its_own_worker() {
    let frame = written(&Answer::Compiled(vec![1, 2, 3]), 5);
    assert!(read(&frame, &KEY, 5).is_ok());
    assert_eq!(read(&frame, &KEY, 6), Err(Malformed::Hash));
    assert_eq!(read(&frame, &Key([8; HASH_BYTES]), 5), Err(Malformed::Hash));
}

#[test]
fn lengths_are_bounded() {
    let too_long = |length, maximum| Malformed::Length { length, maximum };
    let job = |length| JobHeader { profile: Profile::Fast, cpu_seconds: 1, length };
    let decoded = JobHeader::decode(&job(MAXIMUM_WASM + 1).encode());
    assert_eq!(decoded, Err(too_long(MAXIMUM_WASM + 1, MAXIMUM_WASM)));
    let header = |kind: Kind, length: u64| {
        let frame = [&[kind as u8][..], &length.to_le_bytes(), &[0; HASH_BYTES]].concat();
        AnswerHeader::decode(&frame, MAXIMUM).map(|header| header.length as u64)
    };
    for (kind, maximum) in [
        (Kind::Compiled, MAXIMUM),
        (Kind::Refused, MAXIMUM_MESSAGE as u64),
        (Kind::Panicked, MAXIMUM_MESSAGE as u64),
        (Kind::OutOfMemory, 0),
    ] {
        assert_eq!(header(kind, maximum), Ok(maximum));
        assert_eq!(header(kind, maximum + 1), Err(too_long(maximum + 1, maximum)));
        assert_eq!(header(kind, u64::MAX), Err(too_long(u64::MAX, maximum)));
    }
}

#[test]
fn other_programs_and_versions_are_told_apart() {
    assert_eq!(Setup::decode(b"hello, is anybody there?"), Err(Malformed::Version));
    assert_eq!(Setup::decode(&[]), Err(Malformed::Short));
    assert_eq!(JobHeader::decode(&[9; JobHeader::BYTES]), Err(Malformed::Kind(9)));
    assert_eq!(AnswerHeader::decode(&[0; AnswerHeader::BYTES], 0), Err(Malformed::Kind(0)));
}

#[test]
fn messages_are_cut_between_characters() {
    assert_eq!(Answer::message("short".to_owned()), "short");
    let cut = Answer::message("é".repeat(MAXIMUM_MESSAGE));
    assert_eq!(cut.len(), MAXIMUM_MESSAGE);
    let cut = Answer::message(format!("a{}", "é".repeat(MAXIMUM_MESSAGE)));
    assert_eq!(cut.len(), MAXIMUM_MESSAGE - 1);
}
