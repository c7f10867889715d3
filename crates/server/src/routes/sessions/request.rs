//! What requests about sessions bring.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path};
use http::HeaderMap;
use http::request::Parts;
use serde::Deserialize;
use wasm_exec::{Error, SessionError, SessionOwner, SessionRef};

use crate::body::{self, ContentType};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::routes::modules::request::{pairs, unknown};

/// The path parameters of a route, decoded, in their order.
#[derive(Debug)]
pub(crate) struct Segments<const N: usize>(pub(crate) [String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for Segments<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<Vec<String>>::from_request_parts(parts, state).await;
        let Path(segments) =
            path.map_err(|rejection| Problem::invalid_request(rejection.body_text()))?;
        // The router has matched as many as the handler names.
        let segments = segments.try_into();
        segments.map(Self).map_err(|_| Problem::invalid_request("the path has other segments"))
    }
}

/// A session, and who asks for it.
#[derive(Debug)]
pub(super) struct Owned<'a> {
    id: &'a str,
    owner: SessionOwner,
}

impl<'a> Owned<'a> {
    pub(super) fn new(caller: &Caller, id: &'a str) -> Self {
        Self { id, owner: caller.session_owner() }
    }

    pub(super) fn session(&self) -> SessionRef<'_> {
        SessionRef { id: self.id, owner: &self.owner }
    }
}

/// Reads a JSON object, or nothing for an empty body.
pub(super) fn read_optional<'a, T>(headers: &HeaderMap, bytes: &'a [u8]) -> Result<T, Problem>
where
    T: Default + Deserialize<'a>,
{
    match bytes.is_empty() {
        true => Ok(T::default()),
        false => read(headers, bytes),
    }
}

/// Reads a JSON object.
pub(super) fn read<'a, T>(headers: &HeaderMap, bytes: &'a [u8]) -> Result<T, Problem>
where
    T: Deserialize<'a>,
{
    match ContentType::of(headers) {
        ContentType::Json => body::json(bytes),
        _ => Err(body::unsupported(headers, "application/json")),
    }
}

/// A query's parameters, each of which may be given once.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query that has no parameters but those that are `known`.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs(query)? {
            if !known.contains(&name.as_str()) {
                let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
                let expected = match &*known {
                    [] => "none".to_owned(),
                    known => known.join(" or "),
                };
                return Err(unknown(&name, &expected));
            }
            if parameters.insert(name.clone(), value).is_some() {
                return Err(Problem::invalid_request(format!("query: {name:?} is given twice")));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter that has to be there.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Problem> {
        let value = self.0.remove(name);
        value.ok_or_else(|| Problem::invalid_request(format!("query: `{name}` is missing")))
    }

    /// A number, if it is there.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => {
                let shown: String = value.chars().take(40).collect();
                let detail = format!("query: {name}: expected a number of bytes, got {shown:?}");
                Err(Problem::invalid_request(detail))
            }
        }
    }
}

/// Whether a session has ended before what was asked of it was done.
pub(super) fn has_ended(error: &Error) -> bool {
    matches!(error, Error::Session(error) if matches!(**error, SessionError::Ended(_)))
}
