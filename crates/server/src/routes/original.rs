//! The original three routes: `POST /`, `POST /register`, `POST /execute`.
//!
//! Bodies are JSON whatever curl says of them by default; answers are tagged values and plain text.

use axum::extract::{Request, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wasm_exec::{Call, Links, MemoryAccess, RequestedLimits, Style, Target};

use super::call::{access, failed, memory_answer, run};
use super::memory::MemoryRequest;
use super::source::{Text, exactly_one, short_list};
use crate::app::App;
use crate::body::{self, ContentType, Strict};
use crate::caller::Caller;
use crate::problem::{Code, Problem};
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
    /// One value for each parameter, whose types are the function's; or `{"utf8": TEXT}` or
    /// `{"base64": TEXT}` for two: the address and the length of bytes in space that the module's own
    /// allocator gives.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<serde_json::Value>, max_items = 1000)]
    params: Vec<&'a RawValue>,
    /// What is put into memories before the call and taken out after it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MemoryRequest<'static>>)]
    memory: Option<Box<Strict<MemoryRequest<'a>>>>,
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
    /// One value for each parameter, whose types are the function's; or `{"utf8": TEXT}` or
    /// `{"base64": TEXT}` for two: the address and the length of bytes in space that the module's own
    /// allocator gives.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<serde_json::Value>, max_items = 1000)]
    params: Vec<&'a RawValue>,
    /// What is put into memories before the call and taken out after it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MemoryRequest<'static>>)]
    memory: Option<Box<Strict<MemoryRequest<'a>>>>,
}

/// The results, each with its type; where something was read from memories, an object of both.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is only described: the two are written as they are")]
enum Answered {
    #[schema(value_type = Vec<Object>)]
    Results(Box<RawValue>),
    WithMemory(TaggedAnswer),
}

/// The results, and what was read from memories.
#[derive(Debug, Serialize, ToSchema)]
struct TaggedAnswer {
    /// One value for each result, with its type.
    #[schema(value_type = Vec<Object>)]
    results: Box<RawValue>,
    #[schema(schema_with = memory_answer)]
    memory: Box<RawValue>,
}

/// Run Wasm that is sent along
#[utoipa::path(
    post, path = "/", tag = "original",
    request_body = RunRequest<'static>,
    responses((status = 200, description = "The results, each with its type",
        body = Answered, example = json!([{"I32": 4}]))),
)]
pub(crate) async fn run_wasm<B>(app: &App, caller: &Caller, headers: &HeaderMap, body: B) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    check_content_type(headers)?;
    let body = app.read(headers, body).await?;
    let request: RunRequest<'_> = body::json(&body.bytes)?;
    let source = exactly_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
    let wasm = app.decode(source).await?;
    let links = Links::HostModules(request.host_modules);
    let target = Target::Inline { wasm, links };
    let memory = access(&request.memory)?;
    call_tagged(app, caller, target, &request.function_name.0, &request.params, memory).await
}

/// Run a registered module
#[utoipa::path(
    post, path = "/execute", tag = "original",
    request_body = ExecuteRequest<'static>,
    responses((status = 200, description = "The results, each with its type",
        body = Answered, example = json!([{"I32": 4}]))),
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
    let body = app.read(headers, body).await?;
    let request: ExecuteRequest<'_> = body::json(&body.bytes)?;
    let target = Target::Module(&request.module_name.0);
    let memory = access(&request.memory)?;
    call_tagged(app, caller, target, &request.function_name.0, &request.params, memory).await
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
    let body = app.read(&head.headers, body).await?;
    let request: RegisterRequest<'_> = body::json(&body.bytes)?;
    let name = &request.module_name.0;
    caller.may_register(Some(name))?;
    let source = exactly_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
    let wasm = app.decode(source).await?;
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
    memory: Option<Box<MemoryAccess<'_>>>,
) -> Handled {
    let (limits, style) = (RequestedLimits::default(), Style::Tagged);
    let call = Call { target, function, params, memory, limits, style, client: caller.client() };
    let answer = run(app, caller, call).await?;
    match (answer.result, answer.memory) {
        (Ok(results), None) => Ok(reply::content(reply::JSON, results)),
        (Ok(results), Some(memory)) => {
            let results = RawValue::from_string(results)
                .map_err(|error| Problem::new(Code::Internal, "internal error").because(error))?;
            Ok(reply::json(StatusCode::OK, &TaggedAnswer { results, memory }))
        }
        (Err(failure), memory) => Err(failed(failure, answer.module, answer.usage, memory)),
    }
}

/// JSON is read also if nothing is said of it, or what curl says by default.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    match ContentType::of(headers) {
        ContentType::Json | ContentType::Missing | ContentType::Form => Ok(()),
        ContentType::JsonLines
        | ContentType::Wasm
        | ContentType::Wat
        | ContentType::Bytes
        | ContentType::Other => Err(body::unsupported(headers, "application/json")),
    }
}
