//! Single instructions that work on all memory or all of a table: what a timeout cannot interrupt.

use serde_json::json;
use std::future::IntoFuture;
use tokio::task::JoinSet;

use crate::victim::Victim;

/// Each function loops over one instruction that works on everything there is.
const BULK: &str = r#"
    (module
      (memory 960)
      (table $table 100000 funcref)
      (data $data "some bytes")
      (elem $elements func $nothing)
      (func $nothing)
      (func (export "memory.fill")
        (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560)) (br 0)))
      (func (export "memory.copy")
        (loop (memory.copy (i32.const 0) (i32.const 1) (i32.const 62914559)) (br 0)))
      (func (export "memory.init")
        (loop (memory.init $data (i32.const 0) (i32.const 0) (i32.const 10)) (br 0)))
      (func (export "table.fill")
        (loop (table.fill $table (i32.const 0) (ref.func $nothing) (i32.const 100000)) (br 0)))
      (func (export "table.copy")
        (loop (table.copy $table $table (i32.const 0) (i32.const 1) (i32.const 99999)) (br 0)))
      (func (export "table.init")
        (loop (table.init $table $elements (i32.const 0) (i32.const 0) (i32.const 1)) (br 0)))
      (func (export "memory.grow") (loop (drop (memory.grow (i32.const 1))) (br 0)))
      (func (export "table.grow")
        (loop (drop (table.grow $table (ref.null func) (i32.const 1))) (br 0))))"#;

const BULK_FUNCTIONS: [&str; 8] = [
    "memory.fill",
    "memory.copy",
    "memory.init",
    "table.fill",
    "table.copy",
    "table.init",
    "memory.grow",
    "table.grow",
];

#[tokio::test]
async fn instructions_on_much_at_once_end_by_the_timeout() {
    let victim = Victim::start().await;
    victim.put("/v1/modules/bulk").wat(BULK).await.created();
    let mut calls = JoinSet::new();
    for function in BULK_FUNCTIONS {
        for timeout in [1, 50] {
            let call = victim.post(&format!("/v1/modules/bulk/functions/{function}"));
            calls.spawn(call.json(json!({ "limits": { "timeout_ms": timeout } })).into_future());
        }
    }
    victim.answers_others().await;
    for response in calls.join_all().await {
        response.problem(422, "timeout").has(json!({ "outcome": "timeout" }));
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn instructions_on_much_at_once_cost_fuel() {
    let victim = Victim::start().await;
    victim.put("/v1/modules/bulk").wat(BULK).await.created();
    for function in BULK_FUNCTIONS {
        let limits = json!({ "fuel": 200, "timeout_ms": 60_000 });
        let call = victim.post(&format!("/v1/modules/bulk/functions/{function}"));
        let response = call.json(json!({ "limits": limits })).await;
        response.problem(422, "fuel-exhausted").has(json!({ "usage": { "fuel": 200 } }));
    }
    victim.is_unharmed().await;
}
