//! One connection: its protocol, and how it ends.

mod activity;
mod simple;
mod watched;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub(crate) use activity::{Activity, Order, Phase, Running, Sending, Snapshot};

use crate::answer::Answer;
use crate::client::Client;
use crate::connections::Admitted;
use crate::serve::{REQUEST_ID, RequestBody, Service};
use crate::tls::ALPN_HTTP2;
use watched::Watched;

/// How many requests one HTTP/2 connection may have open.
const HTTP2_STREAMS: u32 = 128;

/// The most bytes of a request's head, over HTTP/1 and HTTP/2.
const HEAD_BYTES: usize = 64 << 10;

/// How much of an HTTP/2 connection's requests, and of one request, is taken before it is asked for,
/// and how much of an answer before it is taken, in bytes.
const HTTP2_WINDOW: u32 = 256 << 10;

/// About what a connection takes at most, in bytes, besides bodies and answers that are counted. Over
/// HTTP/1 that is a head, what is copied of an answer before it is written, and a small body or answer;
/// over HTTP/2 a window of what was sent, and for each stream its state, a task and a small answer.
pub(crate) const CONNECTION_BYTES: u64 =
    HTTP2_WINDOW as u64 + HTTP2_STREAMS as u64 * HTTP2_STREAM_BYTES;

/// About what a stream of HTTP/2 takes at most, in bytes.
const HTTP2_STREAM_BYTES: u64 = 8 << 10;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    /// HTTP/2 by how it begins, of which there may be too little yet to be sure.
    Detect,
}

/// Serves a connection until the client ends it, or the server by its [`Activity`].
pub(crate) async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: Service,
    admitted: &Admitted,
) {
    // Answers are written at once, so there is nothing that waiting for more could join.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no delay could not be set");
    }
    let activity = Arc::clone(&admitted.activity);
    let answering = Answering { service, activity, client: admitted.client.clone() };
    match tls {
        None => serve_plain(stream, answering).await,
        // Boxed, so that connections without TLS have no room for its state.
        Some(tls) => Box::pin(serve_tls(stream, tls, answering)).await,
    }
}

async fn serve_plain(mut stream: TcpStream, answering: Answering) {
    let Some(rest) = simple::serve(&mut stream, &answering).await else { return };
    let protocol = match rest.is_first && could_be_http2(&rest.read) {
        true => Protocol::Detect,
        false => Protocol::Http1,
    };
    let stream = Watched::new(stream, Arc::clone(&answering.activity)).after(rest.read);
    // Boxed, so that connections with simple requests have no room for its state.
    let serving: BoxFuture<'_, ()> = Box::pin(serve_http(stream, protocol, answering));
    serving.await;
}

async fn serve_tls(stream: TcpStream, tls: TlsAcceptor, answering: Answering) {
    let activity = &answering.activity;
    activity.begin_handshake();
    let accepted = tokio::select! {
        biased;
        accepted = tls.accept(Watched::new(stream, Arc::clone(activity))) => accepted,
        () = activity.ordered() => return,
    };
    activity.end_handshake();
    let stream = match accepted {
        Ok(stream) => stream,
        // Somebody who speaks something else, or does not trust the certificate.
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
    };
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_HTTP2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    serve_http(stream, protocol, answering).await;
}

/// Answers the requests of a connection.
async fn serve_http<S>(stream: S, protocol: Protocol, answering: Answering)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let answering = Arc::new(answering);
    let activity = &answering.activity;
    let service = service_fn({
        let answering = Arc::clone(&answering);
        move |request: Request<Incoming>| {
            let answering = Arc::clone(&answering);
            async move {
                let (head, body) = request.into_parts();
                let (mut response, id) = answering.answer(&head, Either::Right(body)).await;
                response.headers_mut().insert(REQUEST_ID, id);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let ended = if protocol == Protocol::Http1 {
        // One write for head and body costs the kernel less than one of two pieces.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            .writev(false)
            .serve_connection(io, service);
        until_ordered(connection, activity).await.map_err(Into::into)
    } else {
        let builder = http2_builder(protocol);
        let connection = builder.serve_connection(io, service).into_owned();
        // Boxed, so that connections that speak HTTP/1 have no room for its state and code.
        let ending: BoxFuture<'_, _> = Box::pin(until_ordered(connection, activity));
        ending.await
    };
    // A broken connection is the client's affair.
    if let Err(error) = ended {
        tracing::debug!(error = &*error as &dyn std::error::Error, "a connection ended");
    }
}

/// A builder for what is, or could be, HTTP/2.
fn http2_builder(protocol: Protocol) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_BYTES).writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_connection_window_size(HTTP2_WINDOW)
        .initial_stream_window_size(HTTP2_WINDOW)
        .max_send_buf_size(HTTP2_WINDOW as usize);
    match protocol {
        Protocol::Http2 => builder.http2_only(),
        Protocol::Http1 | Protocol::Detect => builder,
    }
}

/// What answers a connection's requests.
struct Answering {
    service: Service,
    activity: Arc<Activity>,
    client: Option<Arc<Client>>,
}

impl Answering {
    /// Answers a request, and says its id.
    async fn answer(&self, head: &Parts, body: RequestBody) -> (Response<Answer>, HeaderValue) {
        let _running = Activity::begin(&*self.activity);
        let answering = self.service.answer(head, body, &self.activity, self.client.as_ref());
        let (response, id) = answering.await;
        (response.map(|answer| answer.sent_on(&self.activity)), id)
    }
}

/// Whether a connection that begins so could speak HTTP/2.
fn could_be_http2(first: &[u8]) -> bool {
    let length = first.len().min(HTTP2_PREFACE.len());
    HTTP2_PREFACE[..length] == first[..length]
}

/// Drives a connection to its end, as it is ordered.
async fn until_ordered<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    std::future::poll_fn(|context| {
        match activity.order(context) {
            Order::Serve => {}
            Order::Finish => connection.as_mut().graceful_shutdown(),
            Order::Close => return Poll::Ready(Ok(())),
        }
        connection.as_mut().poll(context)
    })
    .await
}
