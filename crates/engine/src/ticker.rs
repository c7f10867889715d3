//! The clock that interrupts guests: an OS thread that advances an engine's epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The length of an epoch. On a busy server each tick interrupts a core; at a tick a millisecond, that
/// alone took 1.4 % of the time of short calls.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// How many ticks without a running call pass before the thread parks.
const IDLE_TICKS: u32 = 50;

/// A thread that advances an engine's epoch while calls run, and sleeps while none do.
///
/// An OS thread and not a task: a runtime whose workers are all busy with guests would never get to
/// the task that is to interrupt them. Dropping the ticker stops and joins the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stopping: AtomicBool,
}

/// While it lives, the epoch advances.
#[derive(Debug)]
pub(crate) struct Ticking {
    shared: Arc<Shared>,
}

impl Ticker {
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub(crate) fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let thread = thread::Builder::new().name("epoch-ticker".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.tick(&engine)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Keeps the epoch advancing until the guard is dropped.
    pub(crate) fn keep_ticking(&self) -> Ticking {
        // Sequentially consistent on both sides, so that either this sees the thread parked or the
        // thread, about to park, sees this call.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Ticking { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn tick(&self, engine: &wasmtime::Engine) {
        let mut idle = 0;
        while !self.stopping.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) > 0 {
                idle = 0;
            } else {
                idle += 1;
            }
            if idle > IDLE_TICKS {
                self.park();
                idle = 0;
            }
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }

    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stopping.load(Ordering::SeqCst) {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only sleeps and adds; if it panicked there is nothing left to stop.
            let _ = thread.join();
        }
    }
}
