//! Whether a function's calls are short or long, learnt from the last ones.

use std::sync::atomic::{AtomicU8, Ordering};

/// How many calls in a row have to be long before the next is taken for long: one alone may only have
/// been unlucky with the scheduler.
const CONVINCING: u8 = 3;

/// Of so many calls that would be taken for long, one is begun as if it were short: what others call a
/// function with says nothing of this call.
const DOUBTED: u8 = 8;

/// How a function's last calls went.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    long_in_a_row: AtomicU8,
    asked: AtomicU8,
}

impl Pace {
    /// Whether the next call will not end within its first slice.
    pub(crate) fn is_long(&self) -> bool {
        self.long_in_a_row.load(Ordering::Relaxed) >= CONVINCING
            && !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(DOUBTED)
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
    fn several_in_a_row_convince_but_for_a_doubt_and_one_short_call_is_enough_to_forget() {
        let pace = Pace::default();
        for _ in 0..CONVINCING {
            assert!(!pace.is_long());
            pace.was_long();
        }
        let long = (0..DOUBTED).filter(|_| pace.is_long()).count();
        assert_eq!(long, usize::from(DOUBTED) - 1);
        pace.was_long();
        pace.was_short();
        assert!((0..DOUBTED).all(|_| !pace.is_long()));
    }
}
