//! Wasm as requests bring it: hex, base64, text, or the bytes themselves.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use wasm_exec_engine::text::{self, InvalidText};

/// Wasm in one of its notations.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// Two hex digits a byte, upper or lower case.
    Hex(&'a str),
    /// Base64 with the standard alphabet, padded or not.
    Base64(&'a str),
    /// The WebAssembly text format.
    Wat(&'a str),
    /// The bytes.
    Wasm(Bytes),
}

/// The largest text that is parsed, in bytes.
pub(crate) const MAXIMUM_TEXT: u64 = 8 << 20;

/// How many times its size a text takes in memory while it is parsed, at most.
pub(crate) const TEXT_TIMES: u64 = 60;

/// A notation could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Hex digits come in pairs.
    #[error("wasm_hex: {digits} hex digits, an odd number")]
    OddHex {
        /// How many there are.
        digits: usize,
    },
    /// Something else than a hex digit.
    #[error("wasm_hex: {found:?} at position {position} is not a hex digit")]
    NotHex {
        /// Where, in bytes from 0.
        position: usize,
        /// What is there.
        found: char,
    },
    /// Not base64.
    #[error("wasm_base64: {reason}")]
    NotBase64 {
        /// What is wrong, with its position.
        reason: String,
    },
    /// Not the WebAssembly text format.
    #[error("{0}")]
    InvalidText(InvalidText),
    /// More bytes than a module may have.
    #[error("the module has {size} bytes; at most {maximum} are accepted")]
    TooLarge {
        /// How many it has, at least.
        size: u64,
        /// How many it may have.
        maximum: u64,
    },
}

/// Standard alphabet; whether there is padding does not matter.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Source<'_> {
    /// The bytes, at most `maximum` of them.
    ///
    /// # Errors
    ///
    /// When the notation is broken, saying where, or there are too many bytes.
    pub(crate) fn decode(self, maximum: u64) -> Result<Bytes, SourceError> {
        let fits = |size: u64| match size <= maximum {
            true => Ok(()),
            false => Err(SourceError::TooLarge { size, maximum }),
        };
        // Sizes are checked before anything is allocated for them.
        let wasm = match self {
            Self::Hex(digits) => {
                fits(digits.len() as u64 / 2)?;
                decode_hex(digits)?.into()
            }
            Self::Base64(digits) => {
                fits(digits.len() as u64 / 4 * 3)?;
                let decoded = BASE64.decode(digits);
                decoded
                    .map_err(|error| SourceError::NotBase64 { reason: error.to_string() })?
                    .into()
            }
            Self::Wat(wat) => {
                let size = wat.len() as u64;
                let maximum = maximum.min(MAXIMUM_TEXT);
                if size > maximum {
                    return Err(SourceError::TooLarge { size, maximum });
                }
                text::parse(wat).map_err(SourceError::InvalidText)?.into()
            }
            Self::Wasm(wasm) => wasm,
        };
        fits(wasm.len() as u64)?;
        Ok(wasm)
    }

    /// Whether decoding takes long enough to be moved off the threads that serve requests.
    pub(crate) fn is_large(&self) -> bool {
        const LARGE_DIGITS: usize = 1 << 20;
        const LARGE_TEXT: usize = 16 << 10;
        match self {
            Self::Hex(text) | Self::Base64(text) => text.len() > LARGE_DIGITS,
            Self::Wat(text) => text.len() > LARGE_TEXT,
            Self::Wasm(_) => false,
        }
    }
}

fn decode_hex(digits: &str) -> Result<Vec<u8>, SourceError> {
    const_hex::check_raw(digits).then_some(()).map_or_else(
        || Err(hex_error(digits)),
        |()| {
            // `0x` in front is not hex here, though the decoder would take it.
            const_hex::decode(digits).map_err(|_| hex_error(digits))
        },
    )
}

/// What is wrong with hex digits that do not decode.
fn hex_error(digits: &str) -> SourceError {
    let wrong = digits.char_indices().find(|(_, digit)| !digit.is_ascii_hexdigit());
    match wrong {
        Some((position, found)) => SourceError::NotHex { position, found },
        None => SourceError::OddHex { digits: digits.len() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAXIMUM: u64 = 1 << 10;

    #[test]
    fn every_notation_gives_the_same_bytes() {
        let wasm = Bytes::from_static(b"\0asm\x01\0\0\0");
        for source in [
            Source::Hex("0061736d01000000"),
            Source::Hex("0061736D01000000"),
            Source::Base64("AGFzbQEAAAA="),
            Source::Base64("AGFzbQEAAAA"),
            Source::Wat("(module)"),
            Source::Wat("(module binary \"\\00asm\" \"\\01\\00\\00\\00\")"),
            Source::Wasm(wasm.clone()),
        ] {
            assert_eq!(source.decode(MAXIMUM), Ok(wasm.clone()));
        }
        assert_eq!(Source::Hex("").decode(MAXIMUM), Ok(Bytes::new()));
    }

    #[test]
    fn errors_say_where() {
        for (source, message) in [
            (Source::Hex("00617"), "wasm_hex: 5 hex digits, an odd number"),
            (Source::Hex("00g1"), "wasm_hex: 'g' at position 2 is not a hex digit"),
            (Source::Hex("0x00"), "wasm_hex: 'x' at position 1 is not a hex digit"),
            (Source::Hex("00é"), "wasm_hex: 'é' at position 2 is not a hex digit"),
            (Source::Base64("A*=="), "wasm_base64: Invalid symbol 42, offset 1."),
            (Source::Wat("(module\n  (fun))"), "line 2, column 4: "),
        ] {
            let error = source.decode(MAXIMUM).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_decoded() {
        let hex = "0".repeat(4096);
        let error = SourceError::TooLarge { size: 2048, maximum: MAXIMUM };
        assert_eq!(Source::Hex(&hex).decode(MAXIMUM), Err(error));
        assert!(Source::Base64(&hex).decode(MAXIMUM).is_err());
        assert!(Source::Wasm(vec![0; 1025].into()).decode(MAXIMUM).is_err());
        let text = " ".repeat(MAXIMUM_TEXT as usize + 1);
        assert!(Source::Wat(&text).decode(u64::MAX).is_err());
    }
}
