//! Workers that wait for a module.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::process::Worker;

/// For how long a worker waits for a module before it is ended, unless it is the last.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Idle workers, those that were used last at the end. There are as many as there were turns at once
/// at most, since only who has a turn has workers started.
#[derive(Debug)]
pub(super) struct Idle {
    workers: Mutex<Vec<(Worker, Instant)>>,
}

impl Idle {
    pub(super) fn new() -> Self {
        Self { workers: Mutex::default() }
    }

    /// The worker that was used last and still lives: its memory is the likeliest to be in caches.
    pub(super) fn take(&self) -> Option<Worker> {
        loop {
            let (mut worker, _) = self.lock().pop()?;
            if worker.is_alive() {
                return Some(worker);
            }
            tracing::warn!("an idle compile worker was ended from outside");
        }
    }

    pub(super) fn put(&self, worker: Worker) {
        self.lock().push((worker, Instant::now()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends the workers that waited too long, but leaves one. Blocks until they are gone.
    pub(super) fn end_surplus(&self) {
        let surplus: Vec<_> = {
            let mut workers = self.lock();
            let waited = workers.partition_point(|(_, since)| since.elapsed() > IDLE);
            let surplus = waited.min(workers.len().saturating_sub(1));
            workers.drain(..surplus).collect()
        };
        // The lock is free again: ending takes a while.
        drop(surplus);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Worker, Instant)>> {
        // A panic elsewhere cannot leave the list half changed.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
