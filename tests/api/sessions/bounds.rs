//! What bounds sessions: their number, their instances, their memory.

use serde_json::json;
use wasm_exec_server::ClientLimits;

use super::support::{COUNTER, Session};
use crate::support::eventually;
use crate::support::guests::DOUBLE;
use crate::support::server::Server;

#[tokio::test]
async fn there_are_only_so_many_sessions() {
    let server = Server::with(|setup| setup.limits.sessions.sessions = 3).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Session::new(&server).await);
    }
    for _ in 0..1000 {
        let refused = server.post("/v1/sessions").await.problem(503, "overloaded");
        refused.may_come_again();
    }
    sessions.pop().unwrap().delete().await.no_content();
    // A place is free once the session is dropped.
    eventually("a place is free", async || {
        (server.post("/v1/sessions").await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_client_has_only_so_many_of_them() {
    let server = Server::with(|setup| {
        setup.limits.sessions.per_client = 2;
        setup.server.client = ClientLimits { loopback: true, ..ClientLimits::default() };
    })
    .await;
    let session = Session::new(&server).await;
    Session::new(&server).await;
    let refused = server.post("/v1/sessions").await.problem(429, "rate-limited");
    refused.has(json!({ "maximum": 2 })).may_come_again();
    session.delete().await.no_content();
    eventually("a place is free", async || {
        (server.post("/v1/sessions").await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn instances_are_counted_those_of_links_and_failures_included() {
    let server = Server::with(|setup| setup.limits.sessions.instances = 6).await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let session = Session::new(&server).await;
    let linking = r#"(module (import "utils" "double" (func (param i32) (result i32))))"#;
    session.linked("a", linking, json!({ "utils": "utils" })).await.created();
    session.linked("b", linking, json!({ "utils": "utils" })).await.created();
    session.instance("c", "(module (func $f unreachable) (start $f))").await.problem(422, "trap");
    let refused = session.linked("d", linking, json!({ "utils": "utils" })).await;
    let refused = refused.problem(422, "limit-too-high");
    refused.says(&["7 instances"]).has(json!({ "limit": "instances", "maximum": 6 }));
    session.instance("d", DOUBLE).await.created();
    session.instance("e", DOUBLE).await.problem(422, "limit-too-high");
    session.call("d", "double", json!([2])).await.ok(json!({ "results": [4] }));
    // As many memories as instances.
    let session = Session::new(&server).await;
    let memories = "(module (memory 0) (memory 0) (memory 0) (memory 0))";
    session.instance("a", memories).await.created();
    let refused = session.instance("b", memories).await.problem(422, "limit-too-high");
    refused.has(json!({ "limit": "memories", "maximum": 6 }));
}

#[tokio::test]
async fn hundreds_of_instances_fit_into_one_session() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("i0", COUNTER).await.created();
    let relaying = r#"
        (module
          (import "before" "next" (func $next (result i32)))
          (memory 1)
          (func (export "next") (result i32) (call $next)))"#;
    for index in 1..493 {
        let before = json!({ "before": { "instance": format!("i{}", index - 1) } });
        session.linked(&format!("i{index}"), relaying, before).await.created();
    }
    session.call("i492", "next", json!([])).await.ok(json!({ "results": [1] }));
    let told = session.get("").await.ok(json!({ "usage": { "memory_bytes": 493 * 65_536 } }));
    assert_eq!(told["instances"].as_array().unwrap().len(), 493);
}

#[tokio::test]
async fn memory_is_one_budget_for_the_session() {
    let server = Server::start().await;
    let limits = json!({ "memory_bytes": 3 * 65_536 });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("a", COUNTER).await.created();
    session.instance("b", COUNTER).await.created();
    session.call("a", "grow", json!([1])).await.ok(json!({ "results": [1] }));
    let refused = session.call("b", "grow", json!([1])).await;
    refused.ok(json!({ "results": [-1], "usage": { "growth_refused": true } }));
    let refused = session.instance("c", COUNTER).await.problem(422, "memory-limit");
    refused.says(&["196608 bytes"]);
    // What was refused before is not held against the next call.
    let trapped = session.call("a", "trap", json!([])).await.problem(422, "trap");
    trapped.has(json!({ "usage": { "memory_bytes": 3 * 65_536 } }));
    let fine = session.call("b", "next", json!([])).await.ok(json!({ "results": [1] }));
    assert_eq!(fine["usage"].get("growth_refused"), None);
}

#[tokio::test]
async fn an_instance_that_has_no_room_takes_nothing() {
    let server = Server::with(|setup| setup.limits.sessions.instances = 3).await;
    let limits = json!({ "memory_bytes": 3 * 65_536 });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    // Some of what they begin with would fit.
    let too_much = [
        "(module (memory 1) (memory 3) (table 60000 funcref))",
        "(module (memory 2) (table 60000 funcref) (table 60000 funcref))",
    ];
    for wat in too_much.repeat(5) {
        let refused = session.instance("a", wat).await.problem(422, "memory-limit");
        assert_eq!(refused.body.get("usage"), None, "no guest code ran");
    }
    session.get("").await.ok(json!({ "usage": { "memory_bytes": 0 } }));
    session.instance("a", "(module (memory 2) (table 100000 funcref))").await.created();
    session.instance("b", "(module (memory 1) (memory 0))").await.created();
    session.instance("c", "(module (memory 1))").await.problem(422, "limit-too-high");
    session.get("").await.ok(json!({ "usage": { "memory_bytes": 3 * 65_536 } }));
}

/// A server whose sessions have 30 MiB together, 480 pages.
async fn small() -> Server {
    Server::with(|setup| {
        setup.engine.memory_maximum = 64 << 20;
        setup.engine.guest_memory = 64 << 20;
        setup.engine.concurrent_calls = 1;
        setup.limits.memory_bytes.maximum = 64 << 20;
    })
    .await
}

#[tokio::test]
async fn sessions_have_no_more_than_half_of_all_guests_memory() {
    let server = small().await;
    let session = Session::new(&server).await;
    let large = "(module (memory (export \"memory\") 400))";
    session.instance("a", large).await.created();
    let other = Session::new(&server).await;
    other.instance("a", large).await.problem(503, "overloaded").may_come_again();
    // Calls have the rest.
    let body = json!({ "wat": "(module (memory 400) (func (export \"f\")))", "function": "f" });
    server.post("/v1/call").json(body).await.ok(json!({ "results": [] }));
    session.delete().await.no_content();
    eventually("the memory is given back", async || {
        (other.instance("b", large).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tables_and_host_values_are_of_it_too() {
    let server = small().await;
    let session = Session::new(&server).await;
    session.instance("a", "(module (memory 470))").await.created();
    let other = Session::new(&server).await;
    let table = "(module (table 100000 funcref))";
    for _ in 0..10 {
        other.instance("a", table).await.problem(503, "overloaded").may_come_again();
    }
    let keeps = r#"(module (global $kept (mut externref) (ref.null extern))
        (func (export "keep") (param externref) (global.set $kept (local.get 0))))"#;
    other.instance("b", keeps).await.created();
    let keep = |bytes: usize| other.call("b", "keep", json!([{ "extern": "x".repeat(bytes) }]));
    keep(900_000).await.problem(503, "overloaded").may_come_again();
    keep(1_000).await.ok(json!({ "results": [] }));
    let told = other.get("").await.ok(json!({}));
    let usage = |member: &str| told["usage"][member].as_u64().unwrap();
    assert!(usage("memory_bytes") > 1_000, "{told}");
    assert!(usage("peak_memory_bytes") >= usage("memory_bytes"), "{told}");
    session.delete().await.no_content();
    eventually("the memory is given back", async || {
        (other.instance("a", table).await.status == 201).then_some(())
    })
    .await;
    keep(900_000).await.ok(json!({ "results": [] }));
}
