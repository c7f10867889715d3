//! A bound on what all calls together have taken out of memories and not passed on yet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes that are. Each exists as bytes, as text and in an answer for a moment.
pub(crate) const READ_BYTES: u64 = 256 << 20;

/// The unit that it is counted in, in bytes. Less is not counted.
const UNIT: u64 = 64 << 10;

/// Room for what is read.
#[derive(Clone, Debug)]
pub(crate) struct ReadRoom(Arc<Semaphore>);

impl ReadRoom {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new((READ_BYTES / UNIT) as usize)))
    }

    /// Takes room for so many bytes. Whoever has some only writes it down, so waiting is short; as many
    /// wait as calls are running.
    pub(super) async fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        // One that takes more than all of it, which an operator can allow, waits for all of it.
        let units = u32::try_from(bytes.min(READ_BYTES) / UNIT).unwrap_or(u32::MAX);
        match units {
            0 => None,
            // It is never closed.
            units => Arc::clone(&self.0).acquire_many_owned(units).await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_waited_for_and_little_needs_none() {
        let room = ReadRoom::new();
        assert!(room.take(UNIT - 1).await.is_none());
        let all = room.take(u64::MAX).await;
        assert!(all.is_some() && room.take(UNIT - 1).await.is_none());
        let mut waiting = Box::pin(room.take(UNIT));
        assert!(crate::calling::poll_once(waiting.as_mut()).await.is_none());
        drop(all);
        assert!(waiting.await.is_some());
    }
}
