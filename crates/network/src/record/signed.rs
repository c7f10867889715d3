//! Records that have been verified, with the bytes that prove them.

use std::sync::Arc;

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::core::SignedEnvelope;
use libp2p::identity::{KeyType, Keypair, PublicKey};
use wasm_exec_registry::Name;

use super::{InvalidRecord, MAX_RECORD_BYTES, NameRecord, Seconds, SignError, canonical};
use crate::Key;
use crate::network_id::NetworkId;

/// What the signature is about, so that nothing that was signed for another purpose is a record.
const DOMAIN: &str = "wasm-exec-name-record";

/// What an envelope says that it holds. Its last part is the format's version.
const PAYLOAD_TYPE: &[u8] = b"/wasm-exec/name-record/1";

/// A record that its owner signed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedRecord(Arc<Verified>);

#[derive(Debug, PartialEq, Eq)]
struct Verified {
    record: NameRecord,
    canonical_name: Name,
    key: Key,
    claim: Key,
    hash: Key,
    bytes: Bytes,
}

impl SignedRecord {
    /// Signs a record with its owner's key.
    ///
    /// # Errors
    ///
    /// [`SignError::Invalid`] if others would not take it, for one because the key is not the
    /// owner's.
    pub(crate) fn sign(record: &NameRecord, owner: &Keypair) -> Result<Self, SignError> {
        // Numbers that JSON cannot hold exactly must not come as far as being written.
        record.check()?;
        let payload = serde_json_canonicalizer::to_vec(record).map_err(InvalidRecord::from)?;
        let envelope =
            SignedEnvelope::new(owner, DOMAIN.to_owned(), PAYLOAD_TYPE.to_vec(), payload)?;
        Ok(Self::read(&envelope.into_protobuf_encoding())?)
    }

    /// Takes bytes that this node has written for a record of `network`, whatever the time is: a clock
    /// may be wrong, and what is written is judged when it is used.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] says what is wrong with them.
    pub(crate) fn read_back(bytes: &[u8], network: &NetworkId) -> Result<Self, InvalidRecord> {
        let signed = Self::read(bytes)?;
        match signed.record().network == *network {
            true => Ok(signed),
            false => Err(InvalidRecord::OtherNetwork),
        }
    }

    /// Takes bytes that somebody sent for a record of `network`. Takes as long as verifying a
    /// signature does, some 100 µs.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord`] says what is wrong with them.
    pub(crate) fn verify(
        bytes: &[u8],
        network: &NetworkId,
        now: Seconds,
    ) -> Result<Self, InvalidRecord> {
        let signed = Self::read_back(bytes, network)?;
        signed.record().check_time(now)?;
        Ok(signed)
    }

    /// All that is the same on every node at any time.
    fn read(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(InvalidRecord::TooLarge { bytes: bytes.len() });
        }
        let envelope = SignedEnvelope::from_protobuf_encoding(bytes)?;
        let (payload, signer) =
            envelope.payload_and_signing_key(DOMAIN.to_owned(), PAYLOAD_TYPE)?;
        let record: NameRecord = serde_json::from_slice(payload)?;
        record.check()?;
        if record.owner != owner(signer)? {
            return Err(InvalidRecord::OtherOwner);
        }
        if serde_json_canonicalizer::to_vec(&record)? != payload {
            return Err(InvalidRecord::NotCanonical);
        }
        // These bytes are kept instead of the ones that came, which may be a small part of a large
        // message.
        let encoded = envelope.into_protobuf_encoding();
        if encoded != bytes {
            return Err(InvalidRecord::NotCanonical);
        }
        Ok(Self(Arc::new(Verified {
            canonical_name: canonical(&record.owner, &record.name)?,
            key: record.key(),
            claim: NameRecord::claim_key(&record.network, &record.name),
            hash: Self::hash_of(&encoded),
            bytes: encoded.into(),
            record,
        })))
    }

    /// The hash of a signed record's bytes, by which one that is known already is recognised
    /// before it is verified.
    pub(crate) fn hash_of(bytes: &[u8]) -> Key {
        Key::of(bytes)
    }

    /// What it says.
    pub(crate) fn record(&self) -> &NameRecord {
        &self.0.record
    }

    /// `OWNER:label[@version]`.
    pub(crate) fn canonical_name(&self) -> &Name {
        &self.0.canonical_name
    }

    /// The key of the owner's name.
    pub(crate) fn key(&self) -> Key {
        self.0.key
    }

    /// The key of the name, whoever owns it.
    pub(crate) fn claim(&self) -> Key {
        self.0.claim
    }

    /// The hash of its bytes.
    pub(crate) fn hash(&self) -> Key {
        self.0.hash
    }

    /// The bytes, to be kept and passed on.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

fn owner(signer: &PublicKey) -> Result<PeerId, InvalidRecord> {
    match signer.key_type() {
        KeyType::Ed25519 => Ok(signer.to_peer_id()),
        _ => Err(InvalidRecord::KeyType),
    }
}
