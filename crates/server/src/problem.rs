//! Errors as clients see them: RFC 9457 problem details.
//!
//! The domain's errors know no HTTP. One exhaustive match here ([`mapping`]) gives each its code,
//! and with it its status; what the client reads and what the log gets are separate.

mod code;
mod mapping;

use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

pub use code::Code;

use crate::reply::{self, Reply};

/// Seconds after which a client may try again what was refused for lack of room.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: String,
    members: Map<String, Value>,
    /// For the log only.
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A problem's members, in the order they are written.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), members: Map::new(), cause: None }
    }

    /// Adds a member that programs can read.
    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a member of any shape.
    pub(crate) fn with_serialized(self, member: &str, value: &impl Serialize) -> Self {
        // Types with string keys do not fail to serialize into memory.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.with(member, value)
    }

    /// Keeps what happened for the log.
    pub(crate) fn because(
        mut self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn invalid_request(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// The response, after telling the log of what is not the client's doing.
    pub(crate) fn into_reply(self) -> Reply {
        let status = self.code.status();
        if status.is_server_error() {
            let cause = self.cause.as_deref().map(tracing::field::display);
            let sources = self.cause.as_deref().map(sources).unwrap_or_default();
            let (code, detail) = (self.code.as_str(), &self.detail);
            tracing::warn!(code, detail, cause, sources, "a request failed");
        }
        let body = Body {
            r#type: &format!("/problems/{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            members: &self.members,
        };
        let mut reply = reply::json(status, &body);
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.code == Code::UnsupportedMediaType {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        reply.extensions_mut().insert(self.code);
        reply
    }
}

fn sources(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.into_reply().into_response()
    }
}
