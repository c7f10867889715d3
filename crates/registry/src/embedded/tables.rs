//! The tables, and how rows become values.
//!
//! Who holds what is kept as relations, not as counters: a relation cannot drift from what it
//! counts, and its length costs one lookup. Names, and digests of what has no name, are keyed by
//! their printed form, whose byte order is the order of listings, so a prefix is a range.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{Key, MultimapTableDefinition, TableDefinition, TypeName, Value};

use crate::{Digest, Entry, Manifest, Name};

/// What reading and writing tables gives.
pub(super) type Outcome<T> = Result<T, redb::Error>;

/// Seconds since the Unix epoch.
pub(super) type Seconds = u64;

/// The version of all that is below; another one is refused.
pub(super) const FORMAT: u64 = 1;

/// The row of [`META`] that holds [`FORMAT`].
pub(super) const FORMAT_ROW: &str = "format";

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Blob → its bytes, of a blob of [`PART_BYTES`] at most. (Of larger ones, too, where they were
/// written before there were parts.)
pub(super) const BLOBS: TableDefinition<'_, Digest, &[u8]> = TableDefinition::new("blobs");

/// Blob and the number of a part of it → the bytes of the part, of a larger blob. Databases that were
/// made before there were parts have no such table, until their next change.
pub(super) const BLOB_PARTS: TableDefinition<'_, (Digest, u32), &[u8]> =
    TableDefinition::new("blob_parts");

/// How many bytes each part of a blob has, but the last. redb keeps a value in one page, whose size is
/// a power of two: it makes the page in memory, zeroed, before it is filled, and reads it back for its
/// checksum when the page does not fit its cache. So what is large is faster in parts, and takes less
/// room. A part fills a page of 256 KiB, with redb's own fields.
pub(super) const PART_BYTES: usize = if cfg!(test) { 8 << 10 } else { (256 << 10) - 256 };

/// Blob → its size in bytes: asking [`BLOBS`] would read the whole blob.
pub(super) const BLOB_SIZES: TableDefinition<'_, Digest, u64> = TableDefinition::new("blob_sizes");

/// Blob → the manifests that have it.
pub(super) const BLOB_USERS: MultimapTableDefinition<'_, Digest, Digest> =
    MultimapTableDefinition::new("blob_users");

/// Module → when its content was first registered, and its canonical JSON.
pub(super) const MANIFESTS: TableDefinition<'_, Digest, (Seconds, &str)> =
    TableDefinition::new("manifests");

/// Module → the manifests that link to it.
pub(super) const LINKED_BY: MultimapTableDefinition<'_, Digest, Digest> =
    MultimapTableDefinition::new("linked_by");

/// Name → what it points to, since when.
pub(super) const NAMES: TableDefinition<'_, &str, (Digest, Seconds)> =
    TableDefinition::new("names");

/// Module → the names that point to it.
pub(super) const NAMES_OF: MultimapTableDefinition<'_, Digest, &str> =
    MultimapTableDefinition::new("names_of");

/// Namespace and label, major, minor, patch → the name of that release. The last of a label's is
/// its highest.
pub(super) const RELEASES: TableDefinition<'_, (&str, u64, u64, u64), &str> =
    TableDefinition::new("releases");

/// Deleted name with a version → what it pointed to, which is all it may come back as.
pub(super) const TOMBSTONES: TableDefinition<'_, &str, Digest> = TableDefinition::new("tombstones");

/// Printed digest of a module that is registered without a name → since when.
pub(super) const UNNAMED: TableDefinition<'_, &str, Seconds> = TableDefinition::new("unnamed");

/// What a backend that is built upon this one keeps beside the content, and what accounts hold
/// ([`accounts`](super::accounts)). Databases that were made
/// before there was such a backend have no such table, until their next change.
pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

impl Value for Digest {
    type SelfType<'a> = Digest;
    type AsBytes<'a> = &'a [u8; 32];

    fn fixed_width() -> Option<usize> {
        Some(32)
    }

    fn from_bytes<'a>(data: &'a [u8]) -> Digest
    where
        Self: 'a,
    {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(data);
        Digest::from_bytes(bytes)
    }

    fn as_bytes<'a, 'b: 'a>(value: &'a Digest) -> &'a [u8; 32]
    where
        Self: 'b,
    {
        value.as_bytes()
    }

    fn type_name() -> TypeName {
        TypeName::new("wasm_exec_registry::Digest")
    }
}

impl Key for Digest {
    fn compare(left: &[u8], right: &[u8]) -> std::cmp::Ordering {
        left.cmp(right)
    }
}

/// A table says something that no transaction of ours wrote.
pub(super) fn corrupt(detail: impl Into<String>) -> redb::Error {
    redb::Error::Corrupted(detail.into())
}

pub(super) fn parse_name(text: &str) -> Outcome<Name> {
    text.parse().map_err(|error| corrupt(format!("a stored name is not one: {error}")))
}

pub(super) fn parse_manifest(digest: Digest, text: &str) -> Outcome<Manifest> {
    Manifest::parse(text.as_bytes())
        .map_err(|error| corrupt(format!("the manifest {digest} is not one: {error}")))
}

pub(super) fn parse_entry(name: Name, (digest, seconds): (Digest, Seconds)) -> Outcome<Entry> {
    Ok(Entry { name, digest, registered_at: time(seconds)? })
}

pub(super) fn time(seconds: Seconds) -> Outcome<SystemTime> {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(|| corrupt(format!("no clock goes to {seconds} seconds")))
}

/// A clock before 1970 is read as 1970.
pub(super) fn now() -> Seconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
