//! An answer's body on its way to the client: bounded in the memory of all that are not taken yet.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as StreamBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::{Activity, Sending};
use crate::problem::{Code, Problem};

/// Answers up to this many bytes are not counted: they fit what the kernel takes at once.
pub(crate) const SMALL: u64 = 64 << 10;

/// The unit that the memory of answers is counted in, in bytes.
const UNIT: u64 = 64 << 10;

/// Handlers' answers are complete; the router's may be streams.
pub(crate) type Content = Either<Full<Bytes>, StreamBody>;

/// A bound on the memory of all answers that clients have not taken yet.
#[derive(Debug)]
pub(crate) struct Answers {
    memory: Arc<Semaphore>,
    patience: Duration,
    /// How much memory there is, taken or not, in units.
    units: usize,
}

/// An answer's body, and what it holds until it is sent or given up.
#[derive(Debug)]
pub(crate) struct Answer {
    content: Content,
    room: Option<Room>,
    sending: Option<Sending>,
}

/// Room for an answer. One that was taken before the answer was made goes along with it as an
/// extension of the response.
#[derive(Clone, Debug)]
pub(crate) struct Room(
    #[expect(dead_code, reason = "it is held, and not looked at")] Arc<OwnedSemaphorePermit>,
);

impl Answers {
    /// About so many bytes; a piece of an answer waits for so long to be taken.
    pub(crate) fn new(bytes: u64, patience: Duration) -> Self {
        let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let units = units.min(Semaphore::MAX_PERMITS);
        Self { memory: Arc::new(Semaphore::new(units)), patience, units }
    }

    /// How much memory large answers take at this moment, in bytes.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.units.saturating_sub(self.memory.available_permits()) as u64 * UNIT
    }

    /// How long a piece of an answer waits to be taken.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes room for an answer, unless it has some already.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn hold(&self, content: Content, room: Option<Room>) -> Result<Answer, Problem> {
        let size = content.size_hint().lower();
        if size <= SMALL {
            return Ok(Answer::from(content));
        }
        let room = match room {
            Some(room) => room,
            None => Room(Arc::new(self.room(size)?)),
        };
        Ok(Answer { content, room: Some(room), sending: None })
    }

    /// Takes room for so many bytes.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| {
            let detail = "too many large answers wait for their clients; try again";
            Problem::new(Code::Overloaded, detail)
        })
    }

    /// Takes room for so many bytes of an answer that is yet to be made, if there is some.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Room> {
        self.room(bytes).ok().map(|permit| Room(Arc::new(permit)))
    }
}

impl Answer {
    /// The same, and a large one lets its connection wait until it is taken.
    pub(crate) fn sent_on(mut self, activity: &Arc<Activity>) -> Self {
        if self.room.is_some() {
            self.sending = Some(Activity::send(activity));
        }
        self
    }
}

impl From<Content> for Answer {
    fn from(content: Content) -> Self {
        Self { content, room: None, sending: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = <Content as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.content).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
