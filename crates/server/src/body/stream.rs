//! Decompressing a body while it comes, a bounded piece at a time.

use std::io::{Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use tokio::sync::OwnedSemaphorePermit;

use super::Bodies;
use super::decoding::{Coding, DecodeError};
use crate::problem::Problem;

/// About how many decoded bytes are given at a time.
const PIECE: usize = 32 << 10;

/// The most bytes of what was decoded that a zstd frame may refer back to (RFC 9659).
const ZSTD_WINDOW: u64 = 8 << 20;

/// The most bytes of a block of zstd, before and after decoding (RFC 8878, section 3.1.1.2.4).
const ZSTD_BLOCK: usize = 128 << 10;

/// The length of a block's header, and of the checksum after the last, in bytes.
const ZSTD_BLOCK_HEADER: usize = 3;
const ZSTD_CHECKSUM: usize = 4;

/// Decodes a body as it comes.
pub(crate) enum Decoder {
    /// It is as it comes.
    Identity,
    /// gzip, as many members as follow each other.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// zstd, as many frames as follow each other.
    Zstd(Box<Zstd>),
}

/// Decodes zstd block by block. What it gives stays behind what it has read by as much as the frame may
/// refer back to.
pub(crate) struct Zstd {
    decoder: FrameDecoder,
    /// What came and is not a whole block, or header of a frame, yet.
    pending: BytesMut,
    frame: Option<Frame>,
    decoded: u64,
    /// For what is kept to refer back to.
    room: Option<OwnedSemaphorePermit>,
}

/// A frame that has begun.
#[derive(Clone, Copy, Debug)]
struct Frame {
    checksum: bool,
}

impl Decoder {
    /// The decoder for a body with these headers.
    ///
    /// # Errors
    ///
    /// When its encoding is unknown.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(match Coding::of(headers)? {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Zstd => Self::Zstd(Box::new(Zstd::new())),
        })
    }

    /// Whether decoding takes time.
    pub(crate) fn decodes(&self) -> bool {
        !matches!(self, Self::Identity)
    }

    /// Decodes some of what came, which is taken off `input`; `None` once all of that is decoded. No more
    /// is to be put in before.
    ///
    /// # Errors
    ///
    /// When it is not what it says, or there is no room for what has to be kept.
    pub(crate) fn decode(
        &mut self,
        input: &mut Bytes,
        bodies: &Bodies,
    ) -> Result<Option<Bytes>, Problem> {
        let broken = |error: DecodeError| error.problem(bodies.maximum());
        match self {
            Self::Identity if input.is_empty() => Ok(None),
            Self::Identity => Ok(Some(std::mem::take(input))),
            Self::Gzip(decoder) => gunzip(decoder, input).map_err(broken),
            Self::Zstd(decoder) => decoder.decode(input, bodies),
        }
    }

    /// The rest, when nothing more comes.
    ///
    /// # Errors
    ///
    /// When it ends in the middle.
    pub(crate) fn finish(&mut self, bodies: &Bodies) -> Result<Bytes, Problem> {
        let result = match self {
            Self::Identity => Ok(Bytes::new()),
            Self::Gzip(decoder) => match decoder.try_finish() {
                Ok(()) => Ok(std::mem::take(decoder.get_mut()).into()),
                Err(error) => Err(DecodeError::Broken(Coding::Gzip, error.to_string())),
            },
            Self::Zstd(decoder) => match decoder.is_between_frames() {
                true => Ok(Bytes::new()),
                false => Err(broken_zstd("it breaks off")),
            },
        };
        result.map_err(|error| error.problem(bodies.maximum()))
    }
}

fn gunzip(
    decoder: &mut MultiGzDecoder<Vec<u8>>,
    input: &mut Bytes,
) -> Result<Option<Bytes>, DecodeError> {
    let broken = |error: std::io::Error| DecodeError::Broken(Coding::Gzip, error.to_string());
    while decoder.get_ref().len() < PIECE {
        if input.is_empty() {
            // What is known of the last bytes is to be answered before more come.
            decoder.flush().map_err(broken)?;
            break;
        }
        let before = decoder.get_ref().len();
        let read = decoder.write(input).map_err(broken)?;
        if read == 0 && decoder.get_ref().len() == before {
            return Err(DecodeError::Broken(Coding::Gzip, "it cannot be decoded".to_owned()));
        }
        input.advance(read);
    }
    let decoded = std::mem::take(decoder.get_mut());
    Ok((!decoded.is_empty()).then(|| decoded.into()))
}

fn broken_zstd(reason: impl ToString) -> DecodeError {
    DecodeError::Broken(Coding::Zstd, reason.to_string())
}

impl Zstd {
    fn new() -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW);
        Self { decoder, pending: BytesMut::new(), frame: None, decoded: 0, room: None }
    }

    fn is_between_frames(&self) -> bool {
        self.frame.is_none() && self.pending.is_empty()
    }

    fn decode(&mut self, input: &mut Bytes, bodies: &Bodies) -> Result<Option<Bytes>, Problem> {
        self.pending.extend_from_slice(&std::mem::take(input));
        let broken = |error: DecodeError| error.problem(bodies.maximum());
        loop {
            let mut piece = vec![0; PIECE];
            let read = self.decoder.read(&mut piece).map_err(broken_zstd).map_err(broken)?;
            if read > 0 {
                piece.truncate(read);
                return Ok(Some(piece.into()));
            }
            if self.decoder.is_finished() {
                self.frame = None;
            }
            let went_on = match self.frame {
                None => self.begin_frame(),
                Some(frame) => self.decode_block(frame),
            };
            if !went_on.map_err(broken)? {
                return Ok(None);
            }
            bodies.grow(&mut self.room, self.decoded.min(ZSTD_WINDOW))?;
        }
    }

    /// Reads the header of a frame, if it is all there.
    fn begin_frame(&mut self) -> Result<bool, DecodeError> {
        let Some(length) = header_length(&self.pending) else { return Ok(false) };
        let Some(header) = self.pending.get(..length) else { return Ok(false) };
        self.decoder.reset(header).map_err(broken_zstd)?;
        self.frame = Some(Frame { checksum: header[4] & 0b100 != 0 });
        self.pending.advance(length);
        Ok(true)
    }

    /// Decodes a block, if it is all there.
    fn decode_block(&mut self, frame: Frame) -> Result<bool, DecodeError> {
        let Some(&[low, middle, high]) = self.pending.first_chunk() else { return Ok(false) };
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let (last, kind, size) = (header & 1 == 1, header >> 1 & 3, (header >> 3) as usize);
        if size > ZSTD_BLOCK {
            return Err(broken_zstd("a block is too large"));
        }
        // One byte is repeated in blocks of the second kind.
        let content = if kind == 1 { 1 } else { size };
        let checksum = if last && frame.checksum { ZSTD_CHECKSUM } else { 0 };
        let length = ZSTD_BLOCK_HEADER + content + checksum;
        let Some(block) = self.pending.get(..length) else { return Ok(false) };
        let one = BlockDecodingStrategy::UptoBlocks(1);
        self.decoder.decode_blocks(block, one).map_err(broken_zstd)?;
        self.pending.advance(length);
        self.decoded += ZSTD_BLOCK as u64;
        Ok(true)
    }
}

/// The length of a frame's header, if what says that is there (RFC 8878, section 3.1.1.1).
fn header_length(start: &[u8]) -> Option<usize> {
    const MAGIC: usize = 4;
    let descriptor = *start.get(MAGIC)?;
    let single_segment = descriptor & 0b10_0000 != 0;
    let window = usize::from(!single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        size => 1 << size,
    };
    Some(MAGIC + 1 + window + dictionary + content_size)
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Identity => "Identity",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use http::header::CONTENT_ENCODING;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(1 << 20, 64 << 20, Duration::from_secs(60))
    }

    fn decoder(coding: &'static str) -> Decoder {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        Decoder::of(&headers).unwrap()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn text() -> Vec<u8> {
        (0..60_000u32)
            .flat_map(|number| format!("[{}]\n", number * number % 977).into_bytes())
            .collect()
    }

    /// What is decoded of a body that comes in pieces of a size.
    fn decode(coding: &'static str, body: &[u8], size: usize) -> Result<Vec<u8>, Problem> {
        let (mut decoder, bodies) = (decoder(coding), bodies());
        let mut decoded = Vec::new();
        for chunk in body.chunks(size) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(piece) = decoder.decode(&mut chunk, &bodies)? {
                let bounded = !decoder.decodes() || piece.len() <= 4 * PIECE;
                assert!(!piece.is_empty() && bounded, "{}", piece.len());
                decoded.extend_from_slice(&piece);
            }
        }
        decoded.extend_from_slice(&decoder.finish(&bodies)?);
        Ok(decoded)
    }

    #[test]
    fn however_it_is_cut_it_decodes_to_the_same() {
        let text = text();
        let two = |one: fn(&[u8]) -> Vec<u8>| [one(&text[..1000]), one(&text[1000..])].concat();
        for (coding, body) in [("gzip", two(gzip)), ("zstd", two(zstd)), ("identity", text.clone())]
        {
            for size in [1, 7, 4096, body.len()] {
                let decoded = decode(coding, &body, size).unwrap();
                assert!(decoded == text, "{coding} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_breaks_off_or_is_broken_is_told() {
        for (coding, body) in [("gzip", gzip(&text())), ("zstd", zstd(&text()))] {
            let half = &body[..body.len() / 2];
            assert!(decode(coding, half, 4096).is_err(), "{coding} breaks off");
            let mut damaged = body.clone();
            damaged[..6].reverse();
            assert!(decode(coding, &damaged, 4096).is_err(), "{coding} is broken");
            let followed = [&body[..], b"and something else that is none"].concat();
            assert!(decode(coding, &followed, 4096).is_err(), "{coding} is followed");
        }
    }

    #[test]
    fn a_bomb_is_decoded_in_pieces() {
        let zeros = vec![0; 32 << 20];
        for (coding, body) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
            assert!(body.len() < zeros.len() / 100);
            assert_eq!(decode(coding, &body, body.len()).unwrap().len(), zeros.len());
        }
    }

    #[test]
    fn gzip_that_is_flushed_is_decoded_up_to_there() {
        let (mut decoder, bodies) = (decoder("gzip"), bodies());
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for line in ["[1]\n", "[2]\n", "[3]\n"] {
            encoder.write_all(line.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let mut chunk = Bytes::from(std::mem::take(encoder.get_mut()));
            let piece = decoder.decode(&mut chunk, &bodies).unwrap();
            assert_eq!(piece.unwrap(), line);
            assert!(decoder.decode(&mut chunk, &bodies).unwrap().is_none());
        }
    }
}
