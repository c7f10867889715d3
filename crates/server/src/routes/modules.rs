//! Registered modules: `/v1/modules` and below.

mod description;
pub(crate) mod download;
pub(crate) mod request;

use axum::extract::State;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::Problem;
use crate::reply::{self, Handled};
pub(crate) use description::{Description, Export, Summary};
use request::{ListRequest, RegisterBody, read_registration};

pub(crate) use download::{get_wasm, get_wat};
pub(crate) use request::{RegisterModule, Segment};

/// One page of what is registered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModuleList {
    /// In the order of their names; unnamed ones in the order of their digests.
    modules: Vec<Summary>,
    /// What to give as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// List registered modules
#[utoipa::path(
    get, path = "/v1/modules", tag = "modules",
    params(
        ("prefix" = Option<String>, Query, description = "Only names that begin with this"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000,
            description = "How many a page, 100 if nothing is said"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("unnamed" = Option<bool>, Query, description = "List those without a name instead"),
    ),
    responses((status = 200, description = "A page", body = ModuleList)),
)]
pub(crate) async fn list_modules(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    ListRequest(query): ListRequest,
) -> Handled {
    accepts(&headers, &["application/json"])?;
    let page = caller.exec(&app).list(query).await?;
    let modules = page.modules.into_iter().map(Summary::from).collect();
    Ok(reply::json(StatusCode::OK, &ModuleList { modules, next_cursor: page.next }))
}

/// Describe a module
#[utoipa::path(
    get, path = "/v1/modules/{module}", tag = "modules",
    params(("module" = String, Path, description = "A name or a module digest")),
    responses((status = 200, description = "What it exports and imports", body = Description)),
)]
pub(crate) async fn get_module(
    State(app): State<App>,
    caller: Caller,
    Segment(module): Segment,
    headers: HeaderMap,
) -> Handled {
    accepts(&headers, &["application/json"])?;
    let description = caller.exec(&app).describe(&module).await?;
    Ok(reply::json(StatusCode::OK, &Description::from(description)))
}

/// Register a module under a name
#[utoipa::path(
    put, path = "/v1/modules/{module}", tag = "modules",
    params(
        ("module" = String, Path, description = "The name, taken literally: `[namespace:]label[@version]`"),
        ("link" = Option<Vec<String>>, Query,
            description = "`IMPORT=MODULE`, repeatable: what satisfies the imports from IMPORT"),
    ),
    request_body(
        content((RegisterModule<'static> = "application/json"),
            (Vec<u8> = "application/wasm"), (String = "text/wat")),
    ),
    responses(
        (status = 201, description = "It is registered", body = Description),
        (status = 200, description = "The same was registered already", body = Description),
    ),
)]
pub(crate) async fn put_module(
    State(app): State<App>,
    caller: Caller,
    Segment(name): Segment,
    body: RegisterBody,
) -> Handled {
    register(&app, &caller, Some(&name), body).await
}

/// Register a module without a name
#[utoipa::path(
    post, path = "/v1/modules", tag = "modules",
    params(("link" = Option<Vec<String>>, Query,
        description = "`IMPORT=MODULE`, repeatable: what satisfies the imports from IMPORT")),
    request_body(
        content((RegisterModule<'static> = "application/json"),
            (Vec<u8> = "application/wasm"), (String = "text/wat")),
    ),
    responses(
        (status = 201, description = "It is registered", body = Description),
        (status = 200, description = "The same was registered already", body = Description),
    ),
)]
pub(crate) async fn post_module(
    State(app): State<App>,
    caller: Caller,
    body: RegisterBody,
) -> Handled {
    register(&app, &caller, None, body).await
}

async fn register(app: &App, caller: &Caller, name: Option<&str>, body: RegisterBody) -> Handled {
    accepts(&body.head.headers, &["application/json"])?;
    caller.may_register(name)?;
    let (wasm, links) = read_registration(app, body).await?;
    let links = wasm_exec::Links::Named(links);
    let registered = caller.exec(app).register(name, wasm, links, caller.client()).await?;
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    let description = Description::from(registered.module);
    let mut reply = reply::json(status, &description);
    if registered.created {
        let location = format!("/v1/modules/{}", name.unwrap_or(description.digest()));
        // Names and digests have no characters that a header could not hold.
        if let Ok(location) = HeaderValue::from_str(&location) {
            reply.headers_mut().insert(header::LOCATION, location);
        }
    }
    Ok(reply)
}

/// Delete a name, or by its digest an unnamed registration
#[utoipa::path(
    delete, path = "/v1/modules/{module}", tag = "modules",
    params(("module" = String, Path, description = "A name, taken literally, or a module digest")),
    responses((status = 204, description = "It is gone; what others link to stays")),
)]
pub(crate) async fn delete_module(
    State(app): State<App>,
    caller: Caller,
    Segment(module): Segment,
) -> Result<reply::Reply, Problem> {
    caller.may_delete(&module)?;
    caller.exec(&app).delete(&module).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
