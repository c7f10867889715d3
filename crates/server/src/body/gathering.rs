//! Putting the pieces of a body together.

use std::io;

use bytes::{Bytes, BytesMut};
use wasm_exec::mapped::{LARGE, Mapped};

/// How many bytes are moved at a time.
const STEP: usize = 256 << 10;

/// Pieces of a body, put together as they come. A body in one piece, as almost all are, is not copied.
#[derive(Debug)]
pub(super) enum Gathering {
    First(Bytes),
    Small(BytesMut),
    /// With what is still to be moved there, in its order.
    Large(Mapped, [Bytes; 2]),
}

impl Gathering {
    pub(super) fn new() -> Self {
        Self::First(Bytes::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::First(first) => first.len(),
            Self::Small(all) => all.len(),
            Self::Large(all, rest) => all.len() + rest.iter().map(Bytes::len).sum::<usize>(),
        }
    }

    /// Appends a piece, of which there are to be `capacity` bytes in all at most. All that is to be moved
    /// has to be moved before.
    ///
    /// # Errors
    ///
    /// When they are many, and cannot be mapped.
    pub(super) fn push(&mut self, piece: Bytes, capacity: usize) -> io::Result<()> {
        // What is only announced takes no memory, nor that of a huge page.
        let large = self.len() + piece.len() > LARGE;
        match self {
            Self::First(first) if first.is_empty() => *first = piece,
            Self::Large(all, _) => all.extend(&piece)?,
            Self::First(before) if !large => {
                let mut all = BytesMut::from(&**before);
                all.extend_from_slice(&piece);
                *self = Self::Small(all);
            }
            Self::Small(all) if !large => all.extend_from_slice(&piece),
            Self::First(_) | Self::Small(_) => {
                let before = std::mem::replace(self, Self::new()).finish();
                let all = Mapped::with_capacity(capacity)?;
                *self = Self::Large(all, [before, piece]);
            }
        }
        Ok(())
    }

    /// Moves a step of what was put together before it was large: how many bytes; none when all of it is
    /// moved. All at once, it would take longer than many calls.
    ///
    /// # Errors
    ///
    /// When there are more bytes than there were to be.
    pub(super) fn move_some(&mut self) -> io::Result<usize> {
        let Self::Large(all, rest) = self else { return Ok(0) };
        let Some(next) = rest.iter_mut().find(|bytes| !bytes.is_empty()) else { return Ok(0) };
        let step = next.split_to(next.len().min(STEP));
        all.extend(&step)?;
        Ok(step.len())
    }

    /// What was put together, and moved.
    pub(super) fn finish(self) -> Bytes {
        match self {
            Self::First(first) => first,
            Self::Small(all) => all.freeze(),
            Self::Large(all, _) => all.freeze(),
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
            for piece in pieces() {
                gathering.push(piece, expected.len()).unwrap();
                while gathering.move_some().unwrap() > 0 {}
            }
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
