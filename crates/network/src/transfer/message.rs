//! Requests and the heads of responses, in bytes.
//!
//! A request is one byte, its length, and that many bytes: which request it is, then its members in
//! order, integers in big-endian. A response is a byte, whether the content is here, and the length
//! of what follows in four.

use std::io;

use bytes::{Buf, TryGetError};
use futures_util::io::{AsyncRead, AsyncReadExt};
use wasm_exec_registry::Digest;

use super::range::Range;
use crate::contents::{Item, Kind};

const CONTENTS: u8 = 1;
const RANGE: u8 = 2;

const MANIFEST: u8 = 1;
const WASM: u8 = 2;

const NOT_HERE: u8 = 0;
const HERE: u8 = 1;

/// What a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The contents list of this module.
    Contents {
        /// The module digest.
        module: Digest,
    },
    /// A range of this item. All that is stated of the item goes along: where the list of a lying
    /// owner has it wrong, an honest provider says that there is no such thing here, and is not
    /// taken for one that sends wrong bytes.
    Range {
        /// The item.
        item: Item,
        /// Which of its bytes.
        range: Range,
    },
}

/// How a response begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// What was asked for is not here.
    NotHere,
    /// It is here, and follows.
    Here {
        /// How many bytes follow.
        length: u32,
    },
}

impl Request {
    /// The request as it is sent.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0];
        match self {
            Self::Contents { module } => {
                bytes.push(CONTENTS);
                bytes.extend(module.as_bytes());
            }
            Self::Range { item: Item { kind, sha256, blake3, size }, range } => {
                bytes.push(RANGE);
                bytes.push(match kind {
                    Kind::Manifest => MANIFEST,
                    Kind::Wasm => WASM,
                });
                bytes.extend(sha256.as_bytes());
                bytes.extend(blake3.as_bytes());
                bytes.extend(size.to_be_bytes());
                bytes.extend(range.start.to_be_bytes());
                bytes.extend(range.length.to_be_bytes());
            }
        }
        bytes[0] = (bytes.len() - 1) as u8;
        bytes
    }

    /// Reads a request. `None` where the stream ends before one.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] for what is no request, and whatever the stream says.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut length = [0];
        if stream.read(&mut length).await? == 0 {
            return Ok(None);
        }
        let mut body = [0; u8::MAX as usize];
        let body = &mut body[..usize::from(length[0])];
        stream.read_exact(body).await?;
        match Self::parse(body) {
            Some(request) => Ok(Some(request)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// `None` for what is no request, or asks for a range that no item can have.
    fn parse(mut body: &[u8]) -> Option<Self> {
        let request = match body.try_get_u8().ok()? {
            CONTENTS => Self::Contents { module: Digest::from_bytes(hash(&mut body).ok()?) },
            RANGE => {
                let kind = match body.try_get_u8().ok()? {
                    MANIFEST => Kind::Manifest,
                    WASM => Kind::Wasm,
                    _ => return None,
                };
                let sha256 = Digest::from_bytes(hash(&mut body).ok()?);
                let blake3 = hash(&mut body).ok()?.into();
                let size = body.try_get_u64().ok()?;
                let start = body.try_get_u64().ok()?;
                let range = Range { start, length: body.try_get_u32().ok()? };
                if !range.is_of(size) {
                    return None;
                }
                Self::Range { item: Item { kind, sha256, blake3, size }, range }
            }
            _ => return None,
        };
        body.is_empty().then_some(request)
    }
}

fn hash(body: &mut &[u8]) -> Result<[u8; 32], TryGetError> {
    let mut bytes = [0; 32];
    body.try_copy_to_slice(&mut bytes)?;
    Ok(bytes)
}

impl Head {
    /// The length of a head, in bytes.
    pub(super) const BYTES: usize = 5;

    /// The head as it is sent.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (status, length) = match self {
            Self::NotHere => (NOT_HERE, 0),
            Self::Here { length } => (HERE, length),
        };
        let [a, b, c, d] = length.to_be_bytes();
        [status, a, b, c, d]
    }

    /// `None` for what is no head.
    pub(super) fn parse([status, length @ ..]: [u8; Self::BYTES]) -> Option<Self> {
        match (status, u32::from_be_bytes(length)) {
            (NOT_HERE, 0) => Some(Self::NotHere),
            (HERE, length) => Some(Self::Here { length }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Request>> {
        let mut bytes = bytes;
        futures_util::FutureExt::now_or_never(Request::read(&mut bytes)).unwrap()
    }

    fn requests() -> impl Strategy<Value = Request> {
        let kind = prop_oneof![Just(Kind::Manifest), Just(Kind::Wasm)];
        let range = (kind, any::<[u8; 32]>(), any::<[u8; 32]>(), 1..u64::MAX >> 1, any::<u64>());
        let range = range.prop_map(|(kind, sha256, blake3, size, part)| {
            let item =
                Item { kind, sha256: Digest::from_bytes(sha256), blake3: blake3.into(), size };
            let range = Range::nth(size, (part % Range::count(size) as u64) as usize);
            Request::Range { item, range }
        });
        let contents = any::<[u8; 32]>()
            .prop_map(|module| Request::Contents { module: Digest::from_bytes(module) });
        prop_oneof![range, contents]
    }

    #[test]
    fn nothing_is_the_end_and_half_a_request_an_error() {
        assert_eq!(read(b"").unwrap(), None);
        let whole = Request::Contents { module: Digest::of(b"module") }.to_bytes();
        for length in 1..whole.len() {
            let error = read(&whole[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn what_is_no_head_is_seen() {
        assert_eq!(Head::parse([0; 5]), Some(Head::NotHere));
        assert_eq!(Head::parse([1, 0, 0, 1, 2]), Some(Head::Here { length: 258 }));
        for head in [[0, 0, 0, 0, 1], [2, 0, 0, 0, 0], [255; 5]] {
            assert_eq!(Head::parse(head), None);
        }
    }

    proptest! {
        #[test]
        fn requests_are_read_as_they_were_sent(request in requests()) {
            prop_assert_eq!(read(&request.to_bytes()).unwrap(), Some(request));
        }

        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            if let Ok(request) = read(&bytes) {
                let sent = request.unwrap().to_bytes();
                prop_assert_eq!(&sent, &bytes[..sent.len()]);
            }
        }
    }
}
