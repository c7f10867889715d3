//! What was fetched to be called and was not asked for yet: it is in memory and verified, so it need
//! be neither read from the disk nor hashed once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasm_exec_registry::Digest;

/// The most bytes that are kept, and the most blobs.
const MAX_BYTES: usize = 64 << 20;
const MAX_BLOBS: usize = 256;

/// How long they are kept: what is fetched to be called is asked for at once.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// Blobs that are on the disk and have not been asked for since they were put there.
#[derive(Debug, Default)]
pub(crate) struct Landed(Mutex<HashMap<Digest, (Bytes, Instant)>>);

impl Landed {
    fn blobs(&self) -> MutexGuard<'_, HashMap<Digest, (Bytes, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a blob, whose digest this is, if there is room.
    pub(crate) fn keep(&self, digest: Digest, bytes: Bytes, now: Instant) {
        let mut blobs = self.blobs();
        let kept: usize = blobs.values().map(|(bytes, _)| bytes.len()).sum();
        if blobs.len() < MAX_BLOBS && kept + bytes.len() <= MAX_BYTES {
            blobs.insert(digest, (bytes, now));
        }
    }

    /// A blob, which is not kept any longer.
    pub(crate) fn take(&self, digest: &Digest) -> Option<Bytes> {
        self.blobs().remove(digest).map(|(bytes, _)| bytes)
    }

    /// Lets go of what nobody has asked for in time.
    pub(crate) fn forget_old(&self, now: Instant) {
        self.blobs().retain(|_, (_, since)| now.saturating_duration_since(*since) < KEPT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(byte: u8, size: usize) -> (Digest, Bytes) {
        (Digest::from_bytes([byte; 32]), Bytes::from(vec![byte; size]))
    }

    #[test]
    fn a_blob_is_taken_once_and_in_time() {
        let (landed, now) = (Landed::default(), Instant::now());
        let [(one, bytes), (other, more)] = [blob(1, 10), blob(2, 20)];
        landed.keep(one, bytes.clone(), now);
        landed.keep(other, more, now);
        landed.forget_old(now + KEPT_FOR / 2);
        assert_eq!(landed.take(&one), Some(bytes));
        assert_eq!(landed.take(&one), None);
        landed.forget_old(now + KEPT_FOR);
        assert_eq!(landed.take(&other), None);
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let (landed, now) = (Landed::default(), Instant::now());
        let [(large, bytes), (other, more)] = [blob(1, MAX_BYTES), blob(2, 1)];
        landed.keep(large, bytes, now);
        landed.keep(other, more, now);
        assert!(landed.take(&large).is_some() && landed.take(&other).is_none());
        for number in 0..=MAX_BLOBS as u64 {
            let digest = Digest::of(&number.to_be_bytes());
            landed.keep(digest, Bytes::new(), now);
        }
        assert_eq!(landed.blobs().len(), MAX_BLOBS);
    }
}
