//! Reading a request's body: bounded in bytes, in time and in the memory of all bodies together.

mod decoding;
mod gathering;
mod stream;

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::BodyExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasm_exec::Exec;

use crate::problem::{Code, Problem};
use crate::stint::Stint;
use gathering::Gathering;
pub(crate) use stream::Decoder;

/// JSON of more bytes than this takes long enough to read that others need not wait for it.
const LARGE_JSON: usize = 256 << 10;

/// Bodies up to this many bytes are not counted against the memory of all bodies if they are there at
/// once.
const SMALL: u64 = 64 << 10;

/// The unit that the memory of all bodies is counted in, in bytes.
const UNIT: u64 = 4 << 10;

/// How much of a body that is too large is read and thrown away before it is refused, in bytes.
const DISCARDED: usize = 256 << 10;

/// Bounds on request bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    maximum: u64,
    memory: Arc<Semaphore>,
    /// How much memory there is, taken or not, in units.
    units: usize,
    timeout: Duration,
}

/// A body, read whole, and the room it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// The bytes. Their room goes along, and is given back with the last part of them.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.room {
            Some(_) => Bytes::from_owner(self),
            None => self.bytes,
        }
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// At most `maximum` bytes a body, before and after decompressing, and about `memory` bytes for
    /// all that are being read or worked on; each has to arrive within `timeout`.
    pub(crate) fn new(maximum: u64, memory: u64, timeout: Duration) -> Self {
        let units = usize::try_from(memory.max(2 * maximum).div_ceil(UNIT)).unwrap_or(usize::MAX);
        let units = units.min(Semaphore::MAX_PERMITS);
        Self { maximum, memory: Arc::new(Semaphore::new(units)), units, timeout }
    }

    /// How much memory large bodies take at this moment, in bytes.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.units.saturating_sub(self.memory.available_permits()) as u64 * UNIT
    }

    /// The most bytes a body may have.
    pub(crate) fn maximum(&self) -> u64 {
        self.maximum
    }

    /// Reads and decompresses a body; a large one on `exec`'s threads for such work.
    ///
    /// # Errors
    ///
    /// When it is too large, comes too slowly, breaks off, has an unknown encoding, or there is no
    /// room for it.
    pub(crate) async fn read<B>(
        &self,
        exec: &Exec,
        headers: &HeaderMap,
        body: B,
    ) -> Result<Body, Problem>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let coding = decoding::Coding::of(headers)?;
        let announced = body.size_hint();
        if announced.lower() > self.maximum {
            return Err(self.too_large());
        }
        let small = announced.upper().is_some_and(|bytes| bytes <= SMALL);
        if small && coding == decoding::Coding::Identity {
            let mut body = pin!(body);
            let first = poll_fn(|context| Poll::Ready(body.as_mut().poll_frame(context))).await;
            // Mostly it is there in one piece: there is nothing to wait for, and to put together.
            let first = match first {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() && body.is_end_stream() => {
                    let bytes = frame.into_data().unwrap_or_default();
                    return Ok(Body { bytes, room: None });
                }
                Poll::Ready(first) => first,
                Poll::Pending => None,
            };
            let (bytes, room) = self.in_time(pin!(self.collect(first, body, None))).await?;
            return Ok(Body { bytes, room });
        }
        // Boxed, since it is rare, and the future of a request is moved several times.
        Box::pin(self.read_large(exec, coding, body)).await
    }

    /// Reads a body for which there has to be room.
    async fn read_large<B>(
        &self,
        exec: &Exec,
        coding: decoding::Coding,
        body: B,
    ) -> Result<Body, Problem>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        // Taken as the body comes: what is only announced keeps nobody else out.
        let room = Some(self.room(UNIT)?);
        let body = pin!(body);
        let (bytes, mut room) = self.in_time(pin!(self.collect(None, body, room))).await?;
        if coding != decoding::Coding::Identity {
            let needed = bytes.len() as u64 + coding.most(bytes.len() as u64).min(self.maximum);
            self.grow(&mut room, needed)?;
        }
        // The room goes along: decoding goes on also if the request is given up meanwhile.
        let (bytes, mut room) = decoding::decode(exec, coding, bytes, self.maximum, room)
            .await
            .map_err(|error| error.problem(self.maximum))?;
        if let Some(room) = &mut room {
            let needed = usize::try_from((bytes.len() as u64).div_ceil(UNIT)).unwrap_or(usize::MAX);
            drop(room.split(room.num_permits().saturating_sub(needed)));
        }
        Ok(Body { bytes, room })
    }

    /// Takes room for so many bytes.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).try_acquire_many_owned(units).map_err(|_| {
            Problem::new(Code::Overloaded, "too many large requests are being read; try again")
        })
    }

    /// The same bytes with room of their own, if they are many.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn keep(&self, bytes: Bytes) -> Result<Bytes, Problem> {
        let size = bytes.len() as u64;
        if size <= SMALL {
            return Ok(bytes);
        }
        Ok(Body { bytes, room: Some(self.room(size)?) }.into_bytes())
    }

    /// Takes more room where it is not enough for so many bytes.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn grow(
        &self,
        room: &mut Option<OwnedSemaphorePermit>,
        bytes: u64,
    ) -> Result<(), Problem> {
        match room {
            Some(room) => {
                let missing = bytes.saturating_sub(room.num_permits() as u64 * UNIT);
                room.merge(self.room(missing)?);
            }
            None => *room = Some(self.room(bytes)?),
        }
        Ok(())
    }

    /// How long a client may send nothing while its request is awaited.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for a body, without a timer if it is there already.
    async fn in_time<T>(
        &self,
        mut reading: Pin<&mut impl Future<Output = Result<T, Problem>>>,
    ) -> Result<T, Problem> {
        let ready = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context)));
        if let Poll::Ready(result) = ready.await {
            return result;
        }
        tokio::time::timeout(self.timeout, reading).await.unwrap_or_else(|_| {
            let detail = format!("the body took more than {:?} to arrive", self.timeout);
            Err(Problem::new(Code::RequestTimeout, detail))
        })
    }

    /// Collects a body of which this came `first`, taking more room as it grows if it has some, or is
    /// not there at once.
    async fn collect<B>(
        &self,
        mut first: Option<Result<Frame<Bytes>, B::Error>>,
        mut body: Pin<&mut B>,
        mut room: Option<OwnedSemaphorePermit>,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let upper = body.size_hint().upper().unwrap_or(u64::MAX).min(self.maximum);
        let capacity = usize::try_from(upper).unwrap_or(usize::MAX);
        let (mut all, mut stint) = (Gathering::new(), Stint::default());
        let mut counts = room.is_some();
        loop {
            let next = poll_fn(|context| {
                let frame = body.as_mut().poll_frame(context);
                counts |= frame.is_pending();
                frame
            });
            let frame = match first.take() {
                Some(frame) => Some(frame),
                None => next.await,
            };
            let Some(frame) = frame else { return Ok((all.finish(), room)) };
            let frame = frame.map_err(|error| {
                Problem::invalid_request(format!("the body breaks off: {error}"))
            })?;
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            let size = (all.len() + data.len()) as u64;
            stint.moved(data.len());
            if size > self.maximum {
                drop((all, data));
                discard(body).await;
                return Err(self.too_large());
            }
            if counts {
                self.grow(&mut room, size)?;
            }
            let no_room = |error| {
                Problem::new(Code::Overloaded, "there is no room for the body").because(error)
            };
            all.push(data, capacity).map_err(no_room)?;
            loop {
                poll_fn(|context| stint.poll_next(context)).await;
                match all.move_some().map_err(no_room)? {
                    0 => break,
                    moved => stint.moved(moved),
                }
            }
        }
    }

    fn too_large(&self) -> Problem {
        decoding::DecodeError::TooLarge.problem(self.maximum)
    }

    /// The problem of a line of a batch that has more bytes than a body may have.
    pub(crate) fn line_too_large(&self) -> Problem {
        let maximum = self.maximum;
        let detail = format!("the line has more than the {maximum} bytes that are accepted");
        Problem::new(Code::TooLarge, detail).with("maximum", maximum)
    }
}

/// Reads on for a little, and forgets: a client that sends only somewhat too much would otherwise find
/// its connection broken instead of reading why.
pub(crate) async fn discard<B: http_body::Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut discarded = 0;
    while discarded < DISCARDED
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// What a body is, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    /// `application/json` or `application/…+json`.
    Json,
    /// JSON values in lines: `application/x-ndjson`, `application/ndjson` or `application/jsonl`.
    JsonLines,
    /// `application/wasm`
    Wasm,
    /// `text/wat`
    Wat,
    /// `application/octet-stream`
    Bytes,
    /// `application/x-www-form-urlencoded`, which curl says if nothing else is said.
    Form,
    /// None is given.
    Missing,
    /// Any other.
    Other,
}

impl ContentType {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Self::Missing };
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") || essence.to_ascii_lowercase().ends_with("+json") {
            Self::Json
        } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl")
        {
            Self::JsonLines
        } else if is("application/wasm") {
            Self::Wasm
        } else if is("text/wat") {
            Self::Wat
        } else if is("application/octet-stream") {
            Self::Bytes
        } else if is("application/x-www-form-urlencoded") {
            Self::Form
        } else {
            Self::Other
        }
    }
}

/// The problem of a body that is none of `accepted`.
pub(crate) fn unsupported(headers: &HeaderMap, accepted: &str) -> Problem {
    let found = match headers.get(header::CONTENT_TYPE) {
        Some(value) => format!("{value:?}"),
        None => "none".to_owned(),
    };
    let detail = format!("content type: expected {accepted}, got {found}");
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// Reads a JSON object.
///
/// # Errors
///
/// When it is broken or not of the shape, with line and column.
pub(crate) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    beside_others(bytes, || json_now(bytes))
}

/// Reads a text, while another thread serves the other requests of this one if it is large.
pub(crate) fn beside_others<T>(text: &[u8], read: impl FnOnce() -> T) -> T {
    match text.len() > LARGE_JSON {
        true => tokio::task::block_in_place(read),
        false => read(),
    }
}

fn json_now<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = object(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    value.map_err(|error| Problem::invalid_request(format!("JSON: {error}")))
}

/// Reads a struct from an object only: serde would take an array of its members too, in which a
/// member cannot be misspelt, only misplaced.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

/// A struct that is read from an object only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strict<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_room_until_the_last_part_of_them_is_dropped() {
        let bodies = Bodies::new(1 << 20, 4 << 20, Duration::from_secs(60));
        let small = bodies.keep(Bytes::from(vec![0; SMALL as usize])).unwrap();
        assert_eq!(bodies.held_bytes(), 0);
        let bytes = bodies.keep(Bytes::from(vec![1; 1 << 20])).unwrap();
        let part = bytes.slice(5..6);
        drop((small, bytes));
        assert_eq!(bodies.held_bytes(), 1 << 20);
        assert!(bodies.keep(Bytes::from(vec![0; 4 << 20])).is_err());
        drop(part);
        assert_eq!(bodies.held_bytes(), 0);
    }
}
