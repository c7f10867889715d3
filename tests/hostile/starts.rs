//! Start functions: what they do is done before a call, and bounded as the call is.

use serde_json::json;
use std::future::IntoFuture;
use tokio::task::JoinSet;

use crate::victim::Victim;

#[tokio::test]
async fn starts_that_never_end_do_not_hold_up_others() {
    let victim = Victim::start().await;
    for (name, body) in [
        ("spins", "(loop (br 0))"),
        ("fills", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560)) (br 0))"),
        ("grows", "(loop (drop (memory.grow (i32.const 1))) (br 0))"),
    ] {
        let wat = format!(
            "(module (memory 960) (func $start {body}) (start $start) (func (export \"f\")))"
        );
        victim.put(&format!("/v1/modules/{name}")).wat(wat).await.created();
    }
    let mut calls = JoinSet::new();
    for name in ["spins", "fills", "grows"] {
        for _ in 0..4 {
            let call = victim.post(&format!("/v1/modules/{name}/functions/f"));
            calls.spawn(call.json(json!({ "limits": { "timeout_ms": 100 } })).into_future());
        }
    }
    for _ in 0..20 {
        victim.answers_others().await;
    }
    for response in calls.join_all().await {
        response.problem(422, "timeout").has(json!({ "usage": {} }));
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn a_start_is_the_calls_however_it_ends() {
    let victim = Victim::start().await;
    for (name, start, code) in [
        ("trap", "unreachable", "trap"),
        ("recursion", "(call $start)", "stack-overflow"),
        (
            "growth",
            "(if (i32.lt_s (memory.grow (i32.const 65000)) (i32.const 0)) (then unreachable))",
            "memory-limit",
        ),
        ("fuel", "(loop (br 0))", "fuel-exhausted"),
    ] {
        let wat = format!(
            "(module (memory 1) (func $start {start}) (start $start) (func (export \"f\")))"
        );
        victim.put(&format!("/v1/modules/{name}")).wat(wat).await.created();
        // Linked, it is the same: a start of what is linked to runs first.
        let linked = format!("(module (import \"{name}\" \"f\" (func)) (func (export \"f\")))");
        let put = victim.put(&format!("/v1/modules/of-{name}?link={name}={name}"));
        put.wat(linked).await.created();
        for module in [name.to_owned(), format!("of-{name}")] {
            let limits = if name == "fuel" { json!({ "fuel": 10_000 }) } else { json!({}) };
            let call = victim.post(&format!("/v1/modules/{module}/functions/f"));
            let problem = call.json(json!({ "limits": limits })).await.problem(422, code);
            problem.has(json!({ "usage": {}, "outcome": code }));
        }
    }
    victim.is_unharmed().await;
}
