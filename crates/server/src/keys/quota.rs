//! Quotas: how many calls, and how much of their time, a key has in a period.
//!
//! A period begins with the first call after the one before. Counts are kept in memory, one for each
//! key, so a restart begins them anew.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::record::CallQuota;

/// What a key has in each period; `None` is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) period: Duration,
    pub(super) calls: Option<u64>,
    /// Wall-clock time of guests.
    pub(super) time: Option<Duration>,
}

impl Quota {
    pub(super) fn new(CallQuota { per, calls, call_seconds }: CallQuota) -> Self {
        Self {
            period: per.duration(),
            calls: calls.map(NonZeroU64::get),
            time: call_seconds.map(|seconds| Duration::from_secs(seconds.get())),
        }
    }
}

/// Which part of a quota is used up, and how long until there is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) what: &'static str,
    pub(super) retry_after: Duration,
}

/// What was used of a quota.
#[derive(Debug, Default)]
pub(super) struct Spent {
    period: Mutex<Option<Period>>,
}

#[derive(Debug)]
struct Period {
    began: Instant,
    calls: u64,
    time: Duration,
}

impl Spent {
    /// Counts a call.
    ///
    /// # Errors
    ///
    /// When the quota is used up. Calls that run are not counted in time yet, so a quota of time can
    /// be exceeded by as much as runs at once.
    pub(super) fn begin_call(&self, quota: &Quota, now: Instant) -> Result<(), Exceeded> {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        let period = match &mut *period {
            Some(current) if now.saturating_duration_since(current.began) < quota.period => current,
            ended => ended.insert(Period { began: now, calls: 0, time: Duration::ZERO }),
        };
        let exceeded = if quota.calls.is_some_and(|calls| period.calls >= calls) {
            "calls"
        } else if quota.time.is_some_and(|time| period.time >= time) {
            "call-seconds"
        } else {
            period.calls += 1;
            return Ok(());
        };
        let passed = now.saturating_duration_since(period.began);
        Err(Exceeded { what: exceeded, retry_after: quota.period.saturating_sub(passed) })
    }

    /// Counts the time of a call that ended.
    pub(super) fn charge(&self, time: Duration) {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(period) = &mut *period {
            period.time = period.time.saturating_add(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn calls_are_counted_by_period() {
        let quota = Quota { period: MINUTE, calls: Some(2), time: None };
        let (spent, start) = (Spent::default(), Instant::now());
        assert_eq!(spent.begin_call(&quota, start), Ok(()));
        assert_eq!(spent.begin_call(&quota, start + MINUTE / 2), Ok(()));
        let exceeded = Exceeded { what: "calls", retry_after: MINUTE / 4 };
        assert_eq!(spent.begin_call(&quota, start + MINUTE * 3 / 4), Err(exceeded));
        assert_eq!(spent.begin_call(&quota, start + MINUTE), Ok(()));
        assert_eq!(spent.begin_call(&quota, start + MINUTE), Ok(()));
        assert!(spent.begin_call(&quota, start + MINUTE).is_err());
    }

    #[test]
    fn time_is_counted_when_calls_end() {
        let quota = Quota { period: MINUTE, calls: None, time: Some(Duration::from_secs(1)) };
        let (spent, start) = (Spent::default(), Instant::now());
        spent.begin_call(&quota, start).unwrap();
        spent.charge(Duration::from_millis(999));
        spent.begin_call(&quota, start).unwrap();
        spent.charge(Duration::from_millis(1));
        let exceeded = Exceeded { what: "call-seconds", retry_after: MINUTE };
        assert_eq!(spent.begin_call(&quota, start), Err(exceeded));
    }
}
