//! The store that guests live in: its limits, and how they are interrupted.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::yield_now;
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
    /// The end of its first slice, and when it was let go on.
    pause: Option<Arc<Pause>>,
    timed_out: bool,
    started: Instant,
    timeout: Duration,
    /// How a session's calls are ended from outside.
    control: Option<Arc<Control>>,
}

/// What others may tell the store of a session while a call runs in it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// 0 while the session lives, and then why it does not.
    over: AtomicU8,
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

/// The time between a call's first slice and what follows: it waits for a place, which is not its own
/// doing.
#[derive(Debug)]
struct Pause {
    began: Instant,
    ended: OnceLock<Instant>,
}

/// The call's time is up. Raised by the epoch's callback, found again in the error it becomes.
#[derive(Debug, thiserror::Error)]
#[error("the call's time is up")]
pub(crate) struct TimeIsUp;

/// The call takes longer than the one slice that it may have. Never seen by anybody: it is begun again.
#[derive(Debug, thiserror::Error)]
#[error("the call takes longer than a slice")]
struct SliceIsOver;

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
}

impl State {
    pub(crate) fn new(limiter: Limiter, started: Instant, timeout: Duration) -> Self {
        Self {
            limiter,
            interrupted: false,
            pause: None,
            timed_out: false,
            started,
            timeout,
            control: None,
        }
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
        self.interrupted || self.limiter.interrupted()
    }

    /// Whether the call was ended because its time was up.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// How long the call has run, without what it waited for a place.
    pub(crate) fn elapsed(&self) -> Duration {
        let pause = self.pause.as_ref().and_then(|pause| Some(*pause.ended.get()? - pause.began));
        let paused = self.limiter.paused() + pause.unwrap_or_default();
        self.started.elapsed().saturating_sub(paused)
    }

    /// Ends the only slice of a call.
    fn end_only_slice(&mut self) -> wasmtime::Error {
        if self.elapsed() >= self.timeout {
            self.timed_out = true;
            return TimeIsUp.into();
        }
        self.interrupted = true;
        SliceIsOver.into()
    }

    /// Ends a slice, unless the call's time is up.
    fn end_slice(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if let Some(why) = self.control.as_ref().and_then(|control| control.over()) {
            return Err(SessionIsOver(why).into());
        }
        if self.elapsed() >= self.timeout {
            self.timed_out = true;
            return Err(TimeIsUp.into());
        }
        if std::mem::replace(&mut self.interrupted, true) {
            return Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(yield_now())));
        }
        let pause = Arc::new(Pause { began: Instant::now(), ended: OnceLock::new() });
        self.pause = Some(Arc::clone(&pause));
        let pausing = async move {
            yield_now().await;
            pause.ended.get_or_init(Instant::now);
        };
        Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(pausing)))
    }
}

/// Begins a call in the store of a session.
pub(crate) fn begin(store: &mut Store<State>, timeout: Duration) {
    let state = store.data_mut();
    state.limiter.begin_call();
    (state.interrupted, state.timed_out, state.pause) = (false, false, None);
    (state.started, state.timeout) = (Instant::now(), timeout);
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
}

/// A store whose first slice begins now: also instantiating is limited and interrupted, because start
/// functions loop too.
pub(crate) fn new(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter_async(|state| &mut state.limiter);
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
    store.epoch_deadline_callback(|mut store| store.data_mut().end_slice());
    store
}

/// The same for a guest that cannot be left in the middle: it is ended with its first slice.
pub(crate) fn of_one_slice(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
    store.epoch_deadline_callback(|mut store| Err(store.data_mut().end_only_slice()));
    store
}
