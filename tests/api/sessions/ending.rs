//! How sessions end, and what is told of it.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::support::{COUNTER, Session};
use crate::support::eventually;
use crate::support::guests::UNRULY;
use crate::support::server::Server;

/// Longer than any test waits, in milliseconds: what ends earlier was ended.
const AN_HOUR: u64 = 3_600_000;

async fn patient() -> Server {
    Server::with(|setup| setup.limits.timeout_ms.maximum = AN_HOUR).await
}

async fn count(server: &Server, metric: &str) -> u64 {
    let metrics = server.get("/metrics").await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&format!("{metric} ")));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_deleted_session_is_gone_with_the_reason() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    session.delete().await.no_content();
    for response in [
        session.get("").await,
        session.delete().await,
        session.instance("N", COUNTER).await,
        session.call("M", "next", json!([])).await,
        session.get("/instances/M/globals/count").await,
        session.get("/instances/M/memories/memory").await,
    ] {
        response.problem(410, "session-ended").has(json!({ "reason": "deleted" }));
    }
    let unknown = server.get("/v1/sessions/00000000000000000000000000000000").await;
    unknown.problem(404, "unknown-session");
    server.delete("/v1/sessions/nobody").await.problem(404, "unknown-session");
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_its_session() {
    let server = Server::start().await;
    let session = Session::with(&server, json!({ "limits": { "timeout_ms": 50 } })).await;
    session.instance("M", COUNTER).await.created();
    let timed_out = session.call("M", "loop", json!([])).await.problem(422, "timeout");
    timed_out.says(&["50 ms", "ends the session"]).has(json!({ "outcome": "timeout" }));
    let ended = session.call("M", "next", json!([])).await.problem(410, "session-ended");
    ended.has(json!({ "reason": "timeout", "outcome": "session-ended" }));
    // So does a start function.
    let session = Session::with(&server, json!({ "limits": { "timeout_ms": 50 } })).await;
    let starting = "(module (func $f (loop (br 0))) (start $f))";
    session.instance("M", starting).await.problem(422, "timeout");
    session.get("").await.problem(410, "session-ended").has(json!({ "reason": "timeout" }));
    assert_eq!(count(&server, "wasm_exec_sessions").await, 0);
    assert_eq!(count(&server, "wasm_exec_sessions_made_total").await, 2);
    assert_eq!(count(&server, "wasm_exec_sessions_ended_total{reason=\"timeout\"}").await, 2);
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends() {
    let server = Server::start().await;
    let session = Session::with(&server, json!({ "idle_timeout_ms": 500 })).await;
    let other = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    // Whatever is done with it extends its life.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let used = session.call("M", "next", json!([])).await;
        // On a machine that stops for half a second, it may have ended.
        if used.status != 200 {
            break;
        }
    }
    eventually("nobody uses it", async || {
        // Asking would extend its life: the gauge tells.
        (count(&server, "wasm_exec_sessions").await == 1).then_some(())
    })
    .await;
    session.get("").await.problem(410, "session-ended").has(json!({ "reason": "idle" }));
    other.get("").await.ok(json!({}));
}

#[tokio::test]
async fn deleting_interrupts_the_call_that_runs_and_those_that_wait() {
    let server = patient().await;
    let limits = json!({ "timeout_ms": AN_HOUR });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", UNRULY).await.created();
    let calls: Vec<_> =
        (0..4).map(|_| tokio::spawn(session.call("M", "loop", json!([])).into_future())).collect();
    // It is asked for while they run.
    session.get("").await.ok(json!({ "instances": [{ "name": "M" }] }));
    session.delete().await.no_content();
    for call in calls {
        let ended = call.await.unwrap().problem(410, "session-ended");
        ended.has(json!({ "reason": "deleted" }));
    }
}

#[tokio::test]
async fn shutting_down_ends_all_sessions() {
    let mut server = patient().await;
    let limits = json!({ "timeout_ms": AN_HOUR });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", UNRULY).await.created();
    session.call("M", "fine", json!([])).await.ok(json!({}));
    let call = tokio::spawn(session.call("M", "loop", json!([])).into_future());
    // It has begun when another has to wait for it.
    eventually("the call runs", async || {
        session.call("M", "fine", json!([])).within(50).await.is_none().then_some(())
    })
    .await;
    server.shut_down();
    call.await.unwrap().problem(503, "shutting-down").may_come_again();
    server.ended().await;
}
