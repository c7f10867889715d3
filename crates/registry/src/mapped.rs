//! Memory for what is large: mapped for itself, in huge pages where the kernel has them.
//!
//! The allocator's memory comes in pages of 4 KiB, each of which is made by a fault when it is first
//! written. For 64 MiB that takes several times as long as to copy them.

use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use memmap2::MmapMut;

/// What has more bytes than this is worth a mapping. Nearly a huge page more than what is in use may
/// be resident, so it takes at most half as much again as is counted.
pub const LARGE: usize = 4 << 20;

/// The size of a huge page in bytes, or a multiple of it.
const HUGE_PAGE: usize = 2 << 20;

/// The most memory that so many counted bytes can take.
pub fn most(counted: u64) -> u64 {
    counted.saturating_add(counted / 2)
}

/// Bytes in a mapping of their own, appended to what is there up to its capacity. It takes memory only
/// as it is filled.
#[derive(Debug)]
pub struct Mapped {
    map: MmapMut,
    filled: usize,
}

impl Mapped {
    /// Room for so many bytes.
    ///
    /// # Errors
    ///
    /// When there is no address space, or there are too many mappings.
    pub fn with_capacity(bytes: usize) -> io::Result<Self> {
        // The kernel aligns mappings of whole huge pages to them.
        let map = MmapMut::map_anon(bytes.max(1).next_multiple_of(HUGE_PAGE))?;
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "a mapping has small pages");
        }
        Ok(Self { map, filled: 0 })
    }

    /// How many bytes are there.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// When there is no room for all of them: none are appended.
    pub fn extend(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.filled + bytes.len();
        let room = self.map.get_mut(self.filled..end).ok_or(io::ErrorKind::StorageFull)?;
        room.copy_from_slice(bytes);
        self.filled = end;
        Ok(())
    }

    /// What is there, for good. It is not copied.
    pub fn freeze(self) -> Bytes {
        let filled = self.filled;
        Bytes::from_owner(self.map).slice(..filled)
    }
}

/// A copy of some bytes.
///
/// # Errors
///
/// When they are many, and cannot be mapped.
pub fn copy(bytes: &[u8]) -> io::Result<Bytes> {
    if bytes.len() <= LARGE {
        return Ok(Bytes::copy_from_slice(bytes));
    }
    let mut copy = Mapped::with_capacity(bytes.len())?;
    copy.extend(bytes)?;
    Ok(copy.freeze())
}

/// A number of bytes that is known, each zero until it is written: if they are many, in a mapping.
#[derive(Debug)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    Small(Vec<u8>),
    Large { map: MmapMut, len: usize },
}

impl Buffer {
    /// So many zeros.
    ///
    /// # Errors
    ///
    /// When they are many, and cannot be mapped.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        if len <= LARGE {
            return Ok(Self(Memory::Small(vec![0; len])));
        }
        let Mapped { map, .. } = Mapped::with_capacity(len)?;
        Ok(Self(Memory::Large { map, len }))
    }

    /// The bytes, for good. They are not copied.
    pub fn freeze(self) -> Bytes {
        match self.0 {
            Memory::Small(bytes) => bytes.into(),
            Memory::Large { map, len } => Bytes::from_owner(map).slice(..len),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Small(bytes) => bytes,
            Memory::Large { map, len } => &map[..*len],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Small(bytes) => bytes,
            Memory::Large { map, len } => &mut map[..*len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_until_it_is_written() {
        for size in [0, 1, LARGE, LARGE + 1] {
            let mut buffer = Buffer::zeroed(size).unwrap();
            assert!(buffer.len() == size && buffer.iter().all(|byte| *byte == 0));
            if let Some(last) = buffer.last_mut() {
                *last = 7;
            }
            let bytes = buffer.freeze();
            assert_eq!((bytes.len(), bytes.last()), (size, [7].last().filter(|_| size > 0)));
        }
    }

    #[test]
    fn what_is_appended_is_there() {
        let mut mapped = Mapped::with_capacity(5).unwrap();
        mapped.extend(b"ab").unwrap();
        mapped.extend(b"").unwrap();
        mapped.extend(b"cde").unwrap();
        assert_eq!(mapped.len(), 5);
        assert!(mapped.extend(&vec![0; HUGE_PAGE]).is_err());
        assert_eq!(mapped.freeze(), "abcde");
        assert!(Mapped::with_capacity(0).unwrap().freeze().is_empty());
    }

    #[test]
    fn copies_are_equal_whatever_their_size() {
        for size in [0, 1, LARGE, LARGE + 1] {
            let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            assert_eq!(copy(&bytes).unwrap(), bytes);
        }
    }
}
