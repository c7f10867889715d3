//! What nodes say to each other about records, as requests and answers in CBOR.
//!
//! Every list has a longest length, which whoever sends keeps to and beyond which nothing is read.
//! Records travel as their signed bytes, so that whoever passes one on passes on the signature.

mod bounded;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wasm_exec_registry::Digest;

use self::bounded::{at_most, lists_at_most};
use crate::Key;
use crate::record::{MAX_RECORD_BYTES, SignedRecord};

/// The protocol's name. Nodes that do not speak it have nothing to say to each other.
pub(crate) const STORE_PROTOCOL: &str = "/wasm-exec/store/1";

/// The most keys in one request.
pub(crate) const MAX_KEYS: usize = 64;

/// The most records in one message: as many as keys can be asked for.
pub(crate) const MAX_RECORDS: usize = MAX_KEYS;

/// Parts that the key space is compared by: one for each first byte of a key.
pub(crate) const PARTS: usize = 256;

/// The most pages of entries that one request asks for.
pub(crate) const MAX_PAGES: usize = 8;

/// The most entries of a page.
pub(crate) const MAX_ENTRIES: usize = 1024;

/// The most bytes of a request: twice a full [`Request::Announce`].
pub(crate) const MAX_REQUEST_BYTES: u64 = 2 * (MAX_RECORDS * MAX_RECORD_BYTES) as u64;

/// The most bytes of an answer: [`MAX_PAGES`] full pages of some 80 bytes an entry, and some.
pub(crate) const MAX_RESPONSE_BYTES: u64 = (MAX_PAGES * MAX_ENTRIES * 96) as u64;

/// What one node asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep this record and all that it names, durably. Answered by a [`Receipt`], after what is
    /// missing has been fetched, from whoever asks or from others.
    Store(Bytes),
    /// Here are records that are new to me. Answered by [`Response::Heard`].
    Announce(#[serde(deserialize_with = "at_most::<MAX_RECORDS, _, _>")] Vec<Bytes>),
    /// Which records are there under these keys, of names or of claims? At most [`MAX_KEYS`].
    Find(#[serde(deserialize_with = "at_most::<MAX_KEYS, _, _>")] Vec<Key>),
    /// Of which of these records do you keep the content? At most [`MAX_KEYS`].
    Holds(#[serde(deserialize_with = "at_most::<MAX_KEYS, _, _>")] Vec<CopyOf>),
    /// What sums up the records you know of, part by part?
    Summary,
    /// Which records do you know of in the parts of these keys, from the keys on? At most [`MAX_PAGES`].
    Pages(#[serde(deserialize_with = "at_most::<MAX_PAGES, _, _>")] Vec<Key>),
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Response {
    /// To [`Request::Store`].
    Receipt(Receipt),
    /// To [`Request::Announce`].
    Heard,
    /// To [`Request::Find`]: at most [`MAX_RECORDS`].
    Records(#[serde(deserialize_with = "at_most::<MAX_RECORDS, _, _>")] Vec<Bytes>),
    /// To [`Request::Holds`]: those of them that are kept.
    Held(#[serde(deserialize_with = "at_most::<MAX_KEYS, _, _>")] Vec<CopyOf>),
    /// To [`Request::Summary`]: a fingerprint for each of [`PARTS`] parts.
    Summary(#[serde(deserialize_with = "at_most::<PARTS, _, _>")] Vec<Key>),
    /// To [`Request::Pages`]: for each page that was asked for, its entries, [`MAX_ENTRIES`] if there
    /// are as many.
    Pages(
        #[serde(deserialize_with = "lists_at_most::<MAX_PAGES, MAX_ENTRIES, _, _>")]
        Vec<Vec<Entry>>,
    ),
    /// The request was not one that a node of this version makes, or too much.
    Refused(Refusal),
}

/// The content of a record, of which there are copies. A name that is deleted and taken anew means
/// another module under the same key, and a copy of the one is none of the other: two nodes may not
/// have heard of the same record when they speak of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyOf {
    /// The record's key.
    pub(crate) key: Key,
    /// The module digest that the record states.
    pub(crate) module: Digest,
}

impl CopyOf {
    /// A copy of what this record means.
    pub(crate) fn record(record: &SignedRecord) -> Self {
        Self { key: record.key(), module: record.record().module }
    }
}

/// A record that a node knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// The record's key.
    pub key: Key,
    /// The hash of its signed bytes.
    pub hash: Key,
}

/// What became of a record that a node was asked to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Receipt {
    /// The record and all that it names are on the node's disk.
    Stored,
    /// The node has this record, which supersedes it.
    Newer(Bytes),
    /// It is not kept.
    Refused(Refusal),
}

/// Why a node does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The request or the record is not valid.
    Invalid,
    /// It is of another network.
    OtherNetwork,
    /// It has expired, or comes from the future.
    OutOfTime,
    /// The owner, or the peer that asks, has as much here as it may have.
    TooMuch,
    /// There is no room on the disk.
    Full,
    /// The content could not be fetched, or is not what the record says.
    NoContent,
    /// Too many requests at once; later, perhaps.
    Busy,
    /// The storage failed.
    Failed,
}
