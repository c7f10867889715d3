//! One connection: its protocol, and the watchdog that ends it when nothing happens.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::serve::Service;

/// A connection on which no request begins or runs for this long is closed, and at the latest after
/// twice as long: one that is kept alive for nothing, one that says nothing, one that sends a
/// request's head or takes an answer too slowly. Without it, a thousand silent sockets would hold a
/// thousand tasks for ever.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How many requests one HTTP/2 connection may have open.
const HTTP2_STREAMS: u32 = 256;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection's requests do: counted, so that no timer has to be set for each of them.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request that runs.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Activity);

impl Activity {
    pub(crate) fn begin(&self) -> Running<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Running(self)
    }

    /// Waits until nothing happens for too long.
    async fn silence(&self) {
        let mut checks = tokio::time::interval_at(Instant::now() + IDLE_TIMEOUT, IDLE_TIMEOUT);
        let mut idle_at_last_check = Some(0);
        loop {
            checks.tick().await;
            let idle = self.idle_after();
            if idle.is_some() && idle == idle_at_last_check {
                return;
            }
            idle_at_last_check = idle;
        }
    }

    /// How many requests have begun if none runs.
    fn idle_after(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        (begun == ended).then_some(begun)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves a connection until the client or the server ends it, or the watchdog does.
pub(crate) async fn serve(stream: TcpStream, service: Service, graceful: Weak<GracefulShutdown>) {
    // Answers are written at once, so there is nothing that waiting for more could join.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no delay could not be set");
    }
    let activity = Arc::new(Activity::default());
    let service = service.watched_by(Arc::clone(&activity));
    let watchdog = activity.silence();
    let mut watchdog = pin!(watchdog);
    let first = tokio::select! {
        first = first_bytes(&stream) => first,
        () = &mut watchdog => return,
    };
    // Only now, so that a connection that says nothing keeps no server from shutting down.
    let Some(watcher) = graceful.upgrade().map(|graceful| graceful.watcher()) else { return };
    let ended = if could_be_http2(&first) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        until(watcher.watch(connection), watchdog).await
    } else {
        // One write for head and body costs the kernel less than one of two pieces.
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .writev(false)
            .serve_connection(TokioIo::new(stream), service);
        until(watcher.watch(connection), watchdog).await.map_err(Into::into)
    };
    // A broken connection is the client's affair.
    if let Err(error) = ended {
        tracing::debug!(error = &*error as &dyn std::error::Error, "a connection ended");
    }
}

/// The first bytes of a connection, as many as are there; they stay to be read.
async fn first_bytes(stream: &TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; HTTP2_PREFACE.len()];
    // A connection that breaks here is found broken by whoever serves it.
    let length = stream.peek(&mut bytes).await.unwrap_or_default();
    bytes.truncate(length);
    bytes
}

fn could_be_http2(first: &[u8]) -> bool {
    HTTP2_PREFACE.starts_with(first)
}

/// Waits for the end of a connection, or for the watchdog, which ends it.
async fn until<E>(
    connection: impl Future<Output = Result<(), E>>,
    watchdog: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), E> {
    tokio::select! {
        biased;
        ended = connection => ended,
        () = watchdog => {
            tracing::debug!("an idle connection is closed");
            Ok(())
        }
    }
}
