//! What requests about modules bring: path segments, queries, Wasm in three content types.

use std::collections::HashSet;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use utoipa::ToSchema;
use wasm_exec::{ListQuery, MAX_PAGE, Source};

use crate::app::App;
use crate::body::{self, ContentType};
use crate::problem::Problem;
use crate::routes::source::{LinkMap, MAXIMUM_LINKS, Text, exactly_one};

/// The one path parameter of a route, decoded.
#[derive(Debug)]
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(Problem::invalid_request(rejection.body_text())),
        }
    }
}

/// The query of a listing.
#[derive(Debug)]
pub(crate) struct ListRequest(pub(crate) ListQuery);

impl<S: Send + Sync> FromRequestParts<S> for ListRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut query = ListQuery::default();
        let mut seen = HashSet::new();
        for (name, value) in pairs(parts.uri.query())? {
            if !seen.insert(name.clone()) {
                return Err(Problem::invalid_request(format!("query: {name:?} is given twice")));
            }
            match name.as_str() {
                "prefix" => query.prefix = value,
                "cursor" => query.after = Some(value),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                    query.limit = limit.ok_or_else(|| {
                        Problem::invalid_request(format!(
                            "query: limit: expected 1 to {MAX_PAGE}, got {value:?}"
                        ))
                    })?;
                }
                "unnamed" => {
                    query.unnamed = value.parse().map_err(|_| {
                        Problem::invalid_request(format!(
                            "query: unnamed: expected true or false, got {value:?}"
                        ))
                    })?;
                }
                other => {
                    return Err(unknown(other, "`prefix`, `limit`, `cursor` or `unnamed`"));
                }
            }
        }
        Ok(Self(query))
    }
}

/// A request to register, not read yet.
#[derive(Debug)]
pub(crate) struct RegisterBody {
    pub(crate) head: Parts,
    body: Body,
}

impl<S: Send + Sync> FromRequest<S> for RegisterBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        Ok(Self { head, body })
    }
}

/// Wasm and its links. Exactly one of `wasm_hex`, `wasm_base64` and `wat` is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterModule<'a> {
    /// The Wasm as hex digits.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wasm_hex: Option<Text<'a>>,
    /// The Wasm as base64.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wasm_base64: Option<Text<'a>>,
    /// The Wasm in the text format.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wat: Option<Text<'a>>,
    /// Import module → name or digest of a registered module.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    links: LinkMap,
}

/// Reads Wasm and links in any of the three content types.
pub(super) async fn read_registration(
    app: &App,
    RegisterBody { head, body }: RegisterBody,
) -> Result<(Bytes, Vec<(String, String)>), Problem> {
    let mut links = Vec::new();
    for (name, value) in pairs(head.uri.query())? {
        if name != "link" {
            return Err(unknown(&name, "`link`"));
        }
        let (import, module) = value.rsplit_once('=').ok_or_else(|| {
            let detail = format!("query: link: expected IMPORT=MODULE, got {value:?}");
            Problem::invalid_request(detail)
        })?;
        links.push((import.to_owned(), module.to_owned()));
    }
    let content_type = ContentType::of(&head.headers);
    if !matches!(content_type, ContentType::Json | ContentType::Wasm | ContentType::Wat) {
        let accepted = "application/wasm, text/wat or application/json";
        return Err(body::unsupported(&head.headers, accepted));
    }
    let body = app.read(&head.headers, body).await?;
    let wasm = match content_type {
        ContentType::Wasm => app.decode(Source::Wasm(body.into_bytes())).await?,
        ContentType::Wat => {
            let wat = str::from_utf8(&body.bytes).map_err(|error| {
                Problem::invalid_request(format!("the text is not UTF-8: {error}"))
            })?;
            app.decode(Source::Wat(wat)).await?
        }
        _ => {
            let request: RegisterModule<'_> = body::json(&body.bytes)?;
            let source = exactly_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
            links.extend(request.links.0);
            app.decode(source).await?
        }
    };
    Ok((wasm, links))
}

/// The problem of a query that has a parameter of this name.
pub(crate) fn unknown(name: &str, expected: &str) -> Problem {
    Problem::invalid_request(format!("query: unknown parameter {name:?}, expected {expected}"))
}

/// A query's parameters, in order.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAXIMUM_LINKS {
            return Err(Problem::invalid_request("query: too many parameters"));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Problem::invalid_request("query: not UTF-8 once percent signs are decoded")),
    }
}
