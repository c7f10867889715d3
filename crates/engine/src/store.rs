//! The store that guests live in: its limits, and how they are interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{Store, UpdateDeadline};

use crate::limiter::Limiter;

/// How long a call may run on the thread that serves its request: the first tick may come at once,
/// so two ticks are between two and four milliseconds.
const FIRST_SLICE_TICKS: u64 = 2;

/// How long a call runs in the background before it lets the next one run.
const SLICE_TICKS: u64 = 1;

/// What a store knows of its call.
#[derive(Debug)]
pub(crate) struct State {
    limiter: Limiter,
    /// Whether a slice of the call has ended before the call.
    interrupted: bool,
    timed_out: bool,
    started: Instant,
    timeout: Duration,
    /// How a session's calls are ended, and held up, from outside.
    control: Option<Arc<Control>>,
}

/// What others may tell the store of a session while a call runs in it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// 0 while the session lives, and then why it does not.
    over: AtomicU8,
    /// For how long the call was kept waiting, in microseconds.
    waited_us: AtomicU64,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// It was [ended](crate::Session::end).
    Asked,
    /// One of its calls took too long.
    Timeout,
    /// The engine failed in the middle of a call.
    Failed,
}

/// The call's time is up. Raised by the epoch's callback, found again in the error it becomes.
#[derive(Debug, thiserror::Error)]
#[error("the call's time is up")]
pub(crate) struct TimeIsUp;

/// The session is over. Raised and found like [`TimeIsUp`].
#[derive(Debug, thiserror::Error)]
#[error("the session is over")]
pub(crate) struct SessionIsOver(pub(crate) SessionEnd);

impl Control {
    /// From here on, no call of the session goes on for longer than a slice. What ended it first
    /// stays the reason.
    pub(crate) fn end(&self, why: SessionEnd) {
        let why = match why {
            SessionEnd::Asked => 1,
            SessionEnd::Timeout => 2,
            SessionEnd::Failed => 3,
        };
        let _ = self.over.compare_exchange(0, why, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Why the session is over, if it is.
    pub(crate) fn over(&self) -> Option<SessionEnd> {
        match self.over.load(Ordering::Acquire) {
            0 => None,
            1 => Some(SessionEnd::Asked),
            2 => Some(SessionEnd::Timeout),
            _ => Some(SessionEnd::Failed),
        }
    }

    /// The call that runs was kept waiting: that is not its own time.
    pub(crate) fn has_waited(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(time, Ordering::Relaxed);
    }

    fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }
}

impl State {
    pub(crate) fn new(limiter: Limiter, started: Instant, timeout: Duration) -> Self {
        Self { limiter, interrupted: false, timed_out: false, started, timeout, control: None }
    }

    /// The state of a session, in which a call is yet to [begin](begin).
    pub(crate) fn of_session(limiter: Limiter, control: Arc<Control>) -> Self {
        let state = Self::new(limiter, Instant::now(), Duration::ZERO);
        Self { control: Some(control), ..state }
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    pub(crate) fn limiter_mut(&mut self) -> &mut Limiter {
        &mut self.limiter
    }

    /// Whether a slice of the call has ended before the call.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether the call was ended because its time was up.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// How long the call has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        let waited = self.control.as_ref().map_or(Duration::ZERO, |control| control.waited());
        self.started.elapsed().saturating_sub(waited)
    }

    /// At the end of a slice.
    fn may_go_on(&mut self) -> wasmtime::Result<()> {
        self.interrupted = true;
        if let Some(why) = self.control.as_ref().and_then(|control| control.over()) {
            return Err(SessionIsOver(why).into());
        }
        if self.elapsed() >= self.timeout {
            self.timed_out = true;
            return Err(TimeIsUp.into());
        }
        Ok(())
    }
}

/// Begins a call in the store of a session.
pub(crate) fn begin(store: &mut Store<State>, timeout: Duration) {
    let state = store.data_mut();
    state.limiter.begin_call();
    (state.interrupted, state.timed_out) = (false, false);
    (state.started, state.timeout) = (Instant::now(), timeout);
    if let Some(control) = &state.control {
        control.waited_us.store(0, Ordering::Relaxed);
    }
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
}

/// A store whose first slice begins now: also instantiating is limited and interrupted, because start
/// functions loop too.
pub(crate) fn new(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter_async(|state| &mut state.limiter);
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
    store.epoch_deadline_callback(|mut store| {
        store.data_mut().may_go_on()?;
        Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(tokio::task::yield_now())))
    });
    store
}
