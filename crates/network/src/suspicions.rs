//! What others say that makes it likely that something is wrong with this node itself, or with them.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often that was, since the node started.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    out_of_time: AtomicU64,
    newer: AtomicU64,
    false_copies: AtomicU64,
}

impl Suspicions {
    /// A peer refused a record that this node issued, as one of another time. Logs the first.
    pub(crate) fn out_of_time(&self) {
        if self.out_of_time.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                "another node refuses this node's records for their time: is the clock right?"
            );
        }
    }

    /// There is a record of one of this node's names that it knows nothing of. Logs the first.
    pub(crate) fn newer(&self) {
        if self.newer.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                "a record of an own name is newer than its owner's: was the data directory copied, \
                 or restored from an old backup?"
            );
        }
    }

    /// A peer says that it holds what it cannot prove to hold.
    pub(crate) fn false_copy(&self) {
        self.false_copies.fetch_add(1, Ordering::Relaxed);
    }

    /// How often each was, by their names.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        [
            ("own_out_of_time", self.out_of_time.load(Ordering::Relaxed)),
            ("own_newer", self.newer.load(Ordering::Relaxed)),
            ("false_copies", self.false_copies.load(Ordering::Relaxed)),
        ]
    }
}
