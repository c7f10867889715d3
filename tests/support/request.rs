//! Requests, built in one expression and sent by `.await`.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use reqwest::{Body, RequestBuilder};
use serde_json::Value;

use super::response::Response;

/// A request that is not sent yet.
#[derive(Debug)]
#[must_use = "a request is sent by awaiting it"]
pub(crate) struct Request {
    builder: RequestBuilder,
}

impl Request {
    pub(crate) fn new(builder: RequestBuilder) -> Self {
        Self { builder }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value) }
    }

    /// An API key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Waits no longer than so many milliseconds for the answer.
    pub(crate) async fn within(self, milliseconds: u64) -> Option<Response> {
        let patience = Duration::from_millis(milliseconds);
        tokio::time::timeout(patience, self.into_future()).await.ok()
    }

    /// A body that says nothing of what it is.
    pub(crate) fn body(self, body: impl Into<Body>) -> Self {
        Self { builder: self.builder.body(body) }
    }

    /// A body of a content type.
    pub(crate) fn content(self, content_type: &str, body: impl Into<Body>) -> Self {
        self.header("content-type", content_type).body(body)
    }

    pub(crate) fn json(self, value: Value) -> Self {
        self.json_text(value.to_string())
    }

    /// JSON, literally: for what a JSON library would not write.
    pub(crate) fn json_text(self, text: impl Into<Body>) -> Self {
        self.content("application/json", text)
    }

    pub(crate) fn wat(self, text: impl Into<Body>) -> Self {
        self.content("text/wat", text)
    }

    pub(crate) fn wasm(self, bytes: impl Into<Body>) -> Self {
        self.content("application/wasm", bytes)
    }

    /// The same request once more.
    pub(crate) fn again(&self) -> Self {
        Self { builder: self.builder.try_clone().expect("the body is in memory") }
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async {
            let response = self.builder.send().await.expect("the server answers");
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.bytes().await.expect("the answer is whole");
            Response { status, headers, body }
        })
    }
}
