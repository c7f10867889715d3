//! Putting the pieces of a body together.

use std::io;

use bytes::{Bytes, BytesMut};
use wasm_exec::mapped::{LARGE, Mapped};

/// Pieces of a body, put together as they come. A body in one piece, as almost all are, is not copied.
#[derive(Debug)]
pub(super) enum Gathering {
    First(Bytes),
    Small(BytesMut),
    Large(Mapped),
}

impl Gathering {
    pub(super) fn new() -> Self {
        Self::First(Bytes::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::First(first) => first.len(),
            Self::Small(all) => all.len(),
            Self::Large(all) => all.len(),
        }
    }

    /// Appends a piece, of which there are to be `capacity` bytes in all at most.
    ///
    /// # Errors
    ///
    /// When they are many, and cannot be mapped.
    pub(super) fn push(&mut self, piece: Bytes, capacity: usize) -> io::Result<()> {
        // What is only announced takes no memory, nor that of a huge page.
        let large = self.len() + piece.len() > LARGE;
        match self {
            Self::First(first) if first.is_empty() => *first = piece,
            Self::Large(all) => all.extend(&piece)?,
            Self::First(before) if !large => {
                let mut all = BytesMut::from(&**before);
                all.extend_from_slice(&piece);
                *self = Self::Small(all);
            }
            Self::Small(all) if !large => all.extend_from_slice(&piece),
            Self::First(_) | Self::Small(_) => {
                let before = std::mem::replace(self, Self::new()).finish();
                let mut all = Mapped::with_capacity(capacity)?;
                all.extend(&before)?;
                all.extend(&piece)?;
                *self = Self::Large(all);
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Bytes {
        match self {
            Self::First(first) => first,
            Self::Small(all) => all.freeze(),
            Self::Large(all) => all.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_whatever_their_sizes() {
        let piece = |size: usize, from: u8| Bytes::from(vec![from; size]);
        for sizes in [&[][..], &[3], &[0, 3, 0], &[3, 4], &[3, LARGE, 5], &[LARGE, 1], &[LARGE + 1]]
        {
            let pieces = || sizes.iter().zip(1..).map(|(size, from)| piece(*size, from));
            let expected: Vec<u8> = pieces().flatten().collect();
            let mut gathering = Gathering::new();
            pieces().for_each(|piece| gathering.push(piece, expected.len()).unwrap());
            assert_eq!(gathering.len(), expected.len(), "{sizes:?}");
            assert_eq!(gathering.finish(), expected, "{sizes:?}");
        }
    }

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![1; 5]);
        let mut gathering = Gathering::new();
        gathering.push(piece.clone(), 5).unwrap();
        assert_eq!(gathering.finish().as_ptr(), piece.as_ptr());
    }
}
