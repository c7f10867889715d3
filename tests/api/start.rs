//! Start functions: they run in every call, before the function, within the call's limits.

use serde_json::json;

use crate::support::server::Server;

/// A module with a start function of this body, and a function `f` that gives `$g`.
fn starting(body: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (global $g (mut i32) (i32.const 0))
            (func $self {body})
            (start $self)
            (func (export "f") (result i32) (global.get $g)))"#
    )
}

const CALL: &str = "/v1/modules/m/functions/f";

#[tokio::test]
async fn a_start_function_runs_once_before_the_function() {
    let server = Server::start().await;
    let wat = starting("(global.set $g (i32.add (global.get $g) (i32.const 1)))");
    server.put("/v1/modules/m").wat(wat).await.created();
    for _ in 0..3 {
        server.post(CALL).await.ok(json!({ "results": [1] }));
    }
}

#[tokio::test]
async fn one_that_traps_is_a_trap_of_the_call() {
    let server = Server::start().await;
    // Registering runs nothing, so it succeeds.
    server.put("/v1/modules/m").wat(starting("unreachable")).await.created();
    let problem = server.post(CALL).await.problem(422, "trap");
    problem.has(json!({
        "outcome": "trap",
        "trap": { "kind": "unreachable", "backtrace": [{ "function": "self", "index": 0 }] },
        "usage": { "memory_bytes": 1 << 16 },
    }));
}

#[tokio::test]
async fn one_that_loops_is_ended_by_the_timeout_and_by_fuel() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(starting("(loop (br 0))")).await.created();
    let call = |limits| server.post(CALL).json(json!({ "limits": limits }));
    let problem = call(json!({ "timeout_ms": 20 })).await.problem(422, "timeout");
    problem.has(json!({ "outcome": "timeout", "usage": { "memory_bytes": 1 << 16 } }));
    let problem = call(json!({ "fuel": 10_000 })).await.problem(422, "fuel-exhausted");
    problem.has(json!({ "usage": { "fuel": 10_000 } }));
}

#[tokio::test]
async fn one_that_recurses_overflows_the_stack() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(starting("(call $self)")).await.created();
    server.post(CALL).await.problem(422, "stack-overflow").has(json!({ "usage": {} }));
}

#[tokio::test]
async fn one_that_grows_memory_is_within_the_calls_budget() {
    let server = Server::start().await;
    let wat = starting("(global.set $g (memory.grow (i32.const 15)))");
    server.put("/v1/modules/m").wat(wat).await.created();
    let call =
        |bytes: u32| server.post(CALL).json(json!({ "limits": { "memory_bytes": bytes << 16 } }));
    let granted = call(16).await.ok(json!({ "results": [1] }));
    assert_eq!(granted["usage"]["memory_bytes"], 16 << 16);
    let refused = call(15).await.ok(json!({ "results": [-1] }));
    assert_eq!(refused["usage"]["growth_refused"], true);
}

#[tokio::test]
async fn one_of_a_linked_module_runs_in_every_call_too() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(starting("(loop (br 0))")).await.created();
    let wat = r#"(module (import "m" "f" (func $f (result i32))) (export "f" (func $f)))"#;
    server.put("/v1/modules/n?link=m=m").wat(wat).await.created();
    let call = server.post("/v1/modules/n/functions/f");
    call.json(json!({ "limits": { "timeout_ms": 20 } })).await.problem(422, "timeout");
}

#[tokio::test]
async fn data_that_does_not_fit_is_a_trap() {
    let server = Server::start().await;
    let wat = r#"(module (memory 1) (data (i32.const 65535) "ab") (func (export "f")))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    let problem = server.post(CALL).await.problem(422, "trap");
    problem.has(json!({ "trap": { "kind": "memory-out-of-bounds" } }));
}
