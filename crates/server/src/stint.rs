//! Letting others have their turn in the middle of what is large.
//!
//! The runtime asks the kernel which sockets are ready only when no task is left to run, or after some
//! dozens of them. A connection whose bytes come, or are taken, as fast as they are moved is ready
//! each time it is asked, so it alone could keep a thread for several megabytes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How many bytes of a body or an answer are moved before others have their turn: some 100 µs of
/// copying.
const STINT: usize = 256 << 10;

/// What was moved since others had their turn.
#[derive(Debug, Default)]
pub(crate) struct Stint {
    moved: usize,
    pause: Option<Arc<Pause>>,
}

/// Others have their turn until the runtime has asked for sockets that are ready. Whoever pauses is
/// perhaps polled before, for other reasons.
#[derive(Debug)]
struct Pause {
    is_over: AtomicBool,
    task: Waker,
}

impl Wake for Pause {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Stint {
    /// So many bytes more were moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// Ready when more may be moved.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &self.pause {
            if !pause.is_over.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            *self = Self::default();
        }
        if self.moved < STINT {
            return Poll::Ready(());
        }
        let task = context.waker().clone();
        let pause = Arc::new(Pause { is_over: AtomicBool::new(false), task });
        let waker = Waker::from(Arc::clone(&pause));
        // The runtime keeps the waker, and wakes it when it has asked for sockets.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        self.pause = Some(pause);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn it_pauses_after_so_many_bytes_and_not_only_for_a_poll() {
        let mut stint = Stint::default();
        let ready = |stint: &mut Stint| {
            let context = &mut Context::from_waker(Waker::noop());
            stint.poll_next(context).is_ready()
        };
        stint.moved(STINT - 1);
        assert!(ready(&mut stint));
        stint.moved(1);
        assert!(!ready(&mut stint) && !ready(&mut stint));
        tokio::task::yield_now().await;
        assert!(ready(&mut stint));
        stint.moved(STINT - 1);
        assert!(ready(&mut stint), "it began anew");
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let mut stint = Stint::default();
        for _ in 0..3 {
            stint.moved(STINT);
            poll_fn(|context| stint.poll_next(context)).await;
        }
    }
}
