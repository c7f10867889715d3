//! What happens on a connection, counted, and what it is told to do.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// What happens on one connection. Its task and its requests count, the registry of connections
/// looks now and then: so no timer has to be set for any request.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Reads that brought something.
    reads: AtomicU64,
    /// Writes that took something.
    writes: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    /// Large answers that the client has not taken yet.
    sending: AtomicU64,
    /// `reads` when the last request or the handshake ended: what came since is the next head.
    reads_at_end: AtomicU64,
    orders: Orders,
}

/// What a connection is told, each once and for all.
#[derive(Debug, Default)]
struct Orders {
    finish: AtomicBool,
    close: AtomicBool,
    waker: AtomicWaker,
}

/// What a connection has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// Take no new request, and end when those that run are answered.
    Finish,
    /// End now.
    Close,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A request runs, or its body is awaited; both have limits of their own.
    Running,
    /// Nothing runs, but the client takes an answer.
    Sending,
    /// A part of a request's head has come.
    Head,
    /// Nothing was asked yet, or all is answered.
    Idle,
}

/// A connection's state at a moment. Two that are equal mean that nothing happened in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    begun: u64,
    /// Counted only while an answer is sent: a slow head must not gain time by what it is told
    /// meanwhile.
    writes: u64,
}

/// A large answer that is not taken yet.
#[derive(Debug)]
pub(crate) struct Sending(Arc<Activity>);

impl Drop for Sending {
    fn drop(&mut self) {
        // What the client said meanwhile, to take more, is no part of the next head.
        self.0.await_head();
        self.0.sending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that runs.
#[derive(Debug)]
pub(crate) struct Running<A: Deref<Target = Activity>>(A);

impl Activity {
    /// A request begins.
    pub(crate) fn begin<A: Deref<Target = Self>>(this: A) -> Running<A> {
        this.begun.fetch_add(1, Ordering::Relaxed);
        Running(this)
    }

    /// A large answer begins to be sent.
    pub(crate) fn send(this: &Arc<Self>) -> Sending {
        this.sending.fetch_add(1, Ordering::Relaxed);
        Sending(Arc::clone(this))
    }

    /// A handshake begins. It counts as a head from here on, also while nothing comes.
    pub(super) fn begin_handshake(&self) {
        self.read();
    }

    /// The handshake ended: what comes now is the first head.
    pub(super) fn end_handshake(&self) {
        self.await_head();
    }

    /// What came so far is no part of the next head.
    fn await_head(&self) {
        self.reads_at_end.store(self.reads.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let ended = self.ended.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        let awaited = self.reads_at_end.load(Ordering::Relaxed);
        let phase = if begun != ended {
            Phase::Running
        } else if self.sending.load(Ordering::Relaxed) > 0 {
            Phase::Sending
        } else if self.reads.load(Ordering::Relaxed) != awaited {
            Phase::Head
        } else {
            Phase::Idle
        };
        let writes = match phase {
            Phase::Sending => self.writes.load(Ordering::Relaxed),
            Phase::Running | Phase::Head | Phase::Idle => 0,
        };
        Snapshot { phase, begun, writes }
    }

    pub(crate) fn finish(&self) {
        self.orders.finish.store(true, Ordering::Relaxed);
        self.orders.waker.wake();
    }

    pub(crate) fn close(&self) {
        self.orders.close.store(true, Ordering::Relaxed);
        self.orders.waker.wake();
    }

    /// Whether it is to take no new request.
    pub(super) fn is_finishing(&self) -> bool {
        self.orders.finish.load(Ordering::Relaxed)
    }

    /// What is to be done; whoever polls is woken when that changes.
    pub(crate) fn order(&self, context: &Context<'_>) -> Order {
        // First, so that an order given from here on wakes.
        self.orders.waker.register(context.waker());
        if self.orders.close.load(Ordering::Relaxed) {
            Order::Close
        } else if self.orders.finish.load(Ordering::Relaxed) {
            Order::Finish
        } else {
            Order::Serve
        }
    }

    /// Waits for any order.
    pub(super) async fn ordered(&self) {
        std::future::poll_fn(|context| match self.order(context) {
            Order::Serve => Poll::Pending,
            Order::Finish | Order::Close => Poll::Ready(()),
        })
        .await;
    }
}

impl<A: Deref<Target = Activity>> Drop for Running<A> {
    fn drop(&mut self) {
        self.0.await_head();
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases() {
        let activity = Activity::default();
        let phase = || activity.snapshot().phase;
        assert_eq!(phase(), Phase::Idle);
        activity.read();
        assert_eq!(phase(), Phase::Head);
        let request = Activity::begin(&activity);
        assert_eq!(phase(), Phase::Running);
        activity.read();
        drop(request);
        assert_eq!(phase(), Phase::Idle, "the second read was the body");
    }

    #[test]
    fn a_handshake_is_a_head_until_it_ends() {
        let activity = Activity::default();
        let phase = || activity.snapshot().phase;
        activity.begin_handshake();
        assert_eq!(phase(), Phase::Head, "even a silent one");
        activity.read();
        assert_eq!(phase(), Phase::Head);
        activity.end_handshake();
        assert_eq!(phase(), Phase::Idle);
        activity.read();
        assert_eq!(phase(), Phase::Head);
    }

    #[test]
    fn a_slow_head_is_no_progress_and_a_slow_answer_is() {
        let activity = Arc::new(Activity::default());
        activity.read();
        let first = activity.snapshot();
        activity.read();
        activity.wrote();
        assert_eq!(activity.snapshot(), first);
        drop(Activity::begin(&*activity));
        let sending = Activity::send(&activity);
        let first = activity.snapshot();
        activity.read();
        activity.wrote();
        let second = activity.snapshot();
        assert_ne!(second, first);
        assert_eq!(second.phase, Phase::Sending, "the read asked for more of the answer");
        drop(sending);
        assert_eq!(activity.snapshot().phase, Phase::Idle);
    }
}
