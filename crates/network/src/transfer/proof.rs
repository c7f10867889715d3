//! Having a provider prove that it has an item, by a small range of it.

use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};
use rand::{Rng, RngExt};

use super::conversation::{Conversation, Failure};
use super::message::Request;
use super::range::{GROUP_BYTES, Range};
use crate::contents::Item;

/// Why a provider has not proved that it has an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproved {
    /// It does not have it, or sent something else.
    Wrong,
    /// It did not answer, or not all.
    Silent,
}

/// Asks on a new stream for 16 KiB of an item, which nobody knows before, and verifies them. Takes as
/// long as three times `stall` at most.
///
/// # Errors
///
/// [`Unproved`].
pub(crate) async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    item: &Item,
    stall: Duration,
    random: &mut impl Rng,
) -> Result<(), Unproved> {
    let start = random.random_range(0..item.size.div_ceil(GROUP_BYTES).max(1)) * GROUP_BYTES;
    let length = item.size.saturating_sub(start).min(GROUP_BYTES) as u32;
    let range = Range { start, length };
    let bytes = range.encoded_bytes(item.size);
    let request = Request::Range { item: *item, range };
    let asking = Conversation::new(stream).ask(request, bytes..=bytes, stall);
    let answered = tokio::time::timeout(stall.saturating_mul(3), asking).await;
    match answered.map_err(|_| Unproved::Silent)? {
        (Some(mut conversation), Ok(())) => {
            let sent = std::mem::take(&mut conversation.room.sent);
            let decoded = &mut conversation.room.decoded;
            range.decode(item.blake3, item.size, &sent, decoded).map_err(|_| Unproved::Wrong)
        }
        (_, Err(Failure::NotHere | Failure::Fault(_))) => Err(Unproved::Wrong),
        (_, Err(Failure::Lost(_) | Failure::Local(_))) | (None, Ok(())) => Err(Unproved::Silent),
    }
}
