//! The key space, in which records and peers have places and distances.
//!
//! It is Kademlia's: 256 bits, and the distance of two keys is their bitwise exclusive or, read as
//! an integer (Maymounkov and Mazières, "Kademlia: A Peer-to-peer Information System Based on the
//! XOR Metric", 2002).

use std::fmt;
use std::ops::RangeInclusive;

use libp2p::PeerId;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wasm_exec_registry::Digest;

/// A place in the key space: 32 bytes, most significant first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; Self::BYTES]);

/// How far two keys are from each other. The nearer is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; Key::BYTES]);

impl Key {
    /// The size of a key.
    pub const BYTES: usize = 32;

    /// The key that these bytes are.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*Digest::of(bytes).as_bytes())
    }

    /// The SHA-256 of a list of byte strings, under a domain of its own: each is preceded by its
    /// length as eight bytes, most significant first, so that no two lists are hashed alike.
    pub(crate) fn of_parts(domain: &str, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in [domain.as_bytes()].iter().chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self::of(&bytes)
    }

    /// Where a peer stands: the SHA-256 of its id's bytes, as libp2p's Kademlia places it.
    pub fn of_peer(peer: &PeerId) -> Self {
        Self::of(&peer.to_bytes())
    }

    /// Where libp2p's Kademlia looks for this key: it hashes whatever it is asked for.
    pub fn hashed(&self) -> Self {
        Self::of(&self.0)
    }

    /// This key and those after it that begin with the same byte.
    pub fn rest_of_part(&self) -> RangeInclusive<Self> {
        let mut last = [u8::MAX; Self::BYTES];
        last[0] = self.0[0];
        *self..=Self(last)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// How far `other` is from here.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance(std::array::from_fn(|index| self.0[index] ^ other.0[index]))
    }
}

impl fmt::Debug for Key {
    /// The first eight bytes tell keys apart for a reader.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("32 bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Key, E> {
        match bytes.try_into() {
            Ok(bytes) => Ok(Key(bytes)),
            Err(_) => Err(E::invalid_length(bytes.len(), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_stand_where_kademlia_has_them() {
        let peer = PeerId::random();
        let theirs = libp2p::kad::KBucketKey::from(peer);
        assert_eq!(Key::of_peer(&peer).as_bytes().as_slice(), theirs.hashed_bytes());
    }

    #[test]
    fn lists_that_differ_have_other_keys() {
        let keys = [
            Key::of_parts("d", &[]),
            Key::of_parts("d", &[b""]),
            Key::of_parts("d", &[b"ab", b"c"]),
            Key::of_parts("d", &[b"a", b"bc"]),
            Key::of_parts("dab", &[b"c"]),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{key:?}");
        }
    }

    #[test]
    fn kademlia_looks_for_the_hashed_key() {
        let key = Key::of(b"key");
        let theirs = libp2p::kad::KBucketKey::new(key.as_bytes().to_vec());
        assert_eq!(key.hashed().as_bytes().as_slice(), theirs.hashed_bytes());
    }

    #[test]
    fn the_distance_is_the_exclusive_or() {
        let [zero, one, two] = [0, 1, 2].map(|byte| Key::from_bytes([byte; Key::BYTES]));
        assert_eq!(one.distance(&two), Distance([3; Key::BYTES]));
        assert_eq!(one.distance(&one), Distance([0; Key::BYTES]));
        assert!(zero.distance(&one) < zero.distance(&two));
    }
}
