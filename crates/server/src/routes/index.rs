//! Where to begin: `GET /` and `/openapi.json`.

use std::sync::LazyLock;

use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::negotiation::accepts;
use crate::reply::{self, Handled};

/// What there is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Index {
    /// `wasm-exec-api`
    name: &'static str,
    version: &'static str,
    /// What a link is for → its path.
    links: Links,
}

/// Paths to begin at.
#[derive(Debug, Serialize, ToSchema)]
struct Links {
    /// What every route takes and gives.
    openapi: &'static str,
    modules: &'static str,
    call: &'static str,
    limits: &'static str,
    /// On a node of a peer-to-peer network.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'static str>,
    problems: &'static str,
    health: &'static str,
    readiness: &'static str,
    metrics: &'static str,
}

impl Index {
    const fn new(is_networked: bool) -> Self {
        Self {
            name: "wasm-exec-api",
            version: env!("CARGO_PKG_VERSION"),
            links: Links {
                openapi: "/openapi.json",
                modules: "/v1/modules",
                call: "/v1/call",
                limits: "/v1/limits",
                network: if is_networked { Some("/v1/network") } else { None },
                problems: "/problems",
                health: "/healthz",
                readiness: "/readyz",
                metrics: "/metrics",
            },
        }
    }
}

/// What there is
#[utoipa::path(
    get, path = "/", tag = "operations",
    responses((status = 200, description = "Where to begin", body = Index)),
)]
pub(crate) async fn get_index(State(app): State<App>, headers: HeaderMap) -> Handled {
    accepts(&headers, &["application/json"])?;
    Ok(reply::json(StatusCode::OK, &Index::new(app.exec.network().is_some())))
}

/// What every route takes and gives
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)),
)]
pub(crate) async fn get_openapi(headers: HeaderMap) -> Handled {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| crate::openapi_document().into());
    accepts(&headers, &["application/json"])?;
    Ok(reply::content(reply::JSON, DOCUMENT.clone()))
}
