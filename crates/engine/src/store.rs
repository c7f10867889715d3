//! The store that guests live in: its limits, and how they are interrupted.

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
    started: Instant,
    timeout: Duration,
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

impl State {
    pub(crate) fn new(limiter: Limiter, started: Instant, timeout: Duration) -> Self {
        Self { limiter, interrupted: false, pause: None, started, timeout }
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Whether a slice of the call has ended before the call.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// How long the call has run, without what it waited for a place.
    pub(crate) fn elapsed(&self) -> Duration {
        let pause = self.pause.as_ref().and_then(|pause| Some(*pause.ended.get()? - pause.began));
        let paused = self.limiter.paused() + pause.unwrap_or_default();
        self.started.elapsed().saturating_sub(paused)
    }

    /// Ends a slice, unless the call's time is up.
    fn end_slice(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.elapsed() >= self.timeout {
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

/// A store whose first slice begins now: also instantiating is limited and interrupted, because start
/// functions loop too.
pub(crate) fn new(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter_async(|state| &mut state.limiter);
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
    store.epoch_deadline_callback(|mut store| store.data_mut().end_slice());
    store
}
