//! Calls in calls, without end: directly, in turns, through tables and links, with and without a frame.

use serde_json::json;

use crate::victim::Victim;

#[tokio::test]
async fn recursion_through_links_is_one_stack() {
    let victim = Victim::start().await;
    // It calls what others put into its table, and they call it.
    let relay = r#"(module
        (type $f (func))
        (table (export "table") 1 funcref)
        (func $relay (export "relay") (call_indirect (type $f) (i32.const 0))))"#;
    victim.put("/v1/modules/relay").wat(relay).await.created();
    let caller = r#"(module
        (import "relay" "table" (table 1 funcref))
        (import "relay" "relay" (func $relay))
        (elem (i32.const 0) func $back)
        (func $back (call $relay))
        (func (export "f") (call $back)))"#;
    victim.put("/v1/modules/caller?link=relay=relay").wat(caller).await.created();
    let call = victim.post("/v1/modules/caller/functions/f").await;
    let problem = call.problem(422, "stack-overflow");
    let backtrace = problem.body["trap"]["backtrace"].as_array().unwrap();
    assert_eq!(backtrace.len(), 20);
    for function in ["relay", "back"] {
        assert!(backtrace.iter().any(|frame| frame["function"] == function), "{backtrace:?}");
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn every_way_to_recurse_ends() {
    let victim = Victim::start().await;
    let locals = "(local i64)".repeat(5_000);
    let keep: String =
        (0..5_000).map(|local| format!("(local.set {local} (i64.const 1))")).collect();
    let wat = format!(
        r#"(module
            (type $f (func))
            (table 2 funcref) (elem (i32.const 0) $even $odd)
            (tag $tag)
            (func $direct (export "direct") (call $direct))
            (func $even (export "turns") (call_indirect (type $f) (i32.const 1)))
            (func $odd (call_indirect (type $f) (i32.const 0)))
            (func $large (export "large frames") {locals} {keep} (call $large))
            (func $many (export "many values") (result i64 i64 i64 i64 i64 i64 i64 i64) (call $many))
            (func $caught (export "caught")
              (block $h (try_table (catch_all $h) (call $caught))) (call $caught))
            (func $reference (export "references") (call_ref $f (ref.func $reference)))
            (func $two (export "two at once") (call $two) (call $two)))"#
    );
    victim.put("/v1/modules/recursion").wat(wat).await.created();
    for function in [
        "direct",
        "turns",
        "large%20frames",
        "many%20values",
        "caught",
        "references",
        "two%20at%20once",
    ] {
        for limits in [json!({}), json!({ "fuel": 1_000_000_000_u64 })] {
            let call = victim.post(&format!("/v1/modules/recursion/functions/{function}"));
            let problem =
                call.json(json!({ "limits": limits })).await.problem(422, "stack-overflow");
            assert!(problem.body["trap"]["backtrace"].as_array().unwrap().len() <= 20);
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn what_needs_no_stack_has_only_its_time() {
    let victim = Victim::start().await;
    let wat = r#"(module
        (type $f (func))
        (table 1 funcref) (elem (i32.const 0) $indirect)
        (func $direct (export "direct") (return_call $direct))
        (func $indirect (export "indirect") (return_call_indirect (type $f) (i32.const 0)))
        (func $wide (export "wide") (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
          (return_call $wide (local.get 11) (local.get 0) (local.get 1) (local.get 2) (local.get 3)
            (local.get 4) (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9)
            (local.get 10))))"#;
    victim.put("/v1/modules/tails").wat(wat).await.created();
    for (function, params) in [("direct", 0), ("indirect", 0), ("wide", 12)] {
        let path = format!("/v1/modules/tails/functions/{function}");
        let call = |limits| {
            victim.post(&path).json(json!({ "params": vec![0; params], "limits": limits }))
        };
        call(json!({ "timeout_ms": 50 })).await.problem(422, "timeout");
        call(json!({ "fuel": 100_000, "timeout_ms": 60_000 })).await.problem(422, "fuel-exhausted");
    }
    victim.is_unharmed().await;
}
