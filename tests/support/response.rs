//! Responses, and what tests say of them.

use std::fmt::Debug;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// A response, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// A header's value, if the header is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("the header is text"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("the body is text")
    }

    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn has_status(self, expected: u16) -> Self {
        assert_eq!(self.status, expected, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn has_header(self, name: &str, expected: &str) -> Self {
        assert_eq!(self.header(name), Some(expected), "{name} in {self:?}");
        self
    }

    /// 200 and JSON that has all of `expected`.
    #[track_caller]
    pub(crate) fn ok(self, expected: Value) -> Value {
        let body = self.has_status(200).has_header("content-type", "application/json").value();
        assert_contains(&body, &expected);
        body
    }

    /// 201 and a description; gives it.
    #[track_caller]
    pub(crate) fn created(self) -> Value {
        self.has_status(201).has_header("content-type", "application/json").value()
    }

    /// 200 and this very JSON.
    #[track_caller]
    pub(crate) fn answers(self, expected: Value) {
        let response = self.has_status(200).has_header("content-type", "application/json");
        assert_eq!(response.value(), expected);
    }

    /// 204 and nothing.
    #[track_caller]
    pub(crate) fn no_content(self) {
        assert_eq!(self.has_status(204).body, "");
    }

    /// A problem, complete, of this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Problem {
        let response = self.has_status(status);
        let response = response.has_header("content-type", "application/problem+json");
        assert!(response.header("x-request-id").is_some(), "{response:?}");
        let body = response.value();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["type"], format!("/problems/{code}"), "{body}");
        assert_eq!(body["status"], status, "{body}");
        for member in ["title", "detail"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
        Problem { headers: response.headers, body }
    }
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Problem {
    pub(crate) fn detail(&self) -> &str {
        self.body["detail"].as_str().expect("a problem has a detail")
    }

    /// The detail has all of these somewhere.
    #[track_caller]
    pub(crate) fn says(self, pieces: &[&str]) -> Self {
        for piece in pieces {
            assert!(self.detail().contains(piece), "{piece:?} is not in {:?}", self.detail());
        }
        self
    }

    /// The problem has all of these members.
    #[track_caller]
    pub(crate) fn has(self, expected: Value) -> Self {
        assert_contains(&self.body, &expected);
        self
    }

    #[track_caller]
    pub(crate) fn has_not(self, member: &str) -> Self {
        assert!(self.body.get(member).is_none(), "{member} in {}", self.body);
        self
    }

    #[track_caller]
    pub(crate) fn has_header(self, name: &str, expected: &str) -> Self {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(value, Some(expected), "{name} in {:?}", self.headers);
        self
    }

    /// It may be tried again after a second, two or three, as whatever is refused for lack of room.
    #[track_caller]
    pub(crate) fn may_come_again(self) -> Self {
        let value = self.headers.get("retry-after").map(|value| value.to_str().unwrap());
        assert!(matches!(value, Some("1" | "2" | "3")), "{:?}", self.headers);
        self
    }
}

/// Whether `actual` has all that `expected` has: of objects, members that are not expected do not
/// matter; everything else is equal.
#[track_caller]
pub(crate) fn assert_contains(actual: &Value, expected: &Value) {
    if let Some(path) = difference(actual, expected) {
        panic!("at {path:?}, expected {expected} in {actual}");
    }
}

/// Where `actual` lacks something.
fn difference(actual: &Value, expected: &Value) -> Option<String> {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().find_map(|(name, expected)| {
                let found = actual.get(name);
                let inner = found.map_or(Some(String::new()), |found| difference(found, expected));
                inner.map(|path| format!("/{name}{path}"))
            })
        }
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            let mut pairs = actual.iter().zip(expected).enumerate();
            pairs.find_map(|(index, (actual, expected))| {
                difference(actual, expected).map(|path| format!("/{index}{path}"))
            })
        }
        _ => (actual != expected).then(String::new),
    }
}
