//! What is wrong with a record.

use libp2p::core::signed_envelope::{DecodingError, ReadPayloadError};
use libp2p::identity::SigningError;
use wasm_exec_registry::InvalidName;

use super::MAX_RECORD_BYTES;
use crate::protocol::Refusal;

/// Bytes that are not a record to be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRecord {
    /// More bytes than a record may have.
    #[error("{bytes} bytes, and a record has at most {MAX_RECORD_BYTES}")]
    TooLarge { bytes: usize },
    /// Not a signed envelope.
    #[error("not a signed envelope")]
    Envelope(#[from] DecodingError),
    /// The envelope is of something else, or its signature is not its signer's.
    #[error("not signed as a record")]
    Signature(#[from] ReadPayloadError),
    /// The signer's key is not of the one kind that owners have.
    #[error("signed by a key that is not Ed25519")]
    KeyType,
    /// The payload is not JSON, or not a record's members.
    #[error("not a record")]
    Json(#[from] serde_json::Error),
    /// The envelope or the payload could be written in another way, so that a record would have
    /// several hashes.
    #[error("not in its canonical form")]
    NotCanonical,
    /// The signer is not the one whose name it is.
    #[error("not signed by the owner")]
    OtherOwner,
    /// The name has a namespace; the owner is the namespace.
    #[error("the name has a namespace")]
    Namespace,
    /// The owner and the name do not make a name together.
    #[error("no canonical name")]
    Name(#[from] InvalidName),
    /// A number that no record may have.
    #[error("`{0}` is out of bounds")]
    OutOfBounds(&'static str),
    /// It is for another network.
    #[error("of another network")]
    OtherNetwork,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// It was signed later than now, by more than clocks may differ.
    #[error("issued in the future")]
    FromTheFuture,
}

impl InvalidRecord {
    /// What the peer is told that sent it.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge { .. }
            | Self::Envelope(_)
            | Self::Signature(_)
            | Self::KeyType
            | Self::Json(_)
            | Self::NotCanonical
            | Self::OtherOwner
            | Self::Namespace
            | Self::Name(_)
            | Self::OutOfBounds(_) => Refusal::Invalid,
            Self::OtherNetwork => Refusal::OtherNetwork,
            Self::Expired | Self::FromTheFuture => Refusal::OutOfTime,
        }
    }
}

/// Why a record could not be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// Nobody would take it.
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
    /// The key does not sign.
    #[error("the key does not sign")]
    Key(#[from] SigningError),
}
