//! What a web page of an origin that the operator named may do (the Fetch standard, "CORS protocol").
//!
//! All other foreign origins are refused, so nothing is said to them.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::reply::{self, Reply};

/// Whether a browser asks beforehand, without a key, what it may send.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight request, or `None` if it is none.
pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Reply> {
    if !is_preflight(method, headers) {
        return None;
    }
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
    say(ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE");
    say(
        ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, content-encoding, if-none-match, if-range, range, x-request-id",
    );
    say(ACCESS_CONTROL_MAX_AGE, "3600");
    Some(reply)
}

/// Lets a page of `origin` read an answer.
pub(crate) fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "content-range, etag, location, retry-after, www-authenticate, x-request-id",
        ),
    );
    headers.append(VARY, HeaderValue::from_static("origin"));
}
