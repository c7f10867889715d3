//! SHA-256 digests, the addresses of everything that is kept.
//!
//! One printed form only, `sha256:` and 64 lower-case hex digits, so that equal digests are equal
//! texts, and the order of texts is the order of digests.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::syntax::SyntaxError;

/// A SHA-256 digest: of a blob's bytes, or of a manifest's canonical JSON.
///
/// `Display`, `FromStr` and serde use the one form `sha256:` + 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a digest. The message says what is wrong and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDigest(SyntaxError);

impl Digest {
    /// What every printed digest starts with.
    pub(crate) const PREFIX: &str = "sha256:";

    const EXPECTED: &str = "a lower-case hex digit";

    /// The digest of `bytes`. Takes about a millisecond per megabyte.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest whose 32 bytes these are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex digits, without `sha256:`.
    pub fn hex(&self) -> String {
        const_hex::encode(self.0)
    }
}

/// Hashes bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes in the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl InvalidDigest {
    /// The byte of the text at which it stopped being a digest.
    pub fn position(&self) -> usize {
        self.0.position()
    }
}

impl From<InvalidDigest> for SyntaxError {
    fn from(error: InvalidDigest) -> Self {
        error.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::PREFIX)?;
        f.write_str(const_hex::Buffer::<32>::new().format(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unexpected = |position, expected| {
            InvalidDigest(SyntaxError::unexpected("digest", text, position, expected))
        };
        let hex = text
            .strip_prefix(Self::PREFIX)
            .ok_or_else(|| unexpected(0, "`sha256:` and 64 lower-case hex digits"))?
            .as_bytes();
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            for position in [2 * index, 2 * index + 1] {
                let digit = hex
                    .get(position)
                    .and_then(|&digit| nibble(digit))
                    .ok_or_else(|| unexpected(Self::PREFIX.len() + position, Self::EXPECTED))?;
                *byte = *byte << 4 | digit;
            }
        }
        if hex.len() > 64 {
            return Err(unexpected(Self::PREFIX.len() + 64, "64 hex digits"));
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`sha256:` and 64 lower-case hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn prints_and_parses_one_form() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(format!("{digest:?}"), ABC);
        assert_eq!(digest.hex(), &ABC[7..]);
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    }

    #[test]
    fn serde_uses_the_printed_form() {
        let json = serde_json::to_string(&Digest::of(b"abc")).unwrap();
        assert_eq!(json, format!("\"{ABC}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), Digest::of(b"abc"));
        let error = serde_json::from_str::<Digest>("\"sha256:xyz\"").unwrap_err();
        assert!(error.to_string().contains("at byte 7"), "{error}");
    }

    #[test]
    fn refuses_everything_else_and_says_where() {
        let hex = &ABC[7..];
        for (text, position) in [
            (String::new(), 0),
            (hex.to_owned(), 0),
            (format!("SHA256:{hex}"), 0),
            (format!("sha512:{hex}"), 0),
            (format!(" sha256:{hex}"), 0),
            ("sha256:".to_owned(), 7),
            (format!("sha256:{}", hex.to_uppercase()), 7),
            (format!("sha256:{}", &hex[1..]), 70),
            (format!("sha256:{hex}0"), 71),
            (format!("sha256:{}ü", &hex[..62]), 69),
            (format!("sha256:{}/", &hex[..63]), 70),
        ] {
            let error = text.parse::<Digest>().expect_err(&text);
            assert_eq!(error.position(), position, "{error}");
        }
    }

    #[test]
    fn text_order_is_byte_order() {
        let mut digests: Vec<Digest> = (0..64_u8).map(|n| Digest::of(&[n])).collect();
        digests.sort();
        assert!(digests.is_sorted_by_key(Digest::to_string));
    }
}
