//! Whether a function's calls are short or long, learnt from the last ones.

use std::sync::atomic::{AtomicU8, Ordering};

/// How many more calls have to be long than short before the next is taken for long: one alone may
/// only have been unlucky with the scheduler.
const CONVINCING: u8 = 3;

/// After so many long calls, one is begun as if it were short: what others call a function with says
/// nothing of this call. Calls that were run count, not those that ask: on a server that has too much
/// to do, the first slices of what it can only refuse would be all that it does.
const DOUBTED: u8 = 8;

/// So many calls in a row have to be short before the next is as good as known to be. If it is not,
/// what it has done is done again: on each serving thread a slice for so many calls at most.
const QUICK: u8 = 16;

/// How a function's last calls went.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    long: AtomicU8,
    since_doubt: AtomicU8,
    /// How many were short since the last that was long, up to [`QUICK`].
    short: AtomicU8,
}

impl Pace {
    /// Whether the next call will not end within its first slice.
    pub(crate) fn is_long(&self) -> bool {
        if self.long.load(Ordering::Relaxed) < CONVINCING {
            return false;
        }
        let doubt = |count: u8| (count >= DOUBTED).then_some(0);
        self.since_doubt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, doubt).is_err()
    }

    /// Whether the next call will as good as certainly end within its first slice.
    pub(crate) fn is_quick(&self) -> bool {
        self.short.load(Ordering::Relaxed) == QUICK
    }

    pub(crate) fn was_short(&self) {
        // Mostly these are so already, and a store would take the line from other cores.
        if self.long.load(Ordering::Relaxed) != 0 {
            let less = |count: u8| count.checked_sub(1);
            let _ = self.long.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        if self.short.load(Ordering::Relaxed) != QUICK {
            let _ = self.short.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more(QUICK));
        }
    }

    pub(crate) fn was_long(&self) {
        self.short.store(0, Ordering::Relaxed);
        // It is enough if they are at the most already.
        let _ = self.long.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more(CONVINCING));
        let _ = self.since_doubt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more(DOUBTED));
    }
}

/// One more, up to the most.
fn more(most: u8) -> impl Fn(u8) -> Option<u8> {
    move |count| (count < most).then_some(count + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convinced() -> Pace {
        let pace = Pace::default();
        for _ in 0..CONVINCING {
            assert!(!pace.is_long());
            pace.was_long();
        }
        pace
    }

    #[test]
    fn several_long_calls_convince_and_short_ones_are_believed_at_once() {
        let pace = convinced();
        assert!(pace.is_long());
        pace.was_short();
        assert!(!pace.is_long());
        pace.was_long();
        assert!(pace.is_long());
    }

    #[test]
    fn one_call_after_several_long_ones_is_doubted_however_many_ask() {
        let pace = convinced();
        assert!((0..100).all(|_| pace.is_long()));
        for _ in 0..DOUBTED {
            pace.was_long();
        }
        let doubted = (0..100).filter(|_| !pace.is_long()).count();
        assert_eq!(doubted, 1);
    }

    #[test]
    fn many_short_calls_make_a_quick_function_and_a_long_one_ends_it() {
        let pace = Pace::default();
        for _ in 0..2 {
            for _ in 0..QUICK {
                assert!(!pace.is_quick());
                pace.was_short();
            }
            assert!(pace.is_quick());
            pace.was_short();
            assert!(pace.is_quick());
            pace.was_long();
        }
        assert!(!pace.is_quick());
    }
}
