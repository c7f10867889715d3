//! Owners, names and records for tests.

use libp2p::PeerId;
use libp2p::identity::Keypair;
use wasm_exec_registry::{Digest, Name};

use super::{Content, NameRecord, Seconds, SignedRecord};
use crate::contents::ContentsId;
use crate::network_id::NetworkId;

/// When tests take place.
pub(crate) const NOW: Seconds = 1_800_000_000;

/// The key of one of 256 owners.
pub(crate) fn keypair(owner: u8) -> Keypair {
    Keypair::ed25519_from_bytes([owner; 32]).unwrap()
}

/// The peer id of [`keypair`].
pub(crate) fn owner(owner: u8) -> PeerId {
    keypair(owner).public().to_peer_id()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect(text)
}

/// One of 256 modules.
pub(crate) fn content(module: u8) -> Content {
    Content {
        module: Digest::of(&[module]),
        contents: ContentsId { digest: Digest::of(&[module, 1]), size: 300 },
        bytes: 1000 + u64::from(module),
    }
}

/// The first record of a name, issued [`NOW`].
pub(crate) fn first(of: u8, text: &str, module: u8) -> NameRecord {
    NameRecord::first(NetworkId::open(), owner(of), name(text), content(module), NOW)
}

/// The record, signed by its owner, which is this one.
pub(crate) fn sign(of: u8, record: &NameRecord) -> SignedRecord {
    SignedRecord::sign(record, &keypair(of)).unwrap()
}

/// [`first`], signed.
pub(crate) fn signed(of: u8, text: &str, module: u8) -> SignedRecord {
    sign(of, &first(of, text, module))
}
