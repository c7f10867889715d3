//! Which network a record is of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wasm_exec_registry::Digest;

use crate::Key;

/// What [`NetworkId`]s are hashed under.
const DOMAIN: &str = "wasm-exec-network";

/// A network's id: a hash of what its nodes have in common. A record says its network's, so that
/// what is signed for one means nothing in another.
///
/// In JSON it is written as a [`Digest`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NetworkId(Key);

impl NetworkId {
    /// The network of all nodes that were not given a secret.
    pub(crate) fn open() -> Self {
        Self(Key::of_parts(DOMAIN, &[b"open"]))
    }

    /// The network of those who know `secret`. The id is told to every peer and can be searched by
    /// trying secrets, so a secret has to be random: 32 bytes of it are enough.
    pub(crate) fn private(secret: &[u8]) -> Self {
        Self(Key::of_parts(DOMAIN, &[b"private", secret]))
    }

    /// The id as a key.
    pub(crate) const fn key(&self) -> Key {
        self.0
    }

    /// The id's bytes.
    pub(crate) const fn as_bytes(&self) -> &[u8; Key::BYTES] {
        self.0.as_bytes()
    }
}

impl Serialize for NetworkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Digest::from_bytes(*self.as_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digest = Digest::deserialize(deserializer)?;
        Ok(Self(Key::from_bytes(*digest.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_make_networks_of_their_own() {
        let networks =
            [NetworkId::open(), NetworkId::private(b"open"), NetworkId::private(b"other")];
        for (index, network) in networks.iter().enumerate() {
            assert!(!networks[..index].contains(network), "{network:?}");
        }
        assert_eq!(NetworkId::private(b"other"), networks[2]);
    }

    #[test]
    fn json_has_the_digest() {
        let json = serde_json::to_string(&NetworkId::open()).unwrap();
        assert!(json.starts_with("\"sha256:"), "{json}");
        assert_eq!(serde_json::from_str::<NetworkId>(&json).unwrap(), NetworkId::open());
    }
}
