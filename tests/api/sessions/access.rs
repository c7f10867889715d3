//! Who sees a session, and what its requests count as.

use serde_json::json;

use super::support::{COUNTER, Session};
use crate::support::keyring::Keyring;

#[tokio::test]
async fn a_session_is_visible_only_to_the_key_that_made_it() {
    let mut keys = Keyring::new();
    let (one, two) = (keys.scoped("call"), keys.scoped("call admin"));
    let server = keys.server().await;
    let session = Session::of(&server, &one).await;
    session.instance("M", COUNTER).await.created();
    for request in [
        server.get(&session.path),
        server.delete(&session.path),
        server
            .post(&format!("{}/instances", session.path))
            .json(json!({ "name": "N", "wat": COUNTER })),
        server.post(&format!("{}/instances/M/functions/next", session.path)),
        server.get(&format!("{}/instances/M/globals/count", session.path)),
        server.get(&format!("{}/instances/M/memories/memory", session.path)),
    ] {
        request.again().await.problem(401, "unauthenticated");
        request.key(&two).await.problem(404, "unknown-session");
    }
    session.call("M", "next", json!([])).await.ok(json!({ "results": [1] }));
    session.delete().await.no_content();
    server.get(&session.path).key(&two).await.problem(404, "unknown-session");
    session.get("").await.problem(410, "session-ended");
}

#[tokio::test]
async fn sessions_need_the_scope_of_calls() {
    let mut keys = Keyring::new();
    let (calls, registers) = (keys.scoped("call"), keys.scoped("register"));
    let server = keys.server().await;
    let refused = server.post("/v1/sessions").key(&registers).await.problem(403, "forbidden");
    refused.has(json!({ "scope": "call" }));
    let session = Session::of(&server, &calls).await;
    let refused = server.get(&session.path).key(&registers).await;
    refused.problem(403, "forbidden").has(json!({ "scope": "call" }));
}

#[tokio::test]
async fn calls_and_instances_count_as_calls_and_nothing_else_does() {
    let mut keys = Keyring::new();
    let key = keys.add("scopes = [\"call\"]\ncalls = 3\nper = \"hour\"");
    let server = keys.server().await;
    let session = Session::of(&server, &key).await;
    session.instance("M", COUNTER).await.created();
    for _ in 0..5 {
        session.get("").await.ok(json!({}));
        session.get("/instances/M/globals/count").await.ok(json!({}));
    }
    for count in 1..3 {
        session.call("M", "next", json!([])).await.ok(json!({ "results": [count] }));
    }
    let refused = session.call("M", "next", json!([])).await.problem(429, "quota-exceeded");
    refused.has(json!({ "quota": "calls", "outcome": "quota-exceeded" }));
    session.instance("N", COUNTER).await.problem(429, "quota-exceeded");
    session.get("/instances/M/globals/count").await.ok(json!({ "value": 2 }));
    session.delete().await.no_content();
}

#[tokio::test]
async fn a_keys_limits_are_its_sessions_too() {
    let mut keys = Keyring::new();
    let key = keys.add("scopes = [\"call\"]\ntimeout-ms = 100\nmemory-bytes = 65536");
    let server = keys.server().await;
    let session = Session::of(&server, &key).await;
    let limits = json!({ "timeout_ms": 100, "memory_bytes": 65_536 });
    session.get("").await.ok(json!({ "limits": limits }));
    let body = json!({ "limits": { "timeout_ms": 101 } });
    server.post("/v1/sessions").key(&key).json(body).await.problem(422, "limit-too-high");
    session.instance("M", COUNTER).await.created();
    session.call("M", "grow", json!([1])).await.ok(json!({ "results": [-1] }));
}

#[tokio::test]
async fn private_modules_are_hidden_from_sessions_of_others() {
    let mut keys = Keyring::new();
    keys.say("[[namespace]]\nname = \"acme\"\nprivate = true");
    let own = keys.add("scopes = [\"call\", \"register\"]\nnamespaces = [\"acme\"]");
    let other = keys.scoped("call");
    let server = keys.server().await;
    server.put("/v1/modules/acme:counter").key(&own).wat(COUNTER).await.created();
    let body = json!({ "name": "M", "module": "acme:counter" });
    let session = Session::of(&server, &other).await;
    session.post("/instances").json(body.clone()).await.problem(404, "unknown-module");
    let importing = r#"(module (import "c" "next" (func (result i32))))"#;
    let linked = session.linked("M", importing, json!({ "c": "acme:counter" })).await;
    linked.problem(404, "unknown-module");
    let session = Session::of(&server, &own).await;
    session.post("/instances").json(body).await.created();
}
