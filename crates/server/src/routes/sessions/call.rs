//! Calling functions of a session's instances.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wasm_exec::SessionCall;

use super::request::{Owned, has_ended, read, read_optional};
use crate::app::App;
use crate::body::{self, Strict};
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::reply::Handled;
use crate::routes::call::{CallAnswer, access, answered};
use crate::routes::memory::MemoryRequest;
use crate::routes::source::{Text, short_list};

/// Parameters and limits of a call in a session. All members may be missing, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallInstance<'a> {
    /// One value for each parameter, or `{"utf8": TEXT}` or `{"base64": TEXT}` for two: the address
    /// and the length of bytes in space that the module's own allocator gives.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<Object>)]
    params: Vec<&'a RawValue>,
    /// What is put into memories before the call and taken out after it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MemoryRequest<'static>>)]
    memory: Option<Box<Strict<MemoryRequest<'a>>>>,
    #[serde(default, deserialize_with = "body::object")]
    limits: SessionCallLimits,
}

/// A call of a function that an instance of the session exports.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallSession<'a> {
    /// The instance's name.
    #[serde(borrow)]
    #[schema(value_type = String)]
    instance: Text<'a>,
    /// The exported function.
    #[serde(borrow)]
    #[schema(value_type = String)]
    function: Text<'a>,
    /// One value for each parameter, or `{"utf8": TEXT}` or `{"base64": TEXT}` for two: the address
    /// and the length of bytes in space that the module's own allocator gives.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<Object>)]
    params: Vec<&'a RawValue>,
    /// What is put into memories before the call and taken out after it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MemoryRequest<'static>>)]
    memory: Option<Box<Strict<MemoryRequest<'a>>>>,
    #[serde(default, deserialize_with = "body::object")]
    limits: SessionCallLimits,
}

/// What a call in a session may use: at most what the session was made with.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionCallLimits {
    /// Milliseconds from admission to the last result.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Bytes of output.
    #[serde(default)]
    output_bytes: Option<u64>,
}

/// A function of an instance, as a path names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callee<'a> {
    pub(crate) id: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) function: &'a str,
}

/// Call a function of an instance
#[utoipa::path(
    post, path = "/v1/sessions/{id}/instances/{name}/functions/{function}", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's id"),
        ("name" = String, Path, description = "The instance's name"),
        ("function" = String, Path, description = "An exported function"),
    ),
    request_body = CallInstance<'static>,
    responses((status = 200, description = "The function's results", body = CallAnswer<'static>)),
)]
pub(crate) async fn call_instance<B>(
    app: &App,
    caller: &Caller,
    callee: Callee<'_>,
    headers: &HeaderMap,
    body: B,
) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    accepts(headers, &["application/json"])?;
    let body = app.read(headers, body).await?;
    let request: CallInstance<'_> = read_optional(headers, &body.bytes)?;
    let CallInstance { params, memory, limits } = &request;
    let SessionCallLimits { timeout_ms, output_bytes } = *limits;
    let (Callee { id, instance, function }, memory) = (callee, access(memory)?);
    let made = SessionCall { instance, function, params, memory, timeout_ms, output_bytes };
    call(app, caller, id, made).await
}

/// Call a function of an instance, whatever it is called
#[utoipa::path(
    post, path = "/v1/sessions/{id}/call", tag = "sessions",
    params(("id" = String, Path, description = "The session's id")),
    request_body = CallSession<'static>,
    responses((status = 200, description = "The function's results", body = CallAnswer<'static>)),
)]
pub(crate) async fn call_session<B>(
    app: &App,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    body: B,
) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    accepts(headers, &["application/json"])?;
    let body = app.read(headers, body).await?;
    let request: CallSession<'_> = read(headers, &body.bytes)?;
    let CallSession { instance, function, params, memory, limits } = &request;
    let SessionCallLimits { timeout_ms, output_bytes } = *limits;
    let (instance, function, memory) = (&*instance.0, &*function.0, access(memory)?);
    let made = SessionCall { instance, function, params, memory, timeout_ms, output_bytes };
    call(app, caller, id, made).await
}

/// Makes a call as its caller may, and counts its time.
async fn call(app: &App, caller: &Caller, id: &str, call: SessionCall<'_>) -> Handled {
    let owned = Owned::new(caller, id);
    let meter = caller.begin_call();
    let answer = caller.exec(app).call_session(owned.session(), call).await;
    match &answer {
        // It may have run until then: the meter counts the time that has passed.
        Err(error) if has_ended(error) => drop(meter),
        Err(error) => meter.end(error.ran_for()),
        Ok(answer) => meter.end(answer.usage.map(|usage| usage.wall)),
    }
    answered(answer?)
}
