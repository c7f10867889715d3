//! Decompressing bodies, never to more bytes than a body may have.

use std::io::{self, Read};

use bytes::Bytes;
use http::{HeaderMap, header};
use wasm_exec::Exec;

use crate::problem::{Code, Problem};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body could not be decoded.
#[derive(Debug)]
pub(super) enum DecodeError {
    TooLarge,
    Broken(Coding, String),
}

impl DecodeError {
    pub(super) fn problem(self, maximum: u64) -> Problem {
        match self {
            Self::TooLarge => {
                let detail =
                    format!("the body has more than the {maximum} bytes that are accepted");
                Problem::new(Code::TooLarge, detail).with("maximum", maximum)
            }
            Self::Broken(coding, reason) => {
                Problem::invalid_request(format!("the body is not {}: {reason}", coding.as_str()))
            }
        }
    }
}

impl Coding {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return match headers.contains_key(header::CONTENT_ENCODING) {
                true => Err(unsupported("several codings")),
                false => Ok(Self::Identity),
            };
        };
        let value = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
        match value.as_str() {
            "identity" | "" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(unsupported(other)),
        }
    }

    /// How many bytes so many can expand to, if that is bounded.
    pub(super) fn most(self, bytes: u64) -> u64 {
        /// Two bits can repeat 258 bytes (RFC 1951, section 3.2.5).
        const GZIP: u64 = 258 * 8 / 2;
        match self {
            Self::Identity => bytes,
            Self::Gzip => bytes.saturating_mul(GZIP),
            Self::Zstd => u64::MAX,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

fn unsupported(found: &str) -> Problem {
    let detail = format!("content encoding: expected gzip, zstd or none, got {found:?}");
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// Bodies of more bytes than this are decoded on threads of lower priority than those that serve
/// requests, and so are all of zstd: gzip expands a byte to about a thousand at most, zstd to many times that.
const LARGE: usize = 1 << 10;

/// Decodes a body to at most `maximum` bytes. `room` is held until that is done, and given back.
pub(super) async fn decode<R: Send + 'static>(
    exec: &Exec,
    coding: Coding,
    body: Bytes,
    maximum: u64,
    room: R,
) -> Result<(Bytes, R), DecodeError> {
    if coding == Coding::Identity {
        return Ok((body, room));
    }
    if body.len() <= LARGE && coding == Coding::Gzip {
        return Ok((decode_now(coding, &body, maximum)?, room));
    }
    let decoding = exec.blocking(move || Ok((decode_now(coding, &body, maximum)?, room)));
    let crashed = |_| Err(DecodeError::Broken(coding, "it cannot be decoded".to_owned()));
    decoding.await.unwrap_or_else(crashed)
}

fn decode_now(coding: Coding, body: &[u8], maximum: u64) -> Result<Bytes, DecodeError> {
    let broken = |error: String| DecodeError::Broken(coding, error);
    match coding {
        Coding::Identity => read_all(body, maximum),
        Coding::Gzip => read_all(flate2::read::MultiGzDecoder::new(body), maximum),
        Coding::Zstd => {
            let (mut rest, mut decoded) = (body, Vec::new());
            // A body may be several frames, one after the other (RFC 8878, section 3).
            while !rest.is_empty() {
                let decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest);
                let decoder = decoder.map_err(|error| broken(error.to_string()))?;
                let frame = read_all(decoder, maximum - decoded.len() as u64);
                decoded.extend_from_slice(&frame.map_err(|error| error.of(coding))?);
            }
            return Ok(decoded.into());
        }
    }
    .map_err(|error| error.of(coding))
}

enum ReadError {
    TooLarge,
    Io(io::Error),
}

impl ReadError {
    fn of(self, coding: Coding) -> DecodeError {
        match self {
            Self::TooLarge => DecodeError::TooLarge,
            Self::Io(error) => DecodeError::Broken(coding, error.to_string()),
        }
    }
}

fn read_all(decoder: impl Read, maximum: u64) -> Result<Bytes, ReadError> {
    let mut decoded = Vec::new();
    decoder.take(maximum + 1).read_to_end(&mut decoded).map_err(ReadError::Io)?;
    if decoded.len() as u64 > maximum { Err(ReadError::TooLarge) } else { Ok(decoded.into()) }
}
