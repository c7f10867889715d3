//! Simple requests, read and answered without hyper: calls that one read brings whole.
//!
//! Almost all calls are: a head and a short body that arrive together, over HTTP/1.1, with nothing
//! asked of the connection. What a general HTTP server does for each of them, a channel for the body
//! and several turns of the connection's task among it, takes longer than to run the function. Nothing
//! is judged here: whatever is not plainly simple goes to hyper as it came, and so does all that
//! follows on the connection.

mod reply;
mod request;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::{Activity, Answering, Order};
use crate::answer::Answer;
use crate::serve::RequestBody;

/// How much is read at a time, so the most that a simple request has, in bytes.
const READ: usize = 8 << 10;

/// How much of an answer is written at a time, at least, in bytes.
const WRITE: usize = 64 << 10;

/// What is left to others of a connection.
pub(super) struct Rest {
    /// What was read of a request that is not simple.
    pub(super) read: Bytes,
    /// Whether the connection begins with it.
    pub(super) is_first: bool,
}

/// Answers a connection's requests for as long as they are simple. `None` means that it has ended.
pub(super) async fn serve(stream: &mut TcpStream, answering: &Answering) -> Option<Rest> {
    let mut connection = Connection {
        stream,
        answering,
        input: BytesMut::new(),
        headers: HeaderMap::new(),
        output: Vec::new(),
    };
    let mut is_first = true;
    loop {
        let read = connection.read().await?;
        let headers = std::mem::take(&mut connection.headers);
        let Some((mut head, body)) = request::simple(&read, headers) else {
            return Some(Rest { read, is_first });
        };
        let (response, id) = connection.answer(&head, body).await?;
        // What is read next takes the place of both.
        head.headers.clear();
        connection.headers = head.headers;
        drop(read);
        connection.write(response, &id).await?;
        is_first = false;
    }
}

/// A connection with simple requests. Its methods give `None` when it has ended.
struct Connection<'a> {
    stream: &'a mut TcpStream,
    answering: &'a Answering,
    input: BytesMut,
    /// Empty: room for the headers of the next request.
    headers: HeaderMap,
    output: Vec<u8>,
}

impl Connection<'_> {
    fn activity(&self) -> &Activity {
        &self.answering.activity
    }

    /// Waits for a request, of which as much is read as has come.
    async fn read(&mut self) -> Option<Bytes> {
        poll_fn(|context| self.poll_read(context)).await?;
        Some(self.input.split().freeze())
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<()>> {
        // One that was asked nothing has nothing to finish.
        if self.activity().order(context) != Order::Serve {
            return Poll::Ready(None);
        }
        // A connection on which nothing comes needs no room for it.
        if ready!(self.stream.poll_read_ready(context)).is_err() {
            return Poll::Ready(None);
        }
        self.input.reserve(READ);
        let stream = Pin::new(&mut *self.stream);
        match ready!(poll_read_buf(stream, context, &mut self.input)) {
            Ok(0) | Err(_) => Poll::Ready(None),
            Ok(_) => {
                self.activity().read();
                Poll::Ready(Some(()))
            }
        }
    }

    /// Answers a request, unless the client leaves before: its call ends with it.
    async fn answer(
        &self,
        head: &Parts,
        body: RequestBody,
    ) -> Option<(Response<Answer>, HeaderValue)> {
        let mut answering = pin!(self.answering.answer(head, body));
        poll_fn(|context| {
            if let Poll::Ready(response) = answering.as_mut().poll(context) {
                return Poll::Ready(Some(response));
            }
            match self.activity().order(context) == Order::Close || self.has_left(context) {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the client sends nothing more. It is looked at without taking what it sends.
    fn has_left(&self, context: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let peeked = self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte));
        matches!(peeked, Poll::Ready(Ok(0) | Err(_)))
    }

    async fn write(&mut self, response: Response<Answer>, id: &HeaderValue) -> Option<()> {
        if self.is_another() {
            let_others_go_first().await;
        }
        let (head, mut body) = response.into_parts();
        // Handlers' answers are complete, so that their length is known; others end with the connection.
        let length = body.size_hint().exact();
        let last = length.is_none() || self.activity().is_finishing();
        reply::head(&head, id, length, last, &mut self.output);
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let Ok(data) = frame.ok()?.into_data() else { continue };
            self.output.extend_from_slice(&data);
            if self.output.len() >= WRITE {
                self.flush().await?;
            }
        }
        self.flush().await?;
        // No connection keeps what only a large answer needs.
        self.output.shrink_to(READ);
        (!last).then_some(())
    }

    /// Whether the last answer that was made on this thread was another connection's: with one that is
    /// served alone, there is nobody to wait for, and waiting would wake other threads.
    fn is_another(&self) -> bool {
        thread_local! {
            static LAST: Cell<usize> = const { Cell::new(0) };
        }
        let this = std::ptr::from_ref(self.activity()).addr();
        LAST.replace(this) != this
    }

    async fn flush(&mut self) -> Option<()> {
        let mut written = 0;
        let flushed = poll_fn(|context| self.poll_write(&mut written, context)).await;
        self.output.clear();
        flushed
    }

    fn poll_write(&self, written: &mut usize, context: &mut Context<'_>) -> Poll<Option<()>> {
        while *written < self.output.len() {
            match self.stream.try_write(&self.output[*written..]) {
                Ok(0) => return Poll::Ready(None),
                Ok(bytes) => {
                    self.activity().wrote();
                    *written += bytes;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.activity().order(context) == Order::Close {
                        return Poll::Ready(None);
                    }
                    if ready!(self.stream.poll_write_ready(context)).is_err() {
                        return Poll::Ready(None);
                    }
                }
                Err(_) => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(()))
    }
}

/// Lets the connections that have something to do now do it first. Answers that are written one right
/// after the other wake a client with many connections once, and to wake a sleeping one takes the
/// kernel longer than all that is done here for its request.
async fn let_others_go_first() {
    let mut went = false;
    poll_fn(|context| {
        if std::mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        // Not `yield_now`, which waits until the runtime has asked the kernel for what is new.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
