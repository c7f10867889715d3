//! For those who watch the server: `/healthz`, `/readyz`, `/metrics`.

use axum::extract::State;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled, Reply};

/// That the server is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`
    status: &'static str,
}

const OK: Health = Health { status: "ok" };

/// Whether the server is alive
#[utoipa::path(
    get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "It is", body = Health)),
)]
pub(crate) async fn get_health() -> Reply {
    reply::json(StatusCode::OK, &OK)
}

/// Whether the server can do its work
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, description = "It can", body = Health)),
)]
pub(crate) async fn get_readiness(State(app): State<App>) -> Handled {
    if app.is_shutting_down() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down"));
    }
    app.exec.check().await.map_err(wasm_exec::Error::Registry)?;
    Ok(reply::json(StatusCode::OK, &OK))
}

/// What the server counts
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "In Prometheus's (OpenMetrics) text format",
        body = String, content_type = "application/openmetrics-text")),
)]
pub(crate) async fn get_metrics(State(app): State<App>) -> Reply {
    const FORMAT: HeaderValue =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    reply::content(FORMAT, app.metrics.text(&app.exec.statistics()))
}
