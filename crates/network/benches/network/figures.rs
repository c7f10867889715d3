//! How figures are told.

use std::time::Duration;

/// The time that so many of a hundred are within. There is to be at least one.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

/// Milliseconds, with one digit after the point.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Median and 99th percentile of some.
pub(crate) fn told(mut times: Vec<Duration>) -> String {
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    format!("p50 {}, p99 {} of {}", millis(p50), millis(p99), times.len())
}
