//! How requests and answers are read and written: in CBOR, with sizes bounded and measured.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncWrite};
use libp2p::request_response::{self, cbor};
use tokio::time;

use crate::protocol::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response};

/// How long a request may take to arrive once its stream is open.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A request, and what it cost to receive it.
#[derive(Debug)]
pub(super) struct Arrival {
    /// `None`: what came is no request, is too long, or took too long. libp2p tells nobody about
    /// those, but whoever sends them has to be known.
    pub(super) request: Option<Request>,
    pub(super) bytes: u64,
}

impl From<Request> for Arrival {
    /// A request of our own, which is sent.
    fn from(request: Request) -> Self {
        Self { request: Some(request), bytes: 0 }
    }
}

/// Reads and writes messages.
#[derive(Clone)]
pub(super) struct Codec(cbor::codec::Codec<Request, Response>);

impl Default for Codec {
    fn default() -> Self {
        let codec = cbor::codec::Codec::default()
            .set_request_size_maximum(MAX_REQUEST_BYTES)
            .set_response_size_maximum(MAX_RESPONSE_BYTES);
        Self(codec)
    }
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Arrival;
    type Response = Response;

    async fn read_request<T>(
        &mut self,
        protocol: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Arrival>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut measured = Measured { stream, bytes: 0 };
        let read = time::timeout(READ_TIMEOUT, self.0.read_request(protocol, &mut measured));
        let request = read.await.ok().and_then(Result::ok);
        Ok(Arrival { request, bytes: measured.bytes })
    }

    async fn read_response<T>(
        &mut self,
        protocol: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.0.read_response(protocol, stream).await
    }

    async fn write_request<T>(
        &mut self,
        protocol: &StreamProtocol,
        stream: &mut T,
        arrival: Arrival,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let request = arrival.request.ok_or(io::ErrorKind::InvalidInput)?;
        self.0.write_request(protocol, stream, request).await
    }

    async fn write_response<T>(
        &mut self,
        protocol: &StreamProtocol,
        stream: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.0.write_response(protocol, stream, response).await
    }
}

/// Counts what is read.
struct Measured<'a, T> {
    stream: &'a mut T,
    bytes: u64,
}

impl<T: AsyncRead + Unpin> AsyncRead for Measured<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(Pin::new(&mut *self.stream).poll_read(context, buffer))?;
        self.bytes += bytes as u64;
        Poll::Ready(Ok(bytes))
    }
}
