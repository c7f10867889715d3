//! Tokens that come back over time: what somebody may do in a second, and at once after being quiet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Tokens that come back over time, up to a burst of them.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let [rate, burst] = [rate, burst].map(f64::from);
        Self { rate, burst, level: burst, at: now }
    }

    /// Takes tokens, whether or not there are as many. Returns how many are left, which may be less
    /// than none.
    pub(crate) fn take(&mut self, tokens: f64, now: Instant) -> f64 {
        self.refill(now);
        self.level -= tokens;
        self.level
    }

    fn give_back(&mut self, tokens: f64) {
        self.level += tokens;
    }

    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.burst
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + elapsed * self.rate).min(self.burst);
        self.at = now;
    }
}

/// How often something may be done; whoever is faster waits. A handle, cheap to clone.
///
/// As many as wait at once are to be bounded elsewhere: each has its turn reserved.
#[derive(Clone, Debug)]
pub(crate) struct Pace(Arc<Mutex<Bucket>>);

impl Pace {
    /// So often in a second, over time, and so often at once after a while.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Bucket::new(rate, burst, now))))
    }

    /// Waits until it may be done once more.
    pub(crate) async fn turn(&self) {
        self.turn_within(Duration::MAX).await;
    }

    /// Waits until it may be done once more, or says at once that this takes longer than `patience`.
    pub(crate) async fn turn_within(&self, patience: Duration) -> bool {
        let wait = self.reserve(patience, Instant::now());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            sleep(wait).await;
        }
        wait.is_some()
    }

    /// How long until it may be done once more, which is then reserved; `None` if it takes too long.
    fn reserve(&self, patience: Duration, now: Instant) -> Option<Duration> {
        let mut bucket = self.bucket();
        let missing = -bucket.take(1.0, now);
        let wait = match missing > 0.0 {
            true => Duration::try_from_secs_f64(missing / bucket.rate).unwrap_or(Duration::MAX),
            false => Duration::ZERO,
        };
        if wait > patience {
            bucket.give_back(1.0);
            return None;
        }
        Some(wait)
    }

    /// Whether nothing would be lost by forgetting this: it was quiet, and nobody else has it.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        Arc::strong_count(&self.0) == 1 && self.bucket().is_full(now)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_each_waits_for_its_own_turn() {
        let start = Instant::now();
        let pace = Pace::new(10, 2, start);
        for now in [start, start + Duration::from_secs(10)] {
            let waits = [(); 4].map(|()| pace.reserve(Duration::MAX, now).unwrap().as_millis());
            assert_eq!(waits, [0, 0, 100, 200]);
        }
    }

    #[test]
    fn who_would_wait_too_long_takes_no_turn() {
        let start = Instant::now();
        let pace = Pace::new(10, 1, start);
        let patience = Duration::from_millis(150);
        let waits = [(); 4].map(|()| pace.reserve(patience, start).map(|wait| wait.as_millis()));
        assert_eq!(waits, [Some(0), Some(100), None, None]);
        let later = start + Duration::from_millis(100);
        assert_eq!(pace.reserve(patience, later).map(|wait| wait.as_millis()), Some(100));
    }

    #[test]
    fn what_never_comes_back_is_waited_for_and_no_panic() {
        let start = Instant::now();
        let pace = Pace::new(0, 1, start);
        assert_eq!(pace.reserve(Duration::MAX, start), Some(Duration::ZERO));
        assert_eq!(pace.reserve(Duration::MAX, start), Some(Duration::MAX));
    }

    #[test]
    fn it_is_quiet_when_it_is_full_and_nobody_has_it() {
        let start = Instant::now();
        let pace = Pace::new(1, 1, start);
        assert!(pace.is_quiet(start));
        pace.reserve(Duration::MAX, start);
        assert!(!pace.is_quiet(start));
        let (later, other) = (start + Duration::from_secs(2), pace.clone());
        assert!(!pace.is_quiet(later));
        drop(other);
        assert!(pace.is_quiet(later));
    }
}
