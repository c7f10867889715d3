//! Sessions: `/v1/sessions` and below.

pub(crate) mod call;
pub(crate) mod globals;
pub(crate) mod instances;
pub(crate) mod memories;
mod request;

use axum::extract::{Request, State};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wasm_exec::{NewSession, RequestedLimits, SessionReport};

use crate::app::App;
use crate::body;
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::Problem;
use crate::reply::{self, Handled, Reply};
use request::{Owned, Segments, read_optional};

/// What a session may use, and for how long it lives without being used. All members may be missing,
/// and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSession {
    #[serde(default, deserialize_with = "body::object")]
    limits: SessionLimits,
    /// For how long nobody has to use it until it ends, in milliseconds.
    #[serde(default)]
    idle_timeout_ms: Option<u64>,
}

/// What a session may use; `GET /v1/limits` says the defaults and maxima.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionLimits {
    /// Milliseconds of each call, and the most that one can ask for.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Bytes of memory, summed over the session's instances.
    #[serde(default)]
    memory_bytes: Option<u64>,
    /// Bytes of output of each call, and the most that one can ask for.
    #[serde(default)]
    output_bytes: Option<u64>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// What it is found by. Whoever knows it can use the session, on a server without keys.
    id: String,
    /// When it ends if nobody uses it until then: RFC 3339, in UTC.
    expires_at: String,
    /// For how long nobody has to use it until it ends, in milliseconds.
    idle_timeout_ms: u64,
    limits: GrantedLimits,
    usage: SessionUsage,
    /// In the order of their names.
    instances: Vec<NamedInstance>,
}

/// What a session may use.
#[derive(Debug, Serialize, ToSchema)]
struct GrantedLimits {
    /// Milliseconds of each call, and the most that one can ask for.
    timeout_ms: u64,
    /// Bytes of memory, summed over the session's instances.
    memory_bytes: u64,
    /// Bytes of output of each call, and the most that one can ask for.
    output_bytes: u64,
}

/// What a session uses.
#[derive(Debug, Serialize, ToSchema)]
struct SessionUsage {
    /// Bytes of memory, as of the end of its last call.
    memory_bytes: u64,
    /// The most it had.
    peak_memory_bytes: u64,
}

/// An instance of a session.
#[derive(Debug, Serialize, ToSchema)]
struct NamedInstance {
    name: String,
    /// The digest of its module.
    module: String,
}

impl From<SessionReport> for Session {
    fn from(report: SessionReport) -> Self {
        let instance = |(name, module): (String, wasm_exec::Digest)| NamedInstance {
            name,
            module: module.to_string(),
        };
        Self {
            id: report.id,
            expires_at: humantime::format_rfc3339_millis(report.expires_at).to_string(),
            idle_timeout_ms: milliseconds(report.idle_timeout),
            limits: GrantedLimits {
                timeout_ms: milliseconds(report.timeout),
                memory_bytes: report.memory_maximum,
                output_bytes: report.output_maximum,
            },
            usage: SessionUsage {
                memory_bytes: report.memory_bytes,
                peak_memory_bytes: report.peak_memory_bytes,
            },
            instances: report.instances.into_iter().map(instance).collect(),
        }
    }
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Make a session
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions",
    request_body = CreateSession,
    responses((status = 201, description = "It is made; Location says where it is", body = Session)),
)]
pub(crate) async fn create_session(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    accepts(&head.headers, &["application/json"])?;
    let body = app.read(&head.headers, body).await?;
    let CreateSession { limits, idle_timeout_ms } = read_optional(&head.headers, &body.bytes)?;
    let SessionLimits { timeout_ms, memory_bytes, output_bytes } = limits;
    let limits = RequestedLimits { timeout_ms, memory_bytes, output_bytes, fuel: None };
    let new = NewSession { owner: caller.session_owner(), limits, idle_timeout_ms };
    let session = Session::from(caller.exec(&app).create_session(new)?);
    let mut reply = reply::json(StatusCode::CREATED, &session);
    // Ids are hex digits.
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/sessions/{}", session.id)) {
        reply.headers_mut().insert(header::LOCATION, location);
    }
    Ok(reply)
}

/// What is known of a session
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 200, description = "Its instances, usage and expiry, which this extends",
        body = Session)),
)]
pub(crate) async fn get_session(
    State(app): State<App>,
    caller: Caller,
    Segments([id]): Segments<1>,
    headers: HeaderMap,
) -> Handled {
    accepts(&headers, &["application/json"])?;
    let owned = Owned::new(&caller, &id);
    let session = caller.exec(&app).session(owned.session())?;
    Ok(reply::json(StatusCode::OK, &Session::from(session)))
}

/// End a session
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "It has ended; a call that ran is interrupted")),
)]
pub(crate) async fn delete_session(
    State(app): State<App>,
    caller: Caller,
    Segments([id]): Segments<1>,
) -> Result<Reply, Problem> {
    let owned = Owned::new(&caller, &id);
    caller.exec(&app).delete_session(owned.session())?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
