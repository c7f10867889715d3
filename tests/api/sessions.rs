//! Sessions: `/v1/sessions` and below.

mod access;
mod bounds;
mod calls;
mod ending;
mod exports;
mod instances;
mod links;
mod memory;
mod support;
mod turns;
mod values;

use serde_json::json;

use crate::support::response::Response;
use crate::support::server::Server;
use support::Session;

#[tokio::test]
async fn a_session_is_made_and_says_what_it_is() {
    let server = Server::start().await;
    let made = server.post("/v1/sessions").await;
    let location = made.header("location").unwrap().to_owned();
    let made = made.created();
    let id = made["id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(location, format!("/v1/sessions/{id}"));
    let session = server.get(&location).await.ok(json!({
        "id": id,
        "idle_timeout_ms": 300_000,
        "limits": { "timeout_ms": 1000, "memory_bytes": 64 << 20, "output_bytes": 1 << 20 },
        "usage": { "memory_bytes": 0, "peak_memory_bytes": 0 },
        "instances": [],
    }));
    let expires = |session: &serde_json::Value| session["expires_at"].as_str().unwrap().to_owned();
    let (before, after) = (expires(&made), expires(&session));
    assert!(after >= before && before.ends_with('Z'), "asking extends it: {before}, {after}");
}

#[tokio::test]
async fn a_session_has_the_limits_it_asks_for() {
    let server = Server::start().await;
    let make = |body| server.post("/v1/sessions").json(body);
    let limits = json!({ "timeout_ms": 5, "memory_bytes": 65_536, "output_bytes": 10 });
    let made = make(json!({ "limits": limits, "idle_timeout_ms": 1000 })).await.created();
    assert_eq!(made["limits"], limits);
    assert_eq!(made["idle_timeout_ms"], 1000);
    for (body, limit) in [
        (json!({ "limits": { "timeout_ms": 60_001 } }), "timeout_ms"),
        (json!({ "limits": { "memory_bytes": (256 << 20) + 1 } }), "memory_bytes"),
        (json!({ "limits": { "output_bytes": (16 << 20) + 1 } }), "output_bytes"),
        (json!({ "idle_timeout_ms": 3_600_001 }), "idle_timeout_ms"),
    ] {
        make(body).await.problem(422, "limit-too-high").has(json!({ "limit": limit }));
    }
    for body in [
        json!({ "limits": { "fuel": 1 } }),
        json!({ "limit": {} }),
        json!({ "limits": { "timeout": 1 } }),
        json!({ "idle_timeout_ms": -1 }),
        json!([]),
    ] {
        make(body).await.problem(400, "invalid-request").says(&["JSON"]);
    }
    let text = server.post("/v1/sessions").content("text/plain", "{}").await;
    text.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn limits_are_told() {
    let server = Server::start().await;
    server.get("/v1/limits").await.ok(json!({
        "sessions": { "maximum": 1000 },
        "sessions_per_client": { "maximum": 500 },
        "session_idle_timeout_ms": { "default": 300_000, "maximum": 3_600_000 },
        "session_instances": { "maximum": 1024 },
    }));
}

pub(crate) async fn calling_an_instance_that_is_not_there(server: &Server) -> Response {
    Session::new(server).await.call("nobody", "f", json!([])).await
}

pub(crate) async fn asking_for_a_session_that_has_ended(server: &Server) -> Response {
    let session = Session::new(server).await;
    session.delete().await.no_content();
    session.get("").await
}
