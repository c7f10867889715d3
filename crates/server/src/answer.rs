//! An answer's body on its way to the client: bounded in the memory of all that are not taken yet.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body as StreamBody;
use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::{AnswerShare, Client};
use crate::connection::{Activity, Sending};
use crate::problem::{Code, Problem};
use crate::stint::Stint;

/// Answers up to this many bytes are not counted: they fit what the kernel takes at once, and over
/// HTTP/1 a connection has one at a time.
pub(crate) const SMALL: u64 = 64 << 10;

/// The same over HTTP/2, where a connection can have as many as it has streams.
const SMALL_OF_STREAM: u64 = 1 << 10;

/// The unit that the memory of answers is counted in, in bytes.
const UNIT: u64 = 1 << 10;

/// How many bytes of an answer are given to its connection at a time: over HTTP/1 these are copied
/// behind each other before they are written, into a buffer that the connection keeps.
const PIECE: usize = 64 << 10;

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
    /// What is left of a frame of the content that is given on in pieces.
    rest: Bytes,
    stint: Stint,
    room: Option<Room>,
    sending: Option<Sending>,
    #[expect(dead_code, reason = "it is held, and not looked at")]
    share: Option<AnswerShare>,
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

    /// Takes room for an answer to a request of this version of HTTP, unless it has some already. Of all
    /// room, one client has at most half; `None` is one that may have all.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn hold(
        &self,
        (version, client): (Version, Option<&Arc<Client>>),
        content: Content,
        room: Option<Room>,
    ) -> Result<Answer, Problem> {
        let small = if version == Version::HTTP_2 { SMALL_OF_STREAM } else { SMALL };
        let size = content.size_hint().lower();
        if size <= small {
            return Ok(Answer::from(content));
        }
        let share = client.map(|client| {
            let share = client.take_for_answer(size, self.units as u64 * UNIT / 2);
            share.ok_or_else(|| {
                let detail = "too many large answers wait for this client to take them";
                Problem::new(Code::RateLimited, detail)
            })
        });
        let share = share.transpose()?;
        let room = match room {
            Some(room) => room,
            None => Room(Arc::new(self.room(size)?)),
        };
        Ok(Answer { room: Some(room), share, ..Answer::from(content) })
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
        Self {
            content,
            rest: Bytes::new(),
            stint: Stint::default(),
            room: None,
            sending: None,
            share: None,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = <Content as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        ready!(self.stint.poll_next(context));
        let frame = match self.rest.is_empty() {
            true => ready!(Pin::new(&mut self.content).poll_frame(context)),
            false => Some(Ok(Frame::data(std::mem::take(&mut self.rest)))),
        };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        if data.len() > PIECE {
            self.rest = data.split_off(PIECE);
        }
        self.stint.moved(data.len());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.content.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn large_answers_are_given_in_pieces() {
        for size in [0, 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let bytes: Bytes = (0..size).map(|index| (index % 251) as u8).collect();
            let mut answer = Answer::from(Either::Left(Full::new(bytes.clone())));
            let mut taken = Vec::new();
            loop {
                let left = (size - taken.len()) as u64;
                assert_eq!(answer.size_hint().exact(), Some(left));
                assert_eq!(answer.is_end_stream(), left == 0);
                let Some(frame) = answer.frame().await else { break };
                let data = frame.unwrap().into_data().unwrap();
                assert!((1..=PIECE).contains(&data.len()));
                taken.extend_from_slice(&data);
            }
            assert_eq!(taken, bytes);
        }
    }
}
