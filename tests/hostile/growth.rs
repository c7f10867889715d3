//! Memories, tables and heaps that grow until nobody gives more.

use serde_json::{Value, json};

use crate::victim::{Victim, size};

#[tokio::test]
async fn many_small_memories_and_tables_are_one_budget() {
    let victim = Victim::start().await;
    let memories = "(memory 1)".repeat(64);
    let grow = |index: usize| format!("(drop (memory.grow {index} (i32.const 16)))");
    let all: String = (0..64).map(grow).collect();
    let wat = format!(
        r#"(module {memories}
            (func (export "once") {all})
            (func (export "again") (loop {all} (br 0))))"#
    );
    victim.put("/v1/modules/memories").wat(wat).await.created();
    let call = |function: &str, limits: Value| {
        let call = victim.post(&format!("/v1/modules/memories/functions/{function}"));
        call.json(json!({ "limits": limits }))
    };
    let once = call("once", json!({})).await.ok(json!({ "usage": { "growth_refused": true } }));
    let used = once["usage"]["memory_bytes"].as_u64().unwrap();
    assert!(used <= 64 << 20, "{used}");
    call("again", json!({ "timeout_ms": 50 })).await.problem(422, "timeout");
    call("once", json!({ "memory_bytes": 63 << 16 })).await.problem(422, "memory-limit");

    let tables = "(table 1500 funcref)".repeat(64);
    let wat = format!(
        r#"(module {tables} (func (export "f") (result i32)
            (table.grow 63 (ref.null func) (i32.const 4001))))"#
    );
    victim.put("/v1/modules/tables").wat(wat).await.created();
    let call = victim.post("/v1/modules/tables/functions/f").await;
    call.ok(json!({ "results": [-1], "usage": { "growth_refused": true } }));
    for (name, kind) in [("memories", "(memory 1)"), ("tables", "(table 1 funcref)")] {
        let refused = victim.put("/v1/modules/more").wat(format!("(module {})", kind.repeat(65)));
        let refused = refused.await;
        assert_eq!(refused.status, 422, "{name}: {refused:?}");
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn every_kind_of_growth_is_refused_in_the_end() {
    let victim = Victim::start().await;
    let wat = r#"(module
        (type $bytes (array (mut i8)))
        (type $list (struct (field (ref null $list)) (field (ref null $bytes))))
        (memory $small 1) (memory $wide i64 1)
        (table $table 1 funcref) (table $wide_table i64 1 externref)
        (func (export "memory") (result i32)
          (loop (br_if 0 (i32.ne (memory.grow $small (i32.const 1)) (i32.const -1)))) (memory.size $small))
        (func (export "wide memory") (result i64)
          (loop (br_if 0 (i64.ne (memory.grow $wide (i64.const 1)) (i64.const -1)))) (memory.size $wide))
        (func (export "impossible") (result i64) (memory.grow $wide (i64.const -1)))
        (func (export "table") (result i32)
          (loop (br_if 0 (i32.ne (table.grow $table (ref.null func) (i32.const 100)) (i32.const -1))))
          (table.size $table))
        (func (export "wide table") (result i64)
          (table.grow $wide_table (ref.null extern) (i64.const -2)))
        (func (export "heap") (local $list (ref null $list))
          (loop
            (local.set $list
              (struct.new $list (local.get $list) (array.new_default $bytes (i32.const 65536))))
            (br 0)))
        (func (export "one array") (drop (array.new_default $bytes (i32.const -1)))))"#;
    victim.put("/v1/modules/growth").wat(wat).await.created();
    let call = |function: &str| {
        let path = format!("/v1/modules/growth/functions/{}", function.replace(' ', "%20"));
        victim.post(&path).json(json!({ "limits": { "timeout_ms": 60_000 } }))
    };
    for _ in 0..size(2, 50) {
        for function in ["memory", "wide memory", "table"] {
            let answer = call(function).await.ok(json!({ "usage": { "growth_refused": true } }));
            assert!(answer["usage"]["memory_bytes"].as_u64().unwrap() <= 64 << 20, "{answer}");
        }
        call("impossible").await.ok(json!({ "results": ["-1"] }));
        call("wide table").await.ok(json!({ "results": ["-1"] }));
        for function in ["heap", "one array"] {
            let response = call(function).await;
            let code = response.value()["code"].clone();
            assert!(code == "memory-limit" || code == "trap", "{function}: {response:?}");
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn all_guests_together_have_a_limit() {
    const GUESTS: usize = 16;
    let victim = Victim::with(|setup| {
        setup.engine.concurrent_calls = GUESTS;
        setup.engine.guest_memory = 256 << 20;
    })
    .await;
    // Each takes the 60 MiB that it may, and keeps them.
    let wat = r#"(module (memory 960) (func (export "f")
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560)) (loop (br 0))))"#;
    victim.put("/v1/modules/large").wat(wat).await.created();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..size(GUESTS, 10 * GUESTS) {
        let call = victim.post("/v1/modules/large/functions/f");
        calls.spawn(call.json(json!({ "limits": { "timeout_ms": 300 } })).into_future());
    }
    victim.answers_others().await;
    for response in calls.join_all().await {
        match response.status.as_u16() {
            422 => drop(response.problem(422, "timeout")),
            _ => drop(response.problem(503, "overloaded").may_come_again()),
        }
    }
    victim.is_unharmed().await;
}
