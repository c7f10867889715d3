//! Names: `[namespace:]label[@version]`, as `utils`, `utils@1.2.0` or `acme:utils@1.2.0`.
//!
//! A `label` and a `namespace` are `[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}`, a `version` is SemVer 2.0
//! without build metadata, of at most 64 characters. So a name is safe in a path, a log line and a
//! shell, and never looks like a digest. A namespace that is a peer's id says whose the name is; a
//! registry that is not peer-to-peer registers nothing there.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use semver::Version;

use crate::syntax::SyntaxError;

/// The most characters of a namespace, of a label and of a version.
const MAX_PART: usize = 64;

/// What a module is registered under. Ordered by the bytes of its printed form; cheap to clone.
#[derive(Clone)]
pub struct Name {
    text: Arc<str>,
    /// Where the label starts: after the namespace's colon, or 0.
    label_start: usize,
    /// Where the label ends: at the `@`, or the end.
    label_end: usize,
    version: Option<Version>,
}

/// A text that is not a name. The message says what is wrong and at which byte, and quotes at most
/// 64 characters of the text, escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(SyntaxError);

impl Name {
    /// The printed form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is before the colon, if there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.label_start.checked_sub(1).map(|colon| &self.text[..colon])
    }

    /// The namespace, if it is the id of a peer: base58 of an Ed25519 key, as libp2p prints it, by
    /// its form. Whether it is that of a key is for those to find out who verify its signatures.
    pub fn owner(&self) -> Option<&str> {
        self.namespace().filter(|namespace| is_owner(namespace))
    }

    /// The label alone.
    pub fn label(&self) -> &str {
        &self.text[self.label_start..self.label_end]
    }

    /// What is after the `@`, if there is one.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// Namespace and label: what all versions of a module share.
    pub fn unversioned(&self) -> &str {
        &self.text[..self.label_end]
    }

    /// The name without its namespace: `utils@1.2.0` of `acme:utils@1.2.0`.
    pub fn without_namespace(&self) -> Self {
        let start = self.label_start;
        Self {
            text: self.text[start..].into(),
            label_start: 0,
            label_end: self.label_end - start,
            version: self.version.clone(),
        }
    }

    /// The version, if it is one that a bare label may mean: a release, not a pre-release.
    pub(crate) fn release(&self) -> Option<&Version> {
        self.version().filter(|version| version.pre.is_empty())
    }

    /// The name without its version.
    pub fn without_version(&self) -> Self {
        Self {
            text: self.unversioned().into(),
            label_start: self.label_start,
            label_end: self.label_end,
            version: None,
        }
    }
}

impl InvalidName {
    /// The byte of the text at which it stopped being a name.
    pub fn position(&self) -> usize {
        self.0.position()
    }

    pub(crate) fn new(error: SyntaxError) -> Self {
        Self(error)
    }

    /// That the namespace of `text` is for peers.
    pub(crate) fn reserved_for_peers(text: &str) -> Self {
        let problem = "a namespace that looks like a peer id is reserved";
        Self(SyntaxError::new("name", text, 0, problem))
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let next = |end: usize| text.as_bytes().get(end);
        let first = word(text, 0)?;
        let (label_start, label_end) = if next(first) == Some(&b':') {
            refuse_reserved(text, &text[..first])?;
            (first + 1, word(text, first + 1)?)
        } else {
            (0, first)
        };
        let version = match next(label_end) {
            None => None,
            Some(b'@') => Some(version(text, label_end + 1)?),
            Some(_) if label_start == 0 => {
                let expected = "a letter, a digit, `_`, `.`, `-`, `:` or `@`";
                return Err(unexpected(text, label_end, expected));
            }
            Some(_) => {
                let expected = "a letter, a digit, `_`, `.`, `-` or `@`";
                return Err(unexpected(text, label_end, expected));
            }
        };
        Ok(Self { text: text.into(), label_start, label_end, version })
    }
}

/// Reads the namespace or label that starts at byte `start`, and gives the byte where it ends.
fn word(text: &str, start: usize) -> Result<usize, InvalidName> {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let bytes = &text.as_bytes()[start..];
    let length = bytes.iter().take_while(|byte| inner(byte)).count();
    if length == 0 || b".-".contains(&bytes[0]) {
        return Err(unexpected(text, start, "a letter, a digit or `_`"));
    }
    if length > MAX_PART {
        let expected = "at most 64 characters in a namespace or a label";
        return Err(unexpected(text, start + MAX_PART, expected));
    }
    Ok(start + length)
}

fn version(text: &str, start: usize) -> Result<Version, InvalidName> {
    let version = &text[start..];
    if let Some(plus) = version.find('+') {
        let expected = "a version without build metadata";
        return Err(unexpected(text, start + plus, expected));
    }
    if version.len() > MAX_PART {
        // The length is in bytes, so the boundary before it is the last one that can be pointed at.
        let position = text.floor_char_boundary(start + MAX_PART);
        let expected = "at most 64 characters in a version";
        return Err(unexpected(text, position, expected));
    }
    Version::parse(version).map_err(|error| {
        let problem = format!("not a semantic version: {error}");
        InvalidName(SyntaxError::new("name", text, start, problem))
    })
}

fn unexpected(text: &str, position: usize, expected: &str) -> InvalidName {
    InvalidName(SyntaxError::unexpected("name", text, position, expected))
}

/// Digest algorithms are reserved, in upper case as well, because `sha256:…` is a digest wherever a
/// name is taken, and no name should look like one; the forms of a peer's id other than that of an
/// [owner](is_owner) so that each owner has one namespace only.
fn refuse_reserved(text: &str, namespace: &str) -> Result<(), InvalidName> {
    let algorithms = ["sha256", "sha512", "blake3"];
    if algorithms.iter().any(|name| namespace.eq_ignore_ascii_case(name)) {
        let problem = "this namespace is reserved for digests";
        return Err(InvalidName(SyntaxError::new("name", text, 0, problem)));
    }
    if looks_like_other_peer_id(namespace) {
        return Err(InvalidName::reserved_for_peers(text));
    }
    Ok(())
}

/// The form in which libp2p prints the peer id of an Ed25519 key.
fn is_owner(namespace: &str) -> bool {
    namespace.len() == 52 && namespace.starts_with("12D3Koo") && is_base58(namespace)
}

fn is_base58(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() && !b"0OIl".contains(&byte))
}

/// The other forms in which libp2p prints a peer id: base58 of a secp256k1 key and of a hashed key;
/// CIDv1 in base32 and base36. The version 1 forms that fit a namespace are 50 to 64 characters
/// long.
fn looks_like_other_peer_id(namespace: &str) -> bool {
    let lower = |digits: &[u8]| {
        let mut bytes = namespace.bytes();
        bytes.all(|byte| byte.is_ascii_lowercase() || digits.contains(&byte))
    };
    let starts_with = |prefix| namespace.starts_with(prefix);
    match namespace.len() {
        46 if starts_with("Qm") => is_base58(namespace),
        53 if starts_with("16Uiu2HA") => is_base58(namespace),
        50..=64 if starts_with("bafz") => lower(b"234567"),
        50..=64 if starts_with("k51") || starts_with("k2k") => lower(b"0123456789"),
        _ => false,
    }
}

impl TryFrom<&str> for Name {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests;
