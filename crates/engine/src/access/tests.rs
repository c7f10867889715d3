use proptest::prelude::*;

use super::*;

#[test]
fn ranges_end_where_the_memory_does_and_do_not_wrap() {
    for (offset, length, size, expected) in [
        (0, 0, 0, Some(0..0)),
        (0, 10, 10, Some(0..10)),
        (10, 0, 10, Some(10..10)),
        (9, 2, 10, None),
        (11, 0, 10, None),
        (u64::MAX, 2, 10, None),
        (2, u64::MAX, 10, None),
        (1 << 32, 1, 1 << 16, None),
        (u64::from(u32::MAX), 1, 1 << 32, Some((1 << 32) - 1..1 << 32)),
    ] {
        assert_eq!(range(offset, length, size), expected, "{offset}, {length} of {size}");
    }
}

#[test]
fn integers_have_no_sign() {
    assert_eq!(unsigned(&Val::I32(-1)), Some(u64::from(u32::MAX)));
    assert_eq!(unsigned(&Val::I64(-1)), Some(u64::MAX));
    assert_eq!(unsigned(&Val::F64(0)), None);
}

#[test]
fn what_is_copied_is_known_before_the_call() {
    let read = |length| Read { memory: None, offset: Quantity::Bytes(0), length };
    let access = |reads: Vec<Read>, bytes: usize| Access {
        reads,
        params: vec![BytesParam { index: 0, bytes: vec![0; bytes] }],
        maximum_read: 1 << 20,
        ..Access::default()
    };
    assert_eq!(access(vec![], 0).most_read(), 0);
    assert_eq!(access(vec![read(Quantity::Bytes(7)), read(Quantity::Bytes(8))], 0).most_read(), 15);
    assert_eq!(access(vec![read(Quantity::Bytes(u64::MAX)); 2], 0).most_read(), 1 << 20);
    assert_eq!(access(vec![read(Quantity::Result(0))], 0).most_read(), 1 << 20);
    assert!(!access(vec![read(Quantity::Result(0))], 0).is_large());
    assert!(access(vec![read(Quantity::Result(0))], 1).is_large());
    assert!(access(vec![], (1 << 20) + 1).is_large());
}

proptest! {
    #[test]
    fn a_range_is_given_exactly_if_the_memory_has_it(
        offset in prop_oneof![0_u64..40, any::<u64>()],
        length in prop_oneof![0_u64..40, any::<u64>()],
        size in 0_usize..60,
    ) {
        let fits = u128::from(offset) + u128::from(length) <= size as u128;
        let expected = fits.then(|| offset as usize..(offset + length) as usize);
        prop_assert_eq!(range(offset, length, size), expected);
    }
}
