//! The store that guests live in: its limits, and how they are interrupted.

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
    started: Instant,
    timeout: Duration,
}

/// The call's time is up. Raised by the epoch's callback, found again in the error it becomes.
#[derive(Debug, thiserror::Error)]
#[error("the call's time is up")]
pub(crate) struct TimeIsUp;

impl State {
    pub(crate) fn new(limiter: Limiter, started: Instant, timeout: Duration) -> Self {
        Self { limiter, interrupted: false, started, timeout }
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Whether a slice of the call has ended before the call.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }
}

/// A store whose first slice begins now: also instantiating is limited and interrupted, because start
/// functions loop too.
pub(crate) fn new(engine: &wasmtime::Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter_async(|state| &mut state.limiter);
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
    store.epoch_deadline_callback(|mut store| {
        let state = store.data_mut();
        state.interrupted = true;
        if state.started.elapsed() >= state.timeout {
            return Err(TimeIsUp.into());
        }
        Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(tokio::task::yield_now())))
    });
    store
}
