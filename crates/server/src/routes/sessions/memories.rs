//! Exported memories of a session's instances, as raw bytes.

use axum::body::Body;
use axum::extract::{Request, State};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use wasm_exec::{MemoryPart, mapped};

use super::request::{Owned, Query, Segments};
use crate::app::App;
use crate::body::{self, ContentType};
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A memory of an instance.
struct Place<'a> {
    id: &'a str,
    instance: &'a str,
    memory: &'a str,
}

/// Bytes of an exported memory
#[utoipa::path(
    get, path = "/v1/sessions/{id}/instances/{name}/memories/{memory}", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("memory" = String, Path, description = "An exported memory"),
        ("offset" = Option<u64>, Query, description = "Where to begin, 0 if nothing is said"),
        ("length" = Option<u64>, Query, description = "How many bytes, up to its end if nothing is said"),
    ),
    responses((status = 200, description = "The bytes",
        body = Vec<u8>, content_type = "application/octet-stream")),
)]
pub(crate) async fn get_memory(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance, memory]): Segments<3>,
    uri: Uri,
    headers: HeaderMap,
) -> Handled {
    let query = Query::read(uri.query(), &["offset", "length"])?;
    let place = Place { id: &id, instance: &instance, memory: &memory };
    get(&app, &caller, place, query, &headers).await
}

/// Bytes of an exported memory, whatever it is called
#[utoipa::path(
    get, path = "/v1/sessions/{id}/instances/{name}/memories", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("name" = String, Query, description = "An exported memory"),
        ("offset" = Option<u64>, Query, description = "Where to begin, 0 if nothing is said"),
        ("length" = Option<u64>, Query, description = "How many bytes, up to its end if nothing is said"),
    ),
    responses((status = 200, description = "The bytes",
        body = Vec<u8>, content_type = "application/octet-stream")),
)]
pub(crate) async fn get_memory_by_query(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance]): Segments<2>,
    uri: Uri,
    headers: HeaderMap,
) -> Handled {
    let mut query = Query::read(uri.query(), &["name", "offset", "length"])?;
    let memory = query.required("name")?;
    let place = Place { id: &id, instance: &instance, memory: &memory };
    get(&app, &caller, place, query, &headers).await
}

/// Write bytes into an exported memory
#[utoipa::path(
    put, path = "/v1/sessions/{id}/instances/{name}/memories/{memory}", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("memory" = String, Path, description = "An exported memory"),
        ("offset" = Option<u64>, Query, description = "Where to begin, 0 if nothing is said"),
        ("length" = Option<u64>, Query, description = "How many bytes the body has, to be checked"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204, description = "All of them are written")),
)]
pub(crate) async fn put_memory(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance, memory]): Segments<3>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    let query = Query::read(head.uri.query(), &["offset", "length"])?;
    let place = Place { id: &id, instance: &instance, memory: &memory };
    put(&app, &caller, place, query, (&head, body)).await
}

/// Write bytes into an exported memory, whatever it is called
#[utoipa::path(
    put, path = "/v1/sessions/{id}/instances/{name}/memories", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("name" = String, Query, description = "An exported memory"),
        ("offset" = Option<u64>, Query, description = "Where to begin, 0 if nothing is said"),
        ("length" = Option<u64>, Query, description = "How many bytes the body has, to be checked"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204, description = "All of them are written")),
)]
pub(crate) async fn put_memory_by_query(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance]): Segments<2>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    let mut query = Query::read(head.uri.query(), &["name", "offset", "length"])?;
    let memory = query.required("name")?;
    let place = Place { id: &id, instance: &instance, memory: &memory };
    put(&app, &caller, place, query, (&head, body)).await
}

async fn get(
    app: &App,
    caller: &Caller,
    place: Place<'_>,
    mut query: Query,
    headers: &HeaderMap,
) -> Handled {
    accepts(headers, &["application/octet-stream"])?;
    let (offset, length) = (query.number("offset")?.unwrap_or(0), query.number("length")?);
    let owned = Owned::new(caller, place.id);
    let part = MemoryPart { instance: place.instance, memory: place.memory, offset };
    let answers = app.clone();
    let copy = move |bytes: &[u8]| {
        // Before they are copied: many who read at once would have copies of much.
        let room = answers.answers.reserve(bytes.len() as u64)?;
        Some((mapped::copy(bytes).ok()?, room))
    };
    let exec = caller.exec(app);
    let (bytes, room) = exec.read_session_memory(owned.session(), part, length, copy).await?;
    let mut reply = reply::content(BYTES, bytes);
    reply.extensions_mut().insert(room);
    Ok(reply)
}

async fn put(
    app: &App,
    caller: &Caller,
    place: Place<'_>,
    mut query: Query,
    (head, body): (&Parts, Body),
) -> Handled {
    let (offset, length) = (query.number("offset")?.unwrap_or(0), query.number("length")?);
    if !matches!(ContentType::of(&head.headers), ContentType::Bytes) {
        return Err(body::unsupported(&head.headers, "application/octet-stream"));
    }
    let body = app.read(&head.headers, body).await?;
    let found = body.bytes.len() as u64;
    if length.is_some_and(|length| length != found) {
        let detail = format!("query: length: the body has {found} bytes");
        return Err(Problem::new(Code::InvalidMemoryRange, detail));
    }
    let owned = Owned::new(caller, place.id);
    let part = MemoryPart { instance: place.instance, memory: place.memory, offset };
    caller.exec(app).write_session_memory(owned.session(), part, body).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
