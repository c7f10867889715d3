//! A database in memory, in huge pages where the kernel has them.
//!
//! redb's own backend of this kind is one vector. Growing it makes every page of 4 KiB by a fault,
//! which for a large blob takes longer than all else that is done to store it.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use redb::StorageBackend;

use crate::mapped::Buffer;

/// How many bytes are mapped at a time. They take memory only as they are written.
const SEGMENT_BYTES: usize = if cfg!(test) { 4096 } else { 64 << 20 };

/// A file that is none.
#[derive(Default)]
pub(super) struct Memory(RwLock<Space>);

#[derive(Default)]
struct Space {
    /// As many as hold `len` bytes. What is behind those is zero.
    segments: Vec<Buffer>,
    len: usize,
}

/// Some bytes of one segment.
struct Piece {
    segment: usize,
    /// Which of the segment's bytes.
    of_segment: Range<usize>,
    /// Which of the bytes that are read or written.
    of_all: Range<usize>,
}

impl Space {
    /// Where so many bytes are that begin at `offset`.
    fn pieces(
        &self,
        offset: u64,
        length: usize,
    ) -> io::Result<impl Iterator<Item = Piece> + use<>> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(length).filter(|end| *end <= self.len);
        let end = end.ok_or(ErrorKind::InvalidInput)?;
        let mut at = start;
        Ok(std::iter::from_fn(move || {
            let from = at % SEGMENT_BYTES;
            let bytes = (SEGMENT_BYTES - from).min(end - at);
            let piece = Piece {
                segment: at / SEGMENT_BYTES,
                of_segment: from..from + bytes,
                of_all: at - start..at - start + bytes,
            };
            at += bytes;
            (bytes > 0).then_some(piece)
        }))
    }

    fn set_len(&mut self, len: usize) -> io::Result<()> {
        if len < self.len {
            for Piece { segment, of_segment, .. } in self.pieces(len as u64, self.len - len)? {
                self.segments[segment][of_segment].fill(0);
            }
        }
        let segments = len.div_ceil(SEGMENT_BYTES);
        self.segments.truncate(segments);
        while self.segments.len() < segments {
            self.segments.push(Buffer::zeroed(SEGMENT_BYTES)?);
        }
        self.len = len;
        Ok(())
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let space = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for Piece { segment, of_segment, of_all } in space.pieces(offset, out.len())? {
            out[of_all].copy_from_slice(&space.segments[segment][of_segment]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.0.write().unwrap_or_else(PoisonError::into_inner).set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut space = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for Piece { segment, of_segment, of_all } in space.pieces(offset, data.len())? {
            space.segments[segment][of_segment].copy_from_slice(&data[of_all]);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("len", &self.len().ok()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of a few segments.
    const MOST: usize = 5 * SEGMENT_BYTES;

    #[derive(Debug, Clone)]
    enum Step {
        SetLen(usize),
        Write { offset: usize, length: usize, byte: u8 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let set_len = (0..MOST).prop_map(Step::SetLen);
        let write = (0..MOST, 0..MOST, any::<u8>())
            .prop_map(|(offset, length, byte)| Step::Write { offset, length, byte });
        prop::collection::vec(prop_oneof![set_len, write], 1..20)
    }

    proptest! {
        #[test]
        fn is_what_a_vector_is(steps in steps()) {
            let (memory, mut vector) = (Memory::default(), Vec::new());
            for step in steps {
                match step {
                    Step::SetLen(len) => {
                        memory.set_len(len as u64).unwrap();
                        vector.resize(len, 0);
                    }
                    Step::Write { offset, length, byte } => {
                        let written = memory.write(offset as u64, &vec![byte; length]);
                        let place = vector.get_mut(offset..offset + length);
                        prop_assert_eq!(written.is_ok(), place.is_some());
                        if let Some(place) = place {
                            place.fill(byte);
                        }
                    }
                }
                prop_assert_eq!(memory.len().unwrap(), vector.len() as u64);
                let mut read = vec![0; vector.len()];
                memory.read(0, &mut read).unwrap();
                prop_assert!(read == vector);
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        let memory = Memory::default();
        memory.set_len(10).unwrap();
        assert!(memory.read(5, &mut [0; 6]).is_err());
        assert!(memory.read(u64::MAX, &mut [0; 2]).is_err());
    }
}
