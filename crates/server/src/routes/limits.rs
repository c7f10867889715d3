//! `GET /v1/limits`: what a request gets, and the most it can ask for with its key, if it has one.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wasm_exec::Setting;

use crate::app::App;
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::reply::{self, Handled};

/// A limit that requests can set.
#[derive(Debug, Serialize, ToSchema)]
struct Limit {
    /// What a request gets that says nothing; null is no limit of this kind.
    default: Option<u64>,
    /// The most a request can ask for.
    maximum: u64,
}

/// A limit that requests cannot set.
#[derive(Debug, Serialize, ToSchema)]
struct Fixed {
    maximum: u64,
}

/// The operator's limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    /// Of a call, in milliseconds.
    timeout_ms: Limit,
    /// Memory of a call, in bytes, summed over the linked graph.
    memory_bytes: Limit,
    /// Fuel of a metered call.
    fuel: Limit,
    /// Output of a call, in bytes.
    output_bytes: Limit,
    /// Table elements of a call, summed over the linked graph.
    table_elements: Fixed,
    /// Stack of a call, in bytes.
    stack_bytes: Fixed,
    /// Size of a module, in bytes.
    wasm_bytes: Fixed,
    /// Size of a request's body, in bytes, decompressed.
    request_bytes: Fixed,
    /// Modules in a linked graph.
    graph_modules: Fixed,
    /// How deeply links may be nested.
    graph_depth: Fixed,
    /// Time to compile a module, in milliseconds.
    compile_timeout_ms: Fixed,
    /// Processor time to compile a module, in milliseconds; whole seconds are counted.
    compile_cpu_ms: Fixed,
    /// Memory to compile a module, in bytes.
    compile_memory_bytes: Fixed,
    /// Sessions that there may be.
    sessions: Fixed,
    /// Sessions that one key may have, or one client where there are no keys.
    sessions_per_client: Fixed,
    /// For how long a session may be idle, in milliseconds.
    session_idle_timeout_ms: Limit,
    /// Instances of a session, those of linked modules included, and as many memories.
    session_instances: Fixed,
    /// What the key's registrations may hold, in bytes; missing if that is any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<Fixed>,
    /// What a module, or one of its functions, may have to be compiled at all.
    module: BTreeMap<&'static str, Fixed>,
}

/// The operator's limits
#[utoipa::path(
    get, path = "/v1/limits", tag = "operations",
    responses((status = 200, description = "Defaults and maxima", body = Limits)),
)]
pub(crate) async fn get_limits(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Handled {
    accepts(&headers, &["application/json"])?;
    let setting = |Setting { default, maximum }| Limit { default: Some(default), maximum };
    let fixed = |maximum: usize| Fixed { maximum: maximum as u64 };
    let milliseconds = |maximum: Duration| Fixed {
        maximum: u64::try_from(maximum.as_millis()).unwrap_or(u64::MAX),
    };
    let limits = caller.exec(&app).limits();
    let engine = app.exec.engine_config();
    let body = Limits {
        timeout_ms: setting(limits.timeout_ms),
        memory_bytes: setting(limits.memory_bytes),
        fuel: Limit { default: None, maximum: limits.fuel_maximum },
        output_bytes: setting(limits.output_bytes),
        table_elements: fixed(engine.table_elements),
        stack_bytes: fixed(engine.stack_bytes),
        wasm_bytes: Fixed { maximum: limits.wasm_bytes },
        request_bytes: Fixed { maximum: app.bodies.maximum() },
        graph_modules: fixed(limits.graph.modules),
        graph_depth: fixed(limits.graph.depth),
        compile_timeout_ms: milliseconds(engine.compile_timeout),
        compile_cpu_ms: milliseconds(engine.compile_cpu),
        compile_memory_bytes: Fixed { maximum: engine.compile_memory_bytes },
        sessions: fixed(limits.sessions.sessions),
        sessions_per_client: fixed(limits.sessions.per_client),
        session_idle_timeout_ms: setting(limits.sessions.idle_timeout_ms),
        session_instances: fixed(limits.sessions.instances),
        stored_bytes: caller.stored_bytes().map(|maximum| Fixed { maximum }),
        module: engine
            .module_limits
            .iter()
            .map(|(limit, maximum)| (limit.as_str(), Fixed { maximum }))
            .collect(),
    };
    Ok(reply::json(StatusCode::OK, &body))
}
