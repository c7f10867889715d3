//! Answers that are to become large: results by the thousand, names of a hundred kilobytes.

use serde_json::json;
use std::future::IntoFuture;
use tokio::task::JoinSet;
use wasm_exec_server::ClientLimits;

use crate::support::eventually;
use crate::victim::{Victim, size};

/// The longest that a failure's answer may be, in bytes, whatever a guest is called or exports.
const LONGEST_FAILURE: usize = 128 << 10;

#[tokio::test]
async fn failures_are_short_however_long_the_names_are() {
    let victim = Victim::start().await;
    let long = "n".repeat(100_000);
    let deep = format!(
        r#"(module
            (func ${long} (export "{long}") (param i32)
              (if (i32.eqz (local.get 0)) (then unreachable))
              (call ${long} (i32.sub (local.get 0) (i32.const 1)))))"#
    );
    victim.put("/v1/modules/deep").wat(deep).await.created();
    let body = json!({ "module": "deep", "function": long, "params": [100] });
    let response = victim.post("/v1/call").json(body).await;
    assert!(response.body.len() <= LONGEST_FAILURE, "{}", response.body.len());
    response.problem(422, "trap");

    let exports: String = (0..4000)
        .map(|number| format!(r#"(func (export "{}{number}"))"#, "n".repeat(1000)))
        .collect();
    victim.put("/v1/modules/many").wat(format!("(module {exports})")).await.created();
    let unknown = victim.post("/v1/modules/many/functions/none").await;
    assert!(unknown.body.len() <= LONGEST_FAILURE, "{}", unknown.body.len());
    unknown.problem(404, "unknown-function");
    let body = json!({ "module": "many", "function": long });
    let unknown = victim.post("/v1/call").json(body).await;
    assert!(unknown.body.len() <= LONGEST_FAILURE, "{}", unknown.body.len());
    unknown.problem(404, "unknown-function");
    victim.is_unharmed().await;
}

#[tokio::test]
async fn a_flood_of_results_is_cut_off() {
    let victim = Victim::start().await;
    let results = "v128 ".repeat(1000);
    let constants = "(v128.const i64x2 -1 -1)".repeat(1000);
    let wat = format!(r#"(module (func (export "f") (result {results}) {constants}))"#);
    victim.put("/v1/modules/many").wat(wat).await.created();
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let call = victim.post("/v1/modules/many/functions/f");
        calls.spawn(call.json(json!({ "limits": { "output_bytes": 10_000 } })).into_future());
    }
    for response in calls.join_all().await {
        assert!(response.body.len() <= 10_000, "{}", response.body.len());
        response.problem(422, "output-limit").has_not("results");
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn large_answers_that_nobody_takes_have_a_limit() {
    const ROOM: u64 = 1 << 20;
    let victim = Victim::with(|setup| {
        setup.server.answers_bytes = ROOM;
        setup.server.client = ClientLimits {
            requests_per_second: u32::MAX / 2,
            loopback: true,
            ..ClientLimits::default()
        };
    })
    .await;
    let results = "v128 ".repeat(1000);
    let constants = "(v128.const i64x2 -1 -1)".repeat(1000);
    let functions: String = (0..8)
        .map(|number| format!("(func (export \"f{number}\") (result {results}) {constants})"))
        .collect();
    let described = victim.put("/v1/modules/large").wat(format!("(module {functions})")).await;
    let described = described.created();
    assert!(described.to_string().len() > 64 << 10, "{}", described.to_string().len());
    // Answers that are asked for and not read, on connections that stay open.
    let mut silent = Vec::new();
    for _ in 0..size(30, 500) {
        let mut connection = victim.connect().await;
        let get = "GET /v1/modules/large HTTP/1.1\r\nHost: localhost\r\n\r\n";
        connection.send(get.repeat(size(50, 200))).await;
        silent.push(connection);
    }
    // It has half of the room, and others the rest.
    eventually("there is no more for this client", async || {
        let response = victim.get("/v1/modules/large").await;
        (response.status == 429).then(|| response.problem(429, "rate-limited"))
    })
    .await;
    let metrics = victim.get("/metrics").await;
    let held = metrics.text().lines().find_map(|line| line.strip_prefix("wasm_exec_answer_bytes "));
    let held: u64 = held.unwrap().parse().unwrap();
    assert!((1..=ROOM / 2).contains(&held), "{held}");
    let mut other = victim.connect_as_other().await;
    other.send("GET /v1/modules/large HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    other.response().await.has_status(200);
    victim.answers_others().await;
    drop(silent);
    victim.is_unharmed().await;
}
