//! Batches, spoken to line by line.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::PATIENCE;
use super::server::Server;

/// A body that is given while it is sent.
#[derive(Debug)]
struct Upload(mpsc::Receiver<Bytes>);

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What is sent of a batch.
#[derive(Debug)]
pub(crate) struct Lines(mpsc::Sender<Bytes>);

impl Lines {
    /// Sends some text. Whether the server still takes it does not matter.
    pub(crate) async fn send(&self, text: impl AsRef<[u8]>) {
        let sending = self.0.send(Bytes::copy_from_slice(text.as_ref()));
        let _ = timeout(PATIENCE, sending).await.expect("the server does not go silent");
    }
}

/// What is answered of a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    response: Response<Incoming>,
    received: Vec<u8>,
}

impl Answers {
    /// The next answer; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an answer is JSON"));
            }
            let frame = timeout(PATIENCE, self.response.frame()).await;
            match frame.expect("the server does not go silent") {
                Some(frame) => {
                    let frame = frame.expect("the answers do not break off");
                    self.received.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                None => {
                    assert_eq!(self.received, b"", "the last answer is whole");
                    return None;
                }
            }
        }
    }

    /// All answers that are still to come.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut answers = Vec::new();
        while let Some(answer) = self.next().await {
            answers.push(answer);
        }
        answers
    }
}

/// The versions of HTTP that batches are sent over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Begins a batch on a connection of its own.
pub(crate) async fn begin(server: &Server, version: Version, path: &str) -> (Lines, Answers) {
    begin_with(server, version, path, |request| request).await
}

/// The same with a key.
pub(crate) async fn begin_with_key(
    server: &Server,
    version: Version,
    path: &str,
    key: &str,
) -> (Lines, Answers) {
    let authorization = format!("Bearer {key}");
    begin_with(server, version, path, |request| request.header("authorization", authorization))
        .await
}

async fn begin_with(
    server: &Server,
    version: Version,
    path: &str,
    change: impl FnOnce(Builder) -> Builder,
) -> (Lines, Answers) {
    let (give, take) = mpsc::channel(1);
    let request = Request::post(format!("http://localhost{path}"))
        .header("host", "localhost")
        .header("content-type", "application/x-ndjson");
    let request = change(request).body(Upload(take)).unwrap();
    let io = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
    let response = match version {
        Version::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        }
        Version::Http2 => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        }
    };
    let response = response.expect("the server answers");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    (Lines(give), Answers { response, received: Vec::new() })
}
