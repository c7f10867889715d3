//! Keys as clients send them: `wxk_ID_SECRET`.
//!
//! The id finds the key's record without a search; it is no secret. The secret is 43 digits of base
//! 62, drawn uniformly: 256 bits. Only the SHA-256 of the whole text is kept. A slow hash, as for
//! passwords, would buy nothing: it makes guessing dear, and what was drawn from 2²⁵⁶ cannot be
//! guessed at any price.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wasm_exec::Digest;

/// What every key starts with, so that people and scanners for leaked secrets recognise one.
const PREFIX: &str = "wxk_";

/// Digits of an id, and of a secret.
const ID: usize = 10;
const SECRET: usize = 43;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key, secret included. Whoever has it may do what its record says.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// What names a key and its record: ten digits of base 62. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; ID]);

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A text that is not the id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ten letters and digits")]
pub struct InvalidKeyId;

impl ApiKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut text = PREFIX.to_owned();
        push_digits(&mut text, ID)?;
        text.push('_');
        push_digits(&mut text, SECRET)?;
        Ok(Self(text))
    }

    /// The part that is not secret.
    pub fn id(&self) -> KeyId {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0.as_bytes()[PREFIX.len()..PREFIX.len() + ID]);
        KeyId(id)
    }

    /// What is kept of it: the SHA-256 of the whole text.
    pub fn hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The key, for whom it was made.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Appends digits, each as likely as any other: bytes that would make some likelier are left out.
fn push_digits(text: &mut String, count: usize) -> Result<(), NoRandomness> {
    const FAIR: u8 = 62 * 4;
    let end = text.len() + count;
    while text.len() < end {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(NoRandomness)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR).take(end - text.len());
        text.extend(fair.map(|byte| char::from(DIGITS[usize::from(byte % 62)])));
    }
    Ok(())
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKey").field(&self.id()).finish_non_exhaustive()
    }
}

impl KeyId {
    /// The id in a text that has the form of a key.
    pub(super) fn of_key(text: &[u8]) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX.as_bytes())?.split_first_chunk()?;
        let secret = rest.strip_prefix(b"_")?;
        let digits = |text: &[u8]| text.iter().all(u8::is_ascii_alphanumeric);
        (secret.len() == SECRET && digits(id) && digits(secret)).then_some(Self(*id))
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let id: [u8; ID] = text.as_bytes().try_into().map_err(|_| InvalidKeyId)?;
        id.iter().all(u8::is_ascii_alphanumeric).then_some(Self(id)).ok_or(InvalidKeyId)
    }
}

impl TryFrom<String> for KeyId {
    type Error = InvalidKeyId;

    fn try_from(text: String) -> Result<Self, InvalidKeyId> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_have_their_form() {
        let keys: Vec<_> = (0..100).map(|_| ApiKey::generate().unwrap()).collect();
        for key in &keys {
            let text = key.reveal();
            assert_eq!(text.len(), 58, "{text}");
            assert_eq!(KeyId::of_key(text.as_bytes()), Some(key.id()));
            assert_eq!(key.id().to_string().parse(), Ok(key.id()));
            assert!(!format!("{key:?}").contains(&text[15..]));
        }
        let hashes: std::collections::HashSet<_> = keys.iter().map(ApiKey::hash).collect();
        assert_eq!(hashes.len(), keys.len());
    }

    #[test]
    fn what_has_not_the_form_of_a_key_is_none() {
        let key = ApiKey::generate().unwrap();
        let text = key.reveal();
        for other in [
            "",
            "wxk_",
            &text[1..],
            &text[..57],
            &format!("{text}0"),
            &text.replace("wxk_", "wxk-"),
            &format!("{}-{}", &text[..14], &text[15..]),
            &format!("{}é", &text[..56]),
        ] {
            assert_eq!(KeyId::of_key(other.as_bytes()), None, "{other}");
        }
        assert_eq!("short".parse::<KeyId>(), Err(InvalidKeyId));
        assert_eq!("ten-digits".parse::<KeyId>(), Err(InvalidKeyId));
    }
}
