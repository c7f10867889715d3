//! What a node keeps besides modules, as rows of the embedded backend.
//!
//! Rows are written in the transaction of the module that they belong to, where there is one. What is
//! read back is checked as if a peer had sent it, and what does not pass is left out: a newer version
//! may have written it.

use std::io;

use bytes::Bytes;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use wasm_exec_registry::{Digest, MAX_PAGE, RedbBackend, Row, StorageError};

use crate::Key;
use crate::names::NewPin;
use crate::network_id::NetworkId;
use crate::record::SignedRecord;

/// The node's key pair, in libp2p's protobuf encoding.
const IDENTITY: &[u8] = b"network/identity";

/// The network that this node is of.
const NETWORK: &[u8] = b"network/id";

/// Record key → the signed record.
const RECORDS: &[u8] = b"network/record/";

/// Module digest → the contents list of its closure.
const CONTENTS: &[u8] = b"network/contents/";

/// Label → the owner whose it is here.
const PINS: &[u8] = b"network/pin/";

/// Peer id → where it was last, as addresses between line breaks.
const PEERS: &[u8] = b"network/peer/";

/// How many peers are remembered.
pub(crate) const MAX_PEERS: usize = 256;

/// The most addresses that are remembered of a peer.
const MAX_ADDRESSES: usize = 8;

/// The key pair by which others know this node; made when there is none.
pub(crate) async fn identity(local: &RedbBackend) -> Result<Keypair, StorageError> {
    if let Some(bytes) = local.row(IDENTITY).await? {
        return Keypair::from_protobuf_encoding(&bytes).map_err(|_| StorageError::Corrupt {
            detail: "the node's key pair is not one".to_owned(),
        });
    }
    let keypair = Keypair::generate_ed25519();
    let bytes = keypair.to_protobuf_encoding().map_err(io::Error::other)?;
    local.write(vec![Row::set(IDENTITY.to_vec(), bytes)]).await?;
    Ok(keypair)
}

/// Whether what is kept is of this network. If it is of none yet, it is from here on.
pub(crate) async fn is_of(local: &RedbBackend, network: &NetworkId) -> Result<bool, StorageError> {
    if let Some(id) = local.row(NETWORK).await? {
        return Ok(id == network.as_bytes().as_slice());
    }
    local.write(vec![Row::set(NETWORK, network.as_bytes().to_vec())]).await?;
    Ok(true)
}

pub(crate) fn record(record: &SignedRecord) -> Row {
    Row::set(joined(RECORDS, record.key().as_bytes()), record.bytes().clone())
}

pub(crate) fn no_record(key: &Key) -> Row {
    Row::unset(joined(RECORDS, key.as_bytes()))
}

/// All records of this network that were written, those among them that have expired.
pub(crate) async fn records(
    local: &RedbBackend,
    network: &NetworkId,
) -> Result<Vec<SignedRecord>, StorageError> {
    let rows = all(local, RECORDS).await?;
    let verify = |(_, bytes): (Bytes, Bytes)| SignedRecord::read_back(&bytes, network).ok();
    Ok(rows.into_iter().filter_map(verify).collect())
}

pub(crate) fn no_contents(module: &Digest) -> Row {
    Row::unset(joined(CONTENTS, module.as_bytes()))
}

pub(crate) fn contents(module: &Digest, list: String) -> Row {
    Row::set(joined(CONTENTS, module.as_bytes()), list)
}

pub(crate) async fn contents_of(
    local: &RedbBackend,
    module: &Digest,
) -> Result<Option<Bytes>, StorageError> {
    local.row(&joined(CONTENTS, module.as_bytes())).await
}

pub(crate) fn pin(pin: &NewPin) -> Row {
    Row::set(joined(PINS, pin.label.as_bytes()), pin.owner.to_bytes())
}

/// The labels that have owners here.
pub(crate) async fn pins(local: &RedbBackend) -> Result<Vec<NewPin>, StorageError> {
    let read = |(key, value): (Bytes, Bytes)| {
        let label = String::from_utf8(key[PINS.len()..].to_vec()).ok()?;
        Some(NewPin { label, owner: PeerId::from_bytes(&value).ok()? })
    };
    Ok(all(local, PINS).await?.into_iter().filter_map(read).collect())
}

/// Writes down where peers are. Of those that were written before, as many stay as there is room for.
pub(crate) async fn remember_peers(
    local: &RedbBackend,
    peers: &[(PeerId, Vec<Multiaddr>)],
) -> Result<(), StorageError> {
    let peers = &peers[..peers.len().min(MAX_PEERS)];
    let mut rows: Vec<_> = peers.iter().map(|(id, addresses)| peer(id, addresses)).collect();
    let is_written = |key: &Bytes| peers.iter().any(|(id, _)| key[PEERS.len()..] == id.to_bytes());
    let before = all(local, PEERS).await?;
    let others = before.into_iter().map(|(key, _)| key).filter(|key| !is_written(key));
    rows.extend(others.skip(MAX_PEERS - peers.len()).map(Row::unset));
    local.write(rows).await
}

fn peer(peer: &PeerId, addresses: &[Multiaddr]) -> Row {
    let addresses: Vec<_> = addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect();
    Row::set(joined(PEERS, &peer.to_bytes()), addresses.join("\n"))
}

/// Peers that there were, and where: [`MAX_PEERS`] at most.
pub(crate) async fn peers(
    local: &RedbBackend,
) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, StorageError> {
    let read = |(key, value): (Bytes, Bytes)| {
        let peer = PeerId::from_bytes(&key[PEERS.len()..]).ok()?;
        let text = str::from_utf8(&value).ok()?;
        let addresses = text.lines().take(MAX_ADDRESSES).filter_map(|line| line.parse().ok());
        Some((peer, addresses.collect()))
    };
    Ok(all(local, PEERS).await?.into_iter().filter_map(read).take(MAX_PEERS).collect())
}

/// All rows whose keys begin with `prefix`.
async fn all(
    local: &RedbBackend,
    prefix: &'static [u8],
) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = local.rows(Bytes::from_static(prefix), after, MAX_PAGE).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}

fn joined(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}
