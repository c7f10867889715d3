//! One call at a time: others wait for their turn, and not too many.

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::support::{COUNTER, Session};
use crate::support::eventually;
use crate::support::guests::UNRULY;
use crate::support::response::Response;
use crate::support::server::Server;

/// Longer than any test waits, in milliseconds: what ends earlier was ended.
const AN_HOUR: u64 = 3_600_000;

#[tokio::test]
async fn calls_of_one_session_run_one_after_the_other() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        calls.spawn(session.call("M", "next", json!([])).into_future());
    }
    let mut counts: Vec<_> = calls
        .join_all()
        .await
        .into_iter()
        .map(|call| call.ok(json!({}))["results"][0].as_u64().unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=16).collect::<Vec<_>>());
}

#[tokio::test]
async fn sixteen_wait_and_one_more_is_refused() {
    let server = Server::with(|setup| setup.limits.timeout_ms.maximum = AN_HOUR).await;
    let limits = json!({ "timeout_ms": AN_HOUR });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", UNRULY).await.created();
    let mut calls = JoinSet::new();
    for _ in 0..30 {
        calls.spawn(session.call("M", "loop", json!([])).into_future());
    }
    // One runs and sixteen wait; the others are told at once.
    for _ in 0..13 {
        let refused = calls.join_next().await.unwrap().unwrap();
        let refused = refused.problem(503, "overloaded").may_come_again();
        refused.has(json!({ "outcome": "overloaded" }));
    }
    // Others' sessions, and other requests, do not wait.
    let other = Session::new(&server).await;
    other.instance("M", COUNTER).await.created();
    other.call("M", "next", json!([])).await.ok(json!({ "results": [1] }));
    session.delete().await.no_content();
    for call in calls.join_all().await {
        call.problem(410, "session-ended");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_ends_its_call_and_not_the_session() {
    let server = Server::with(|setup| setup.limits.timeout_ms.maximum = AN_HOUR).await;
    let limits = json!({ "timeout_ms": AN_HOUR });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", COUNTER).await.created();
    session.call("M", "next", json!([])).await.ok(json!({ "results": [1] }));
    let call = tokio::spawn(session.call("M", "loop", json!([])).into_future());
    eventually("the call runs", async || {
        session.call("M", "load", json!([0])).within(50).await.is_none().then_some(())
    })
    .await;
    call.abort();
    session.call("M", "next", json!([])).await.ok(json!({ "results": [2] }));
    session.call("M", "next", json!([])).await.ok(json!({ "results": [3] }));
}

/// So many sessions, in each of which a call runs that does not end.
async fn looping(server: &Server, count: usize) -> (Vec<Session<'_>>, Vec<JoinHandle<Response>>) {
    let limits = json!({ "timeout_ms": AN_HOUR });
    let (mut sessions, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let session = Session::with(server, json!({ "limits": limits })).await;
        session.instance("M", UNRULY).await.created();
        calls.push(tokio::spawn(session.call("M", "loop", json!([])).into_future()));
        sessions.push(session);
    }
    (sessions, calls)
}

async fn end(sessions: Vec<Session<'_>>, calls: Vec<JoinHandle<Response>>) {
    for session in sessions {
        session.delete().await.no_content();
    }
    for call in calls {
        call.await.unwrap().problem(410, "session-ended");
    }
}

#[tokio::test]
async fn endless_calls_of_sessions_leave_half_of_all_places() {
    let server = Server::with(|setup| {
        setup.limits.timeout_ms.maximum = AN_HOUR;
        setup.engine.concurrent_calls = 8;
    })
    .await;
    let one_more = Session::new(&server).await;
    one_more.instance("M", UNRULY).await.created();
    let (sessions, calls) = looping(&server, 4).await;
    eventually("no more may run in sessions", async || {
        (one_more.call("M", "fine", json!([])).await.status == 503).then_some(())
    })
    .await;
    let body = json!({ "wat": UNRULY, "function": "fine" });
    server.post("/v1/call").json(body).await.ok(json!({ "results": [] }));
    end(sessions, calls).await;
}

#[tokio::test]
async fn endless_calls_of_many_sessions_do_not_hold_up_others() {
    let server = Server::with(|setup| {
        setup.limits.timeout_ms.maximum = AN_HOUR;
        setup.engine.concurrent_calls = 32;
    })
    .await;
    let (sessions, calls) = looping(&server, 8).await;
    let light = Session::new(&server).await;
    light.instance("M", COUNTER).await.created();
    for count in 1..100 {
        light.call("M", "next", json!([])).await.ok(json!({ "results": [count] }));
        server.get("/healthz").await.has_status(200);
    }
    end(sessions, calls).await;
}
