//! Errors as clients see them: RFC 9457 problem details.
//!
//! The domain's errors know no HTTP. One exhaustive match here ([`mapping`]) gives each its code,
//! and with it its status; what the client reads and what the log gets are separate.

mod code;
mod mapping;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub use code::Code;

use crate::reply::{self, Reply};

/// Who is refused for lack of room may try again after one second, two, or so many: those that are
/// refused in the same moment do not all come back in the same moment.
const RETRY_SECONDS: u64 = 3;

/// How many bytes of detail a client gets: names that are repeated in it may have megabytes.
const MAXIMUM_DETAIL: usize = 2048;

/// What happened, for the log: an extension of the response.
#[derive(Clone, Debug)]
pub(crate) struct Cause(pub(crate) String);

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: String,
    members: Map<String, Value>,
    /// What was read from memories: JSON that may be large, so it is not parsed again.
    memory: Option<Box<RawValue>>,
    /// When to try again, for those that a status tells to.
    retry_after: Option<Duration>,
    /// The methods that a resource has, for one that lacks a method others of its kind have.
    allow: Option<&'static str>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<&'a RawValue>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAXIMUM_DETAIL {
            detail.truncate(detail.floor_char_boundary(MAXIMUM_DETAIL));
            detail.push('…');
        }
        let members = Map::new();
        Self { code, detail, members, memory: None, retry_after: None, allow: None, cause: None }
    }

    /// The same as the answer to a call, which says how the call ended.
    pub(crate) fn with_outcome(self) -> Self {
        let outcome = self.code.as_str();
        self.with("outcome", outcome)
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

    /// Adds what was read from memories.
    pub(crate) fn with_memory(mut self, memory: Box<RawValue>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Says after how long it is worth trying again.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Says which methods there are.
    pub(crate) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
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

    /// Appends it as the answer to a line of a batch, and gives what is for the log.
    pub(crate) fn write_line(self, line: u64, text: &mut Vec<u8>) -> Option<String> {
        let mut problem = self.with_outcome().with("line", line);
        if problem.is_temporary() {
            // Of a whole request, a header says so.
            let seconds = problem.retry_seconds();
            problem = problem.with("retry_after", seconds);
        }
        // Types with string keys do not fail to serialize into memory.
        let _ = serde_json::to_writer(&mut *text, &problem.body(&problem.path()));
        text.push(b'\n');
        problem.cause.map(|cause| chain(&*cause))
    }

    /// Whether the same may succeed later.
    fn is_temporary(&self) -> bool {
        let status = self.code.status();
        matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }

    /// After how many seconds to try again.
    fn retry_seconds(&self) -> u64 {
        self.retry_after.map_or_else(next_retry_seconds, whole_seconds)
    }

    /// Where the code is explained.
    fn path(&self) -> String {
        format!("/problems/{}", self.code.as_str())
    }

    fn body<'a>(&'a self, path: &'a str) -> Body<'a> {
        Body {
            r#type: path,
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            members: &self.members,
            memory: self.memory.as_deref(),
        }
    }

    /// The response, with what the log is to say of it as extensions.
    pub(crate) fn into_reply(self) -> Reply {
        let mut reply = reply::json(self.code.status(), &self.body(&self.path()));
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.is_temporary() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_seconds()));
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == Code::UnsupportedMediaType {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        reply.extensions_mut().insert(self.code);
        if let Some(cause) = self.cause {
            reply.extensions_mut().insert(Cause(chain(&*cause)));
        }
        reply
    }
}

/// After how many seconds the next that is refused for lack of room may try again: in turns.
fn next_retry_seconds() -> u64 {
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    1 + REFUSED.fetch_add(1, Ordering::Relaxed) % RETRY_SECONDS
}

/// A time in whole seconds, not less than it is, and at least one.
fn whole_seconds(time: Duration) -> u64 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    seconds.max(1)
}

/// An error and its sources, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.into_reply().into_response()
    }
}
