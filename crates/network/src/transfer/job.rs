//! What is fetched: an item range by range, or a contents list.

use std::io;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use bytes::Bytes;
use wasm_exec_registry::Digest;

use super::Fault;
use super::conversation::{Failure, Room};
use super::message::Request;
use super::partial::Partial;
use super::range::Range;
use crate::contents::{ContentsId, Item, MAX_CONTENTS_BYTES};

/// Something that is fetched in parts, any of them from any provider.
pub(super) trait Job: Send + Sync + 'static {
    /// How a provider is asked for a part.
    fn request(&self, part: usize) -> Request;

    /// How many bytes an honest provider sends for it.
    fn lengths(&self, part: usize) -> RangeInclusive<usize>;

    /// Verifies what was sent for a part, and keeps it. May block, and may come twice.
    fn keep(&self, part: usize, room: &mut Room) -> Result<(), Failure>;
}

/// Fetches an item.
#[derive(Debug)]
pub(super) struct ItemJob {
    /// What it is to be.
    pub(super) item: Item,
    /// What there is of it.
    pub(super) partial: Partial,
}

impl Job for ItemJob {
    fn request(&self, part: usize) -> Request {
        Request::Range { item: self.item, range: Range::nth(self.item.size, part) }
    }

    fn lengths(&self, part: usize) -> RangeInclusive<usize> {
        let length = Range::nth(self.item.size, part).encoded_bytes(self.item.size);
        length..=length
    }

    fn keep(&self, part: usize, Room { sent, decoded }: &mut Room) -> Result<(), Failure> {
        let range = Range::nth(self.item.size, part);
        let is_it = range.decode(self.item.blake3, self.item.size, sent, decoded);
        is_it.map_err(|_| Failure::Fault(Fault::WrongBytes))?;
        self.partial.keep(part, decoded).map_err(Failure::Local)
    }
}

/// Fetches a contents list, which is one part.
#[derive(Debug)]
pub(super) struct ContentsJob {
    /// The module whose list it is.
    pub(super) module: Digest,
    /// What the list is to be, if that is known.
    pub(super) stated: Option<ContentsId>,
    /// The list.
    pub(super) kept: OnceLock<Bytes>,
}

impl Job for ContentsJob {
    fn request(&self, _: usize) -> Request {
        Request::Contents { module: self.module }
    }

    fn lengths(&self, _: usize) -> RangeInclusive<usize> {
        1..=MAX_CONTENTS_BYTES
    }

    fn keep(&self, _: usize, Room { sent, .. }: &mut Room) -> Result<(), Failure> {
        let is_stated = |stated: ContentsId| {
            sent.len() == stated.size as usize && Digest::of(sent) == stated.digest
        };
        // Who has another list is not at fault: the one that is stated may be that of a lying owner,
        // or have its modules in another order.
        if !self.stated.is_none_or(is_stated) {
            return Err(Failure::NotHere);
        }
        // A second one is the same, or as good.
        let _ = self.kept.set(Bytes::copy_from_slice(sent));
        Ok(())
    }
}

/// A job's work that failed without saying why.
pub(super) fn broken(error: tokio::task::JoinError) -> Failure {
    Failure::Local(io::Error::other(error))
}
