//! Batches: many calls of one function in one request, streamed both ways.
//!
//! A task for each batch drives it ([`delivery`]): it reads the body ([`intake`]), cuts it into lines
//! and these into groups ([`lines`]), lets a few groups run at once, each in a task of its own
//! ([`group`]), and hands their answers on in the order of the lines. Whatever is slow holds up what
//! comes before it: the reader of the answers the groups, and the groups the reading of the body.
//!
//! A group is about as many lines as run within a millisecond, so its cost is shared by many short
//! calls, and long ones run beside each other.

mod delivery;
mod group;
mod intake;
mod lines;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body as StreamBody;
use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasm_exec::Callee;

pub(crate) use delivery::BatchBody;

use crate::app::App;
use crate::body::Decoder;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::serve::Exchange;

/// How many groups of one batch run at once, at most: one on each core, up to so many.
const MAXIMUM_PLACES: usize = 16;

/// How many groups of a batch there are for each that runs: others are read meanwhile, or wait until
/// their answers are taken.
const GROUPS_PER_PLACE: usize = 2;

/// How many lines a group has at most.
const GROUP_LINES: usize = 256;

/// How many bytes the lines of a group have at most, but for a line that has more by itself.
const GROUP_BYTES: usize = 64 << 10;

/// About how long a group is to run, and for how long it runs at a time.
const GROUP_TIME: Duration = Duration::from_millis(1);

/// How many bytes of answers are collected before they are sent.
const PIECE_BYTES: usize = 32 << 10;

/// The longest time that a line waits for its turn by the rate of its key.
const MAXIMUM_DELAY: Duration = Duration::from_secs(10);

/// What all groups of a batch share.
#[derive(Debug)]
pub(crate) struct Batch {
    app: App,
    caller: Caller,
    callee: Callee,
    /// The module's digest, as answers have it.
    module: String,
    request_id: HeaderValue,
    places: Arc<Semaphore>,
    /// How many groups may be read and not delivered.
    window: usize,
    /// How many lines the next group is to have.
    group_lines: AtomicUsize,
}

impl Batch {
    /// Begins to call `callee` with each line of a body; what comes back are the answers.
    pub(crate) fn start(
        app: App,
        caller: Caller,
        callee: Callee,
        exchange: &Exchange,
        (decoder, body): (Decoder, StreamBody),
    ) -> BatchBody {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Half of the places for calls are left to others, however many cores there are.
        let half = app.exec.engine_config().concurrent_calls / 2;
        let places = cores.min(MAXIMUM_PLACES).min(half).max(1);
        let batch = Self {
            module: callee.module().to_string(),
            request_id: exchange.id.clone(),
            places: Arc::new(Semaphore::new(places)),
            window: places * GROUPS_PER_PLACE,
            group_lines: AtomicUsize::new(1),
            app,
            caller,
            callee,
        };
        delivery::start(Arc::new(batch), exchange, decoder, body)
    }

    /// How many lines the next group is to have.
    fn group_lines(&self) -> usize {
        self.group_lines.load(Ordering::Relaxed)
    }

    /// Learns from a group how many lines fit into the time that one is to take. Groups grow slowly, so
    /// that a few long calls are not all in one, and shrink at once.
    fn learn(&self, lines: usize, took: Duration) {
        let lines = u128::try_from(lines).unwrap_or(u128::MAX);
        let fitting = GROUP_TIME.as_nanos() * lines / took.as_nanos().max(1);
        let most = GROUP_LINES.min(2 * self.group_lines());
        let next = usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, most);
        self.group_lines.store(next, Ordering::Relaxed);
    }

    /// Room for a group that is read while others are not delivered yet: for its lines, and for its
    /// answers. One group at a time needs none, as a small request does not.
    fn room(&self) -> Result<GroupRoom, Problem> {
        let lines = self.app.bodies.room(GROUP_BYTES as u64)?;
        let answers = self.app.answers.room(2 * PIECE_BYTES as u64)?;
        Ok(GroupRoom { _lines: lines, _answers: answers })
    }
}

/// What a group takes of the memory of all bodies and of all answers.
#[derive(Debug)]
struct GroupRoom {
    _lines: OwnedSemaphorePermit,
    _answers: OwnedSemaphorePermit,
}
