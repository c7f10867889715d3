//! Requests per second: a token bucket for each key and each client.
//!
//! The bucket is kept as the time at which it will be full again (the generic cell rate algorithm,
//! ITU-T I.371), which is one number: taking a token is one compare-and-swap, without a lock.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND: f64 = 1e9;

/// How fast a bucket fills and how much it holds, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// From one token to the next.
    interval: u64,
    /// From empty to full.
    capacity: u64,
}

impl Rate {
    /// So many tokens a second, and at most `burst` of them at once.
    pub(crate) fn new(per_second: f64, burst: u32) -> Self {
        // What is too large or too small for it becomes the most or the least.
        let interval = ((SECOND / per_second).round() as u64).max(1);
        Self { interval, capacity: interval.saturating_mul(u64::from(burst)) }
    }
}

/// A bucket, full at first.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When it is full, in nanoseconds of [`now`].
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a token.
    ///
    /// # Errors
    ///
    /// When there is none: the time until there is.
    pub(crate) fn take(&self, rate: Rate, now: u64) -> Result<(), Duration> {
        let fill = |full_at: u64| {
            let full_at = full_at.max(now).saturating_add(rate.interval);
            (full_at - now <= rate.capacity).then_some(full_at)
        };
        match self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill) {
            Ok(_) => Ok(()),
            Err(full_at) => {
                let empty_for = full_at.saturating_sub(now).saturating_add(rate.interval);
                Err(Duration::from_nanos(empty_for.saturating_sub(rate.capacity)))
            }
        }
    }

    pub(crate) fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }
}

/// Nanoseconds since the first time this was asked.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn a_full_bucket_has_its_burst_and_then_its_rate() {
        let rate = Rate::new(10.0, 3);
        let bucket = Bucket::default();
        let start = 5_000 * MILLISECOND;
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        assert_eq!(bucket.take(rate, start), Err(Duration::from_millis(100)));
        assert_eq!(
            bucket.take(rate, start + 40 * MILLISECOND),
            Err(Duration::from_millis(60)),
            "being refused costs nothing"
        );
        assert_eq!(bucket.take(rate, start + 100 * MILLISECOND), Ok(()));
        assert!(bucket.take(rate, start + 100 * MILLISECOND).is_err());
        // However long it waits, it holds no more than its burst.
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, start * 100), Ok(()));
        }
        assert!(bucket.take(rate, start * 100).is_err());
    }

    #[test]
    fn the_slowest_and_the_fastest_rate_work() {
        for per_second in [0.001, 1e6, 0.0, f64::INFINITY] {
            let rate = Rate::new(per_second, 1_000_000);
            assert_eq!(Bucket::default().take(rate, 0), Ok(()));
        }
    }
}
