//! Name records: what an owner says that a name of theirs means.
//!
//! A record is canonical JSON (RFC 8785) in a libp2p [signed envelope], and its owner is whoever
//! signed it. It travels as those bytes: any node may pass them on, and only the owner can make
//! others. Everything in it is bounded, so that who reads one knows what to expect before anything
//! is fetched or allocated.
//!
//! [signed envelope]: https://github.com/libp2p/specs/blob/master/RFC/0002-signed-envelopes.md

mod invalid;
mod next;
mod select;
mod signed;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use wasm_exec_registry::{Digest, InvalidName, Name};

use crate::Key;
use crate::contents::{ContentsId, MAX_CONTENTS_BYTES};
use crate::network_id::NetworkId;

pub(crate) use invalid::{InvalidRecord, SignError};
#[cfg(test)]
pub(crate) use next::LIFETIME;
pub(crate) use next::{Content, NoSuccessor};
pub(crate) use select::{Selected, select};
pub(crate) use signed::SignedRecord;

/// Time as records have it: seconds since the Unix epoch.
pub(crate) type Seconds = u64;

/// The most bytes of a signed record.
pub(crate) const MAX_RECORD_BYTES: usize = 2 << 10;

/// The most bytes of all that a contents list names: 64 modules of 64 MiB. What a node takes is
/// less.
pub(crate) const MAX_CONTENT_BYTES: u64 = 4 << 30;

/// How long after its issue a record may be valid: a year.
pub(crate) const MAX_LIFETIME: Seconds = 365 * 24 * 60 * 60;

/// How far ahead of this node's clock a record's may be: five minutes.
pub(crate) const MAX_CLOCK_SKEW: Seconds = 5 * 60;

/// The greatest number in a record: that up to which JSON's numbers are exact.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What an owner says that a name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameRecord {
    /// The network that it is for.
    pub(crate) network: NetworkId,
    /// Whose name it is: the peer id of the Ed25519 key that signs.
    #[serde(with = "text")]
    pub(crate) owner: PeerId,
    /// The name: `label` or `label@version`.
    #[serde(with = "text")]
    pub(crate) name: Name,
    /// How many times the name was taken anew, with another module, after it had been deleted. Zero
    /// if it has a version, since a version means one module for ever. Without this number, who
    /// missed the tombstone could not tell a name that was taken anew from one that was changed.
    pub(crate) incarnation: u64,
    /// Grows with every record of the name, from 1 on.
    pub(crate) sequence: u64,
    /// The module digest; in a tombstone, what it was.
    pub(crate) module: Digest,
    /// The list of all that has to be fetched to run it.
    pub(crate) contents: ContentsId,
    /// The sum of the sizes in that list, in bytes.
    pub(crate) bytes: u64,
    /// When it was signed.
    pub(crate) issued_at: Seconds,
    /// Until when it is valid, the second itself included. At most [`MAX_LIFETIME`] later.
    pub(crate) not_after: Seconds,
    /// Whether the name has been deleted.
    pub(crate) tombstone: bool,
}

impl NameRecord {
    /// The key that all records of this owner's name have.
    pub(crate) fn key(&self) -> Key {
        Self::key_of(&self.network, &self.owner, &self.name)
    }

    /// The key that all records of an owner's name have.
    pub(crate) fn key_of(network: &NetworkId, owner: &PeerId, name: &Name) -> Key {
        let parts = [network.as_bytes(), &*owner.to_bytes(), name.as_str().as_bytes()];
        Key::of_parts("wasm-exec-record-key", &parts)
    }

    /// The key that the records of all owners of a name have.
    pub(crate) fn claim_key(network: &NetworkId, name: &Name) -> Key {
        let parts = [network.as_bytes(), name.as_str().as_bytes()];
        Key::of_parts("wasm-exec-claim-key", &parts)
    }

    /// What the name means by this record alone; `None` if it has been deleted.
    pub(crate) fn meaning(&self) -> Option<Digest> {
        (!self.tombstone).then_some(self.module)
    }

    /// Whether its time is over.
    pub(crate) fn is_expired(&self, now: Seconds) -> bool {
        self.not_after < now
    }

    /// Whether it says what the name means now.
    pub(crate) fn is_live(&self, now: Seconds) -> bool {
        !self.tombstone && !self.is_expired(now)
    }

    /// # Errors
    ///
    /// [`InvalidRecord::Expired`], [`InvalidRecord::FromTheFuture`].
    pub(crate) fn check_time(&self, now: Seconds) -> Result<(), InvalidRecord> {
        if self.is_expired(now) {
            return Err(InvalidRecord::Expired);
        }
        if self.issued_at > now.saturating_add(MAX_CLOCK_SKEW) {
            return Err(InvalidRecord::FromTheFuture);
        }
        Ok(())
    }

    /// Everything that a record by itself has to keep to.
    fn check(&self) -> Result<(), InvalidRecord> {
        let lifetime = self.not_after.checked_sub(self.issued_at);
        let unbounded = |what| Err(InvalidRecord::OutOfBounds(what));
        if self.name.namespace().is_some() {
            return Err(InvalidRecord::Namespace);
        }
        if !(1..=MAX_NUMBER).contains(&self.sequence) {
            return unbounded("sequence");
        }
        // Each incarnation takes a tombstone and a record.
        if self.incarnation > self.sequence / 2
            || self.incarnation > 0 && self.name.version().is_some()
        {
            return unbounded("incarnation");
        }
        if !(1..=MAX_CONTENTS_BYTES).contains(&(self.contents.size as usize)) {
            return unbounded("contents.size");
        }
        if !(1..=MAX_CONTENT_BYTES).contains(&self.bytes) {
            return unbounded("bytes");
        }
        if self.not_after > MAX_NUMBER || lifetime.is_none_or(|lifetime| lifetime > MAX_LIFETIME) {
            return unbounded("not_after");
        }
        Ok(())
    }
}

/// The form of an owner's name that means the same on every node: `OWNER:label[@version]`. A
/// namespace that `name` has is replaced.
///
/// # Errors
///
/// [`InvalidName`] only if the owner is not the peer id of an Ed25519 key.
pub(crate) fn canonical(owner: &PeerId, name: &Name) -> Result<Name, InvalidName> {
    format!("{owner}:{}", name.without_namespace()).parse()
}

/// Values in JSON as the text that they print.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
