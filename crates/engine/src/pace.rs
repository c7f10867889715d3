//! Whether a function's calls are short or long, learnt from the last ones.

use std::sync::atomic::{AtomicU8, Ordering};

/// How many calls in a row have to be long before the next is taken for long: one alone may only have
/// been unlucky with the scheduler.
const CONVINCING: u8 = 3;

/// How a function's last calls went.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    long_in_a_row: AtomicU8,
}

impl Pace {
    /// Whether the next call will not end within its first slice.
    pub(crate) fn is_long(&self) -> bool {
        self.long_in_a_row.load(Ordering::Relaxed) >= CONVINCING
    }

    pub(crate) fn was_short(&self) {
        // Mostly it is so already, and a store would take the line from other cores.
        if self.long_in_a_row.load(Ordering::Relaxed) != 0 {
            self.long_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn was_long(&self) {
        let more = |count: u8| (count < CONVINCING).then_some(count + 1);
        // It is enough if it is at the most already.
        let _ = self.long_in_a_row.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_in_a_row_convince_and_one_short_call_is_enough_to_forget() {
        let pace = Pace::default();
        for _ in 0..CONVINCING {
            assert!(!pace.is_long());
            pace.was_long();
        }
        assert!(pace.is_long());
        pace.was_long();
        pace.was_short();
        assert!(!pace.is_long());
    }
}
