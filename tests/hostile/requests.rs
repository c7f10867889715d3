//! Requests by the thousand: at once, one behind the other, and given up as soon as they are sent.

use std::future::IntoFuture;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::guests::UNRULY;
use crate::victim::{LIGHT, Victim, size};

#[tokio::test]
async fn a_flood_of_requests_is_answered_or_refused() {
    let victim = Victim::with(|setup| {
        setup.server.client.loopback = true;
        setup.server.client.requests_per_second = 100;
    })
    .await;
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..size(5, 500) {
        // As many at once as a process has files for.
        let mut requests = JoinSet::new();
        for _ in 0..200 {
            requests.spawn(victim.post(LIGHT).json(json!({ "params": [2] })).into_future());
        }
        for response in requests.join_all().await {
            if response.status == 200 {
                answered += 1;
                response.ok(json!({ "results": [4] }));
            } else {
                refused += 1;
                assert!(response.header("retry-after").is_some(), "{response:?}");
                response.problem(429, "rate-limited");
            }
        }
    }
    assert!(answered >= 100 && refused > 0, "{answered} answered, {refused} refused");
    // The client's own share fills again.
    let back = async || (victim.get("/v1/limits").await.status == 200).then_some(());
    crate::support::eventually("it may ask again", back).await;
}

#[tokio::test]
async fn calls_beyond_all_places_are_refused_and_leave_nothing() {
    let victim = Victim::with(|setup| {
        setup.engine.concurrent_calls = 8;
        setup.engine.queued_calls = 8;
    })
    .await;
    victim.put("/v1/modules/unruly").wat(UNRULY).await.created();
    for _ in 0..size(1, 50) {
        let mut calls = JoinSet::new();
        for _ in 0..size(60, 200) {
            let call = victim.post("/v1/modules/unruly/functions/loop");
            calls.spawn(call.json(json!({ "limits": { "timeout_ms": 100 } })).into_future());
        }
        victim.get("/healthz").await.has_status(200);
        while let Some(response) = calls.join_next().await {
            let response = response.unwrap();
            match response.status.as_u16() {
                422 => drop(response.problem(422, "timeout")),
                _ => {
                    assert!(response.header("retry-after").is_some(), "{response:?}");
                    response.problem(503, "overloaded");
                }
            }
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn requests_that_are_given_up_leave_nothing() {
    let victim = Victim::start().await;
    victim.put("/v1/modules/unruly").wat(UNRULY).await.created();
    for round in 0..size(100, 5_000) {
        let call = victim.post("/v1/modules/unruly/functions/loop");
        let call = call.json(json!({ "limits": { "timeout_ms": 60_000 } }));
        let wat = format!("(module (func (export \"f{round}\")))");
        let inline = victim.post("/v1/call").json(json!({ "wat": wat, "function": "f" }));
        tokio::join!(call.within(1), inline.within(1));
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn requests_in_a_pipeline_take_turns() {
    let victim = Victim::start().await;
    let body = r#"{"params":[21]}"#;
    let request = format!(
        "POST {LIGHT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let count = size(500, 20_000);
    let mut connection = victim.connect().await;
    connection.send(request.repeat(count)).await;
    for _ in 0..count {
        connection.response().await.ok(json!({ "results": [42] }));
    }
    drop(connection);
    victim.is_unharmed().await;
}
