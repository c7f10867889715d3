//! What handlers share.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Notify;
use wasm_exec::{Exec, Source};

use crate::access::Access;
use crate::answer::Answers;
use crate::body::{Bodies, Body};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::problem::Problem;

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) exec: Exec,
    pub(crate) bodies: Bodies,
    pub(crate) answers: Answers,
    pub(crate) access: Access,
    /// `None` asks nobody for a key.
    pub(crate) keys: Option<Arc<Keys>>,
    pub(crate) metrics: Metrics,
    shutting_down: AtomicBool,
    /// Told when it is.
    stopping: Notify,
}

impl App {
    pub(crate) fn new(
        exec: Exec,
        bodies: Bodies,
        answers: Answers,
        access: Access,
        keys: Option<Arc<Keys>>,
    ) -> Self {
        let metrics = Metrics::new(exec.network().is_some());
        let (shutting_down, stopping) = (AtomicBool::new(false), Notify::new());
        let inner = Inner { exec, bodies, answers, access, keys, metrics, shutting_down, stopping };
        Self { inner: Arc::new(inner) }
    }

    /// Reads and decompresses a request's body.
    ///
    /// # Errors
    ///
    /// Those of [`Bodies::read`].
    pub(crate) fn read<B>(
        &self,
        headers: &HeaderMap,
        body: B,
    ) -> impl Future<Output = Result<Body, Problem>>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        self.bodies.read(&self.exec, headers, body)
    }

    /// Reads Wasm from one of its notations. What is large has room among the bodies for as long as
    /// there is any of it, whoever holds it.
    ///
    /// # Errors
    ///
    /// When the notation is broken, the Wasm is too large, or there is no room for it.
    pub(crate) async fn decode(&self, source: Source<'_>) -> Result<Bytes, Problem> {
        let has_room = matches!(source, Source::Wasm(_));
        let wasm = self.exec.decode(source).await?;
        if has_room { Ok(wasm) } else { self.bodies.keep(wasm) }
    }

    /// From here on, new requests are refused.
    pub(crate) fn shut_down(&self) {
        self.inner.shutting_down.store(true, Ordering::Relaxed);
        self.inner.stopping.notify_waiters();
    }

    /// Waits until the server shuts down.
    pub(crate) async fn until_shutting_down(&self) {
        let mut told = pin!(self.inner.stopping.notified());
        // First, so that what is told from here on is heard.
        told.as_mut().enable();
        if !self.is_shutting_down() {
            told.await;
        }
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.inner.shutting_down.load(Ordering::Relaxed)
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}
