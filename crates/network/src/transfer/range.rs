//! Ranges of an item, with the hashes that prove them.
//!
//! BLAKE3 hashes a tree whose leaves are chunks of 1 KiB. A range travels as bao has it: the bytes in
//! groups of chunks, and before them, wherever the tree branches on the way to them, the hashes of
//! both sides (<https://github.com/oconnor663/bao/blob/master/docs/spec.md>). Its length follows from
//! the item's size.

use bao_tree::io::DecodeError;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges, truncate_ranges};
use bao_tree::io::{BaoContentItem, EncodeError, Leaf};
use bao_tree::iter::BaoChunk;
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};

/// The chunks that are hashed and proved together: 2⁴, so 16 KiB.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);

/// A group's bytes.
pub(super) const GROUP_BYTES: u64 = 16 << 10;

/// The most bytes of a range. All ranges of an item but its last have as many.
pub(crate) const RANGE_BYTES: u32 = 1 << 20;

/// What the tree branches to in a proof: two hashes.
const PAIR_BYTES: usize = 2 * blake3::OUT_LEN;

/// Some of an item's bytes: whole groups, except at the item's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first byte.
    pub(super) start: u64,
    /// How many bytes, from one to [`RANGE_BYTES`].
    pub(super) length: u32,
}

impl Range {
    /// How many ranges an item of this size is fetched in.
    pub(super) fn count(size: u64) -> usize {
        usize::try_from(size.div_ceil(u64::from(RANGE_BYTES))).unwrap_or(usize::MAX)
    }

    /// One of the ranges that an item of this size is fetched in.
    pub(super) fn nth(size: u64, index: usize) -> Self {
        let start = (index as u64).saturating_mul(u64::from(RANGE_BYTES));
        let length = size.saturating_sub(start).min(u64::from(RANGE_BYTES));
        Self { start, length: length as u32 }
    }

    /// Whether an item of this size can be asked for it.
    pub(super) fn is_of(&self, size: u64) -> bool {
        let Some(end) = self.start.checked_add(u64::from(self.length)) else { return false };
        let ends_well = end == size || end < size && end.is_multiple_of(GROUP_BYTES);
        (1..=RANGE_BYTES).contains(&self.length)
            && self.start.is_multiple_of(GROUP_BYTES)
            && ends_well
    }

    /// How many bytes it has with its proof, in an item of this size.
    pub(super) fn encoded_bytes(&self, size: u64) -> usize {
        let chunks = self.chunks();
        let chunks = truncate_ranges(&chunks, size);
        tree(size)
            .ranges_pre_order_chunks_iter_ref(chunks, 0)
            .map(|chunk| match chunk {
                BaoChunk::Parent { .. } => PAIR_BYTES,
                BaoChunk::Leaf { size, .. } => size,
            })
            .sum()
    }

    /// Writes it with its proof to the end of `encoded`. It is to be a range of `item`.
    ///
    /// # Errors
    ///
    /// Only where `hashes` are not those of an item of this size.
    pub(super) fn encode(
        &self,
        item: &[u8],
        hashes: &PreOrderMemOutboard,
        encoded: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        encode_ranges(item, hashes, &self.chunks(), encoded)
    }

    /// Leaves its bytes in `bytes`, verified against the root of the item's tree.
    ///
    /// # Errors
    ///
    /// Unless `encoded` is what [`encode`](Self::encode) writes, and nothing else.
    pub(super) fn decode(
        &self,
        root: blake3::Hash,
        size: u64,
        mut encoded: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), WrongBytes> {
        let chunks = self.chunks();
        bytes.clear();
        bytes.reserve(self.length as usize);
        for content in DecodeResponseIter::new(root, tree(size), &mut encoded, &chunks) {
            if let BaoContentItem::Leaf(Leaf { data, .. }) = content? {
                bytes.extend_from_slice(&data);
            }
        }
        let is_whole = encoded.is_empty() && bytes.len() == self.length as usize;
        is_whole.then_some(()).ok_or(WrongBytes)
    }

    fn chunks(&self) -> ChunkRanges {
        let end = self.start.saturating_add(u64::from(self.length));
        ChunkRanges::from(ChunkNum::full_chunks(self.start)..ChunkNum::chunks(end))
    }
}

/// What is not the range that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongBytes;

impl From<DecodeError> for WrongBytes {
    /// Reading from memory, all that can be wrong is the bytes.
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// The hashes of an item's tree, down to groups. Hashes all of it.
pub(super) fn hashes(item: &[u8]) -> PreOrderMemOutboard {
    PreOrderMemOutboard::create(item, GROUP)
}

fn tree(size: u64) -> BaoTree {
    BaoTree::new(size, GROUP)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn encoded(item: &[u8], range: Range) -> Vec<u8> {
        let mut encoded = Vec::new();
        range.encode(item, &hashes(item), &mut encoded).unwrap();
        encoded
    }

    fn decoded(item: &[u8], range: Range, encoded: &[u8]) -> Result<Vec<u8>, WrongBytes> {
        let mut bytes = vec![7; 3];
        range.decode(blake3::hash(item), item.len() as u64, encoded, &mut bytes).map(|()| bytes)
    }

    fn round_trip(item: &[u8], range: Range) {
        assert!(range.is_of(item.len() as u64), "{range:?}");
        let encoded = encoded(item, range);
        assert_eq!(encoded.len(), range.encoded_bytes(item.len() as u64), "{range:?}");
        let decoded = decoded(item, range, &encoded).unwrap();
        let start = range.start as usize;
        assert!(decoded == item[start..start + range.length as usize], "{range:?}");
    }

    #[test]
    fn an_item_is_its_ranges() {
        let whole = RANGE_BYTES as usize;
        for size in
            [1, 1023, 1024, 1025, 16_384, 16_385, whole - 1, whole, whole + 1, 3 * whole + 77]
        {
            let item = bytes(size);
            let mut next = 0;
            for index in 0..Range::count(size as u64) {
                let range = Range::nth(size as u64, index);
                assert_eq!(range.start, next);
                next += u64::from(range.length);
                round_trip(&item, range);
            }
            assert_eq!(next, size as u64);
        }
    }

    #[test]
    fn what_no_item_has_is_no_range() {
        let size = 100_000;
        for (start, length) in [
            (0, 0),
            (1, 16_384),
            (0, 16_383),
            (0, 100_001),
            (98_304, 1_697),
            (114_688, 16_384),
            (u64::MAX - 16_383, 16_384),
            (u64::MAX, 1),
        ] {
            assert!(!Range { start, length }.is_of(size), "{start} {length}");
        }
        assert!(!Range { start: 0, length: RANGE_BYTES + 16_384 }.is_of(1 << 30));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_groups_can_be_asked_for(size in 1_usize..400_000, from: u8, groups in 1_u64..26) {
            let groups_in_all = (size as u64).div_ceil(GROUP_BYTES);
            let start = u64::from(from) % groups_in_all * GROUP_BYTES;
            let length = (groups * GROUP_BYTES).min(size as u64 - start) as u32;
            round_trip(&bytes(size), Range { start, length });
        }

        #[test]
        fn a_flipped_bit_is_seen(size in 1_usize..200_000, at: prop::sample::Index, bit in 0..8) {
            let item = bytes(size);
            let range = Range::nth(size as u64, 0);
            let mut encoded = encoded(&item, range);
            let at = at.index(encoded.len());
            encoded[at] ^= 1_u8 << bit;
            prop_assert_eq!(decoded(&item, range, &encoded), Err(WrongBytes));
        }

        #[test]
        fn other_lengths_are_seen(size in 1_usize..200_000, cut: prop::sample::Index) {
            let item = bytes(size);
            let range = Range::nth(size as u64, 0);
            let mut encoded = encoded(&item, range);
            let less = &encoded[..cut.index(encoded.len())];
            prop_assert_eq!(decoded(&item, range, less), Err(WrongBytes));
            encoded.push(0);
            prop_assert_eq!(decoded(&item, range, &encoded), Err(WrongBytes));
        }
    }
}
