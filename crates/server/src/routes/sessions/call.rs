//! Calling functions of a session's instances.

use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wasm_exec::SessionCall;

use super::request::{Owned, Segments, has_ended, read, read_optional};
use crate::app::App;
use crate::body::{self, Strict};
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::Problem;
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
pub(crate) async fn call_instance(
    State(app): State<App>,
    caller: Caller,
    Segments([id, instance, function]): Segments<3>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    let calling = async {
        accepts(&head.headers, &["application/json"])?;
        let body = app.bodies.read(&head.headers, body).await?;
        let request: CallInstance<'_> = read_optional(&head.headers, &body.bytes)?;
        let CallInstance { params, memory, limits: SessionCallLimits { timeout_ms, output_bytes } } =
            &request;
        let made = SessionCall {
            instance: &instance,
            function: &function,
            params,
            memory: access(memory)?,
            timeout_ms: *timeout_ms,
            output_bytes: *output_bytes,
        };
        call(&app, &caller, &id, made).await
    };
    calling.await.map_err(Problem::with_outcome)
}

/// Call a function of an instance, whatever it is called
#[utoipa::path(
    post, path = "/v1/sessions/{id}/call", tag = "sessions",
    params(("id" = String, Path, description = "The session's id")),
    request_body = CallSession<'static>,
    responses((status = 200, description = "The function's results", body = CallAnswer<'static>)),
)]
pub(crate) async fn call_session(
    State(app): State<App>,
    caller: Caller,
    Segments([id]): Segments<1>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    let calling = async {
        accepts(&head.headers, &["application/json"])?;
        let body = app.bodies.read(&head.headers, body).await?;
        let request: CallSession<'_> = read(&head.headers, &body.bytes)?;
        let CallSession { instance, function, params, memory, limits } = &request;
        let SessionCallLimits { timeout_ms, output_bytes } = *limits;
        let (instance, function, memory) = (&*instance.0, &*function.0, access(memory)?);
        let made = SessionCall { instance, function, params, memory, timeout_ms, output_bytes };
        call(&app, &caller, &id, made).await
    };
    calling.await.map_err(Problem::with_outcome)
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
