//! For those who watch the server: `/healthz`, `/readyz`, `/metrics`.

use axum::extract::State;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wasm_exec::Confinement;

use crate::app::App;
use crate::metrics::Held;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled, Reply};

/// That the server is there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`
    status: &'static str,
}

const OK: Health = Health { status: "ok" };

/// That the server can do its work, and how well it is protected while it does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ok`
    status: &'static str,
    compiler: Compiler,
}

/// Where modules are compiled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Compiler {
    /// `workers` (processes of their own) or `in-process`
    place: &'static str,
    /// What confines the workers, of `limits`, `landlock` and `seccomp`
    confinement: Vec<&'static str>,
}

impl From<Option<Confinement>> for Compiler {
    fn from(confinement: Option<Confinement>) -> Self {
        match confinement {
            Some(confinement) => Self { place: "workers", confinement: confinement.layers() },
            None => Self { place: "in-process", confinement: Vec::new() },
        }
    }
}

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
    responses((status = 200, description = "It can", body = Readiness)),
)]
pub(crate) async fn get_readiness(State(app): State<App>) -> Handled {
    if app.is_shutting_down() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down"));
    }
    app.exec.check().await.map_err(wasm_exec::Error::Registry)?;
    let readiness = Readiness { status: "ok", compiler: app.exec.confinement().into() };
    Ok(reply::json(StatusCode::OK, &readiness))
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
    let held = Held { body_bytes: app.bodies.held_bytes(), answer_bytes: app.answers.held_bytes() };
    let network = app.exec.network();
    let text = app.metrics.text(&app.exec.statistics(), held, network.as_deref());
    reply::content(FORMAT, text)
}
