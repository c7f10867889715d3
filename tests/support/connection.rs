//! A bare connection, for requests that are broken, slow or of a form that HTTP clients refuse.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::response::Response;
use super::server::PATIENCE;

/// One connection, spoken to in bytes.
#[derive(Debug)]
pub(crate) struct Connection<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the server listens"))
    }

    /// From an address of this machine, of which it has a whole network.
    pub(super) async fn open_from(from: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("the address is this machine's");
        Self::over(socket.connect(address).await.expect("the server listens"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    /// Sends where the server may have closed already.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        // What became of it is seen when the response is read.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Says that nothing more is sent.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the connection is there");
    }

    /// The next response.
    pub(crate) async fn response(&mut self) -> Response {
        self.next_response().await.expect("the server answers")
    }

    /// The next response, or `None` if the server closes the connection instead.
    pub(crate) async fn next_response(&mut self) -> Option<Response> {
        let (status, headers) = loop {
            match self.head() {
                Some(head) => break head,
                None if self.receive().await => {}
                None => return None,
            }
        };
        let length = headers.get("content-length").map_or(0, |length| {
            length.to_str().ok().and_then(|length| length.parse().ok()).expect("a length")
        });
        while self.received.len() < length {
            assert!(self.receive().await, "the answer breaks off");
        }
        let body = Bytes::from(self.received.drain(..length).collect::<Vec<_>>());
        Some(Response { status, headers, body })
    }

    /// Takes a head off what was received, if it is whole.
    fn head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        let end = self.received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("the head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        });
        Some((status.parse().unwrap(), headers.collect()))
    }

    /// Reads some more; false at the end.
    async fn receive(&mut self) -> bool {
        let reading = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        // A reset is the server's way to close what it has not read to the end.
        reading.expect("the server does not go silent").is_ok_and(|read| read > 0)
    }
}
