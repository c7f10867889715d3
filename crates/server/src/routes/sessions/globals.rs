//! Exported globals of a session's instances.

use axum::extract::{Request, State};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wasm_exec::{Failure, FailureKind, GlobalReport};

use super::request::{Owned, Query, Segments, read};
use crate::app::App;
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled};

/// A global's type and value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Global<'a> {
    /// In the syntax of the text format.
    r#type: String,
    #[schema(value_type = Object)]
    value: &'a RawValue,
}

/// A global's new value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutGlobal<'a> {
    /// One value of the global's type.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    value: &'a RawValue,
}

/// A global of an instance.
struct Place<'a> {
    id: &'a str,
    instance: &'a str,
    global: &'a str,
}

/// The value of an exported global
#[utoipa::path(
    get, path = "/v1/sessions/{id}/instances/{name}/globals/{global}", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("global" = String, Path, description = "An exported global"),
    ),
    responses((status = 200, description = "Its type and value", body = Global<'static>)),
)]
pub(crate) async fn get_global(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance, global]): Segments<3>,
    uri: Uri,
    headers: HeaderMap,
) -> Handled {
    Query::read(uri.query(), &[])?;
    let place = Place { id: &id, instance: &instance, global: &global };
    get(&app, &caller, place, &headers).await
}

/// The value of an exported global, whatever it is called
#[utoipa::path(
    get, path = "/v1/sessions/{id}/instances/{name}/globals", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("name" = String, Query, description = "An exported global"),
    ),
    responses((status = 200, description = "Its type and value", body = Global<'static>)),
)]
pub(crate) async fn get_global_by_query(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance]): Segments<2>,
    uri: Uri,
    headers: HeaderMap,
) -> Handled {
    let global = Query::read(uri.query(), &["name"])?.required("name")?;
    let place = Place { id: &id, instance: &instance, global: &global };
    get(&app, &caller, place, &headers).await
}

/// Set an exported global
#[utoipa::path(
    put, path = "/v1/sessions/{id}/instances/{name}/globals/{global}", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("global" = String, Path, description = "An exported global that is mutable"),
    ),
    request_body = PutGlobal<'static>,
    responses((status = 200, description = "Its type and new value", body = Global<'static>)),
)]
pub(crate) async fn put_global(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance, global]): Segments<3>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    Query::read(head.uri.query(), &[])?;
    let place = Place { id: &id, instance: &instance, global: &global };
    put(&app, &caller, place, &head, body).await
}

/// Set an exported global, whatever it is called
#[utoipa::path(
    put, path = "/v1/sessions/{id}/instances/{name}/globals", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("name" = String, Query, description = "An exported global that is mutable"),
    ),
    request_body = PutGlobal<'static>,
    responses((status = 200, description = "Its type and new value", body = Global<'static>)),
)]
pub(crate) async fn put_global_by_query(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance]): Segments<2>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    let global = Query::read(head.uri.query(), &["name"])?.required("name")?;
    let place = Place { id: &id, instance: &instance, global: &global };
    put(&app, &caller, place, &head, body).await
}

async fn get(app: &App, caller: &Caller, place: Place<'_>, headers: &HeaderMap) -> Handled {
    accepts(headers, &["application/json"])?;
    let owned = Owned::new(caller, place.id);
    let exec = caller.exec(app);
    answer(exec.session_global(owned.session(), place.instance, place.global).await?)
}

async fn put(
    app: &App,
    caller: &Caller,
    place: Place<'_>,
    head: &Parts,
    body: axum::body::Body,
) -> Handled {
    accepts(&head.headers, &["application/json"])?;
    let body = app.read(&head.headers, body).await?;
    let PutGlobal { value } = read(&head.headers, &body.bytes)?;
    let owned = Owned::new(caller, place.id);
    let exec = caller.exec(app);
    let set = exec.set_session_global(owned.session(), place.instance, place.global, value).await?;
    answer(set)
}

fn answer(global: Result<GlobalReport, Failure>) -> Handled {
    let global = global.map_err(|failure| {
        let code = match failure.kind {
            FailureKind::OutputLimit => Code::OutputLimit,
            // There is no room for the value.
            _ => Code::MemoryLimit,
        };
        Problem::new(code, failure.detail)
    })?;
    let value = RawValue::from_string(global.value)
        .map_err(|error| Problem::new(Code::Internal, "internal error").because(error))?;
    Ok(reply::json(StatusCode::OK, &Global { r#type: global.ty, value: &value }))
}
