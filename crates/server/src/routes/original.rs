//! The original three routes: `POST /`, `POST /register`, `POST /execute`.
//!
//! Bodies are JSON whatever curl says of them by default; answers are tagged values and plain text.

use axum::extract::{Request, State};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wasm_exec::{Call, Links, RequestedLimits, Style, Target};

use super::call::{failed, run};
use super::source::{Text, exactly_one, short_list};
use crate::app::App;
use crate::body::{self, ContentType};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::reply::{self, Handled};

/// Wasm, and a function of it to call. Exactly one of `wasm_hex`, `wasm_base64` and `wat` is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRequest<'a> {
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
    /// The exported function.
    #[serde(borrow)]
    #[schema(value_type = String)]
    function_name: Text<'a>,
    /// One value for each parameter; their types are the function's.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<serde_json::Value>, max_items = 1000)]
    params: Vec<&'a RawValue>,
    /// Names of registered modules that satisfy imports.
    #[serde(default, deserialize_with = "short_list")]
    #[schema(max_items = 1000)]
    host_modules: Vec<String>,
}

/// Wasm, and the name to register it under. Exactly one of `wasm_hex`, `wasm_base64` and `wat` is
/// given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterRequest<'a> {
    /// The name: `[namespace:]label[@version]`.
    #[serde(borrow)]
    #[schema(value_type = String)]
    module_name: Text<'a>,
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
    /// Names of registered modules that satisfy imports.
    #[serde(default, deserialize_with = "short_list")]
    #[schema(max_items = 1000)]
    host_modules: Vec<String>,
}

/// A registered module, and a function of it to call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecuteRequest<'a> {
    /// The module's name.
    #[serde(borrow)]
    #[schema(value_type = String)]
    module_name: Text<'a>,
    /// The exported function.
    #[serde(borrow)]
    #[schema(value_type = String)]
    function_name: Text<'a>,
    /// One value for each parameter; their types are the function's.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<serde_json::Value>, max_items = 1000)]
    params: Vec<&'a RawValue>,
}

/// Run Wasm that is sent along
#[utoipa::path(
    post, path = "/", tag = "original",
    request_body = RunRequest<'static>,
    responses((status = 200, description = "The results, each with its type",
        body = Vec<Object>, example = json!([{"I32": 4}]))),
)]
pub(crate) async fn run_wasm<B>(app: &App, caller: &Caller, headers: &HeaderMap, body: B) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    check_content_type(headers)?;
    let body = app.bodies.read(headers, body).await?;
    let request: RunRequest<'_> = body::json(&body.bytes)?;
    let source = exactly_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
    let wasm = app.exec.decode(source).await?;
    let links = Links::HostModules(request.host_modules);
    let target = Target::Inline { wasm, links };
    call_tagged(app, caller, target, &request.function_name.0, &request.params).await
}

/// Run a registered module
#[utoipa::path(
    post, path = "/execute", tag = "original",
    request_body = ExecuteRequest<'static>,
    responses((status = 200, description = "The results, each with its type",
        body = Vec<Object>, example = json!([{"I32": 4}]))),
)]
pub(crate) async fn execute_module<B>(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: B,
) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    check_content_type(headers)?;
    let body = app.bodies.read(headers, body).await?;
    let request: ExecuteRequest<'_> = body::json(&body.bytes)?;
    let target = Target::Module(&request.module_name.0);
    call_tagged(app, caller, target, &request.function_name.0, &request.params).await
}

/// Register a module
#[utoipa::path(
    post, path = "/register", tag = "original",
    request_body = RegisterRequest<'static>,
    responses((status = 200, description = "It is registered", body = String,
        content_type = "text/plain", example = "Successfully stored module: utils")),
)]
pub(crate) async fn register_module(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    check_content_type(&head.headers)?;
    let body = app.bodies.read(&head.headers, body).await?;
    let request: RegisterRequest<'_> = body::json(&body.bytes)?;
    let name = &request.module_name.0;
    caller.may_register(Some(name))?;
    let source = exactly_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
    let wasm = app.exec.decode(source).await?;
    caller
        .exec(&app)
        .register(Some(name), wasm, Links::HostModules(request.host_modules), caller.client())
        .await?;
    Ok(reply::content(reply::TEXT, format!("Successfully stored module: {name}")))
}

async fn call_tagged(
    app: &App,
    caller: &Caller,
    target: Target<'_>,
    function: &str,
    params: &[&RawValue],
) -> Handled {
    let limits = RequestedLimits::default();
    let call =
        Call { target, function, params, limits, style: Style::Tagged, client: caller.client() };
    let answer = run(app, caller, call).await?;
    match answer.result {
        Ok(results) => Ok(reply::content(reply::JSON, results)),
        Err(failure) => Err(failed(failure, answer.module, answer.usage)),
    }
}

/// JSON is read also if nothing is said of it, or what curl says by default.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    match ContentType::of(headers) {
        ContentType::Json | ContentType::Missing | ContentType::Form => Ok(()),
        ContentType::Wasm | ContentType::Wat | ContentType::Other => {
            Err(body::unsupported(headers, "application/json"))
        }
    }
}
