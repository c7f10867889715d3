//! Responses: complete in memory, so that a handler's answer is one allocation and one write.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

use crate::problem::Problem;

/// A handler's answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// What a handler returns.
pub(crate) type Handled = Result<Reply, Problem>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer of any type.
pub(crate) fn content(content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut reply = content(JSON, body);
            *reply.status_mut() = status;
            reply
        }
        // Only a map with keys that are no strings could fail, and no type here has one.
        Err(error) => {
            Problem::new(crate::Code::Internal, "internal error").because(error).into_reply()
        }
    }
}

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}
