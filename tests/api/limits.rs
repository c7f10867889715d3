//! Limits of calls: time, memory, tables, fuel, stack, output.

use serde_json::{Value, json};

use crate::support::guests::{UNRULY, answering};
use crate::support::response::assert_contains;
use crate::support::server::Server;

const PAGE: u64 = 1 << 16;

async fn unruly() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    server
}

fn path(function: &str) -> String {
    format!("/v1/modules/unruly/functions/{function}")
}

#[tokio::test]
async fn a_limit_above_its_maximum_is_refused() {
    let server = unruly().await;
    for (limit, maximum) in [
        ("timeout_ms", 60_000u64),
        ("memory_bytes", 256 << 20),
        ("fuel", (1 << 53) - 1),
        ("output_bytes", 16 << 20),
    ] {
        let call =
            |value: u64| server.post(&path("fine")).json(json!({ "limits": { limit: value } }));
        call(maximum).await.ok(json!({ "outcome": "ok" }));
        let refused = call(maximum + 1).await.problem(422, "limit-too-high");
        let refused = refused.says(&[limit, &maximum.to_string(), &(maximum + 1).to_string()]);
        refused.has(json!({ "limit": limit, "maximum": maximum })).has_not("usage");
        call(u64::MAX).await.problem(422, "limit-too-high");
        for broken in ["-1", "1.5", "\"1000\"", "18446744073709551616", "[]", "true"] {
            let body = format!(r#"{{"limits":{{"{limit}":{broken}}}}}"#);
            server.post(&path("fine")).json_text(body).await.problem(400, "invalid-request");
        }
        // Null is the default, as if nothing was said.
        let null = server.post(&path("fine")).json(json!({ "limits": { limit: null } })).await;
        null.ok(json!({ "usage": { "fuel": null } }));
    }
}

#[tokio::test]
async fn the_limits_are_published() {
    let server = Server::start().await;
    server.get("/v1/limits").await.ok(json!({
        "timeout_ms": { "default": 1000, "maximum": 60_000 },
        "memory_bytes": { "default": 64 << 20, "maximum": 256 << 20 },
        "fuel": { "default": null, "maximum": (1u64 << 53) - 1 },
        "output_bytes": { "default": 1 << 20, "maximum": 16 << 20 },
        "table_elements": { "maximum": 100_000 },
        "stack_bytes": { "maximum": 512 << 10 },
        "wasm_bytes": { "maximum": 32 << 20 },
        "request_bytes": { "maximum": 97 << 20 },
        "graph_modules": { "maximum": 64 },
        "graph_depth": { "maximum": 16 },
        "compile_timeout_ms": { "maximum": 60_000 },
        "compile_cpu_ms": { "maximum": 60_000 },
        "compile_memory_bytes": { "maximum": 2u64 << 30 },
    }));
}

#[tokio::test]
async fn the_operator_sets_defaults_and_maxima() {
    let server = Server::with(|setup| {
        setup.limits.timeout_ms = wasm_exec::Setting { default: 10, maximum: 30 };
    })
    .await;
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    let limits = server.get("/v1/limits").await;
    limits.ok(json!({ "timeout_ms": { "default": 10, "maximum": 30 } }));
    server.post(&path("loop")).await.problem(422, "timeout").says(&["10 ms"]);
    let call = server.post(&path("loop")).json(json!({ "limits": { "timeout_ms": 30 } })).await;
    call.problem(422, "timeout").says(&["30 ms"]);
    let call = server.post(&path("loop")).json(json!({ "limits": { "timeout_ms": 31 } })).await;
    call.problem(422, "limit-too-high");
}

#[tokio::test]
async fn an_infinite_loop_is_ended_by_its_timeout() {
    let server = unruly().await;
    for timeout in [1, 50] {
        let call = server.post(&path("loop")).json(json!({ "limits": { "timeout_ms": timeout } }));
        let problem = call.await.problem(422, "timeout").says(&[&format!("{timeout} ms")]);
        let problem = problem.has(json!({ "outcome": "timeout" })).has_not("trap");
        let wall = problem.body["usage"]["wall_us"].as_u64().unwrap();
        assert!(wall >= timeout * 1000, "{wall}");
    }
    // Nothing said, it is the default.
    server.post(&path("loop")).await.problem(422, "timeout").says(&["1000 ms"]);
}

#[tokio::test]
async fn a_timeout_of_zero_lets_only_what_is_instant_pass() {
    let server = unruly().await;
    let call = server.post(&path("loop")).json(json!({ "limits": { "timeout_ms": 0 } })).await;
    call.problem(422, "timeout");
}

#[tokio::test]
async fn infinite_recursion_overflows_the_stack_and_nothing_else() {
    let server = unruly().await;
    let problem = server.post(&path("recurse")).await.problem(422, "stack-overflow");
    let backtrace = problem.body["trap"]["backtrace"].as_array().unwrap();
    assert_eq!(backtrace.len(), 20);
    for frame in backtrace {
        assert_contains(frame, &json!({ "function": "recurse", "index": 3 }));
    }
    problem.has(json!({ "outcome": "stack-overflow", "usage": { "memory_bytes": PAGE } }));
    server.post(&path("fine")).await.ok(json!({ "results": [] }));
}

#[tokio::test]
async fn a_growth_past_the_limit_is_refused_and_the_guest_goes_on() {
    let server = unruly().await;
    let grow = |pages: u64, limit: u64| {
        let limits = json!({ "memory_bytes": limit * PAGE });
        server.post(&path("grow")).json(json!({ "params": [pages], "limits": limits }))
    };
    let granted = grow(9, 10).await.ok(json!({ "results": [1] }));
    assert_eq!(granted["usage"]["memory_bytes"], 10 * PAGE);
    assert_eq!(granted["usage"].get("growth_refused"), None);
    let refused = grow(10, 10).await.ok(json!({ "outcome": "ok", "results": [-1] }));
    assert_eq!(refused["usage"]["growth_refused"], true);
    assert_eq!(refused["usage"]["memory_bytes"], PAGE);
    // By default it is 64 MiB.
    let default = |pages: u64| server.post(&path("grow")).json(json!({ "params": [pages] }));
    default(1023).await.ok(json!({ "results": [1] }));
    default(1024).await.ok(json!({ "results": [-1], "usage": { "growth_refused": true } }));
}

#[tokio::test]
async fn a_trap_after_a_refusal_is_the_memory_limit() {
    let server = unruly().await;
    let call = |pages: u32| server.post(&path("grow_or_trap")).json(json!({ "params": [pages] }));
    call(1).await.ok(json!({ "results": [] }));
    let problem = call(2000).await.problem(422, "memory-limit");
    problem.says(&[&(64u64 << 20).to_string()]).has(json!({
        "outcome": "memory-limit",
        "usage": { "growth_refused": true },
        "trap": { "kind": "unreachable" },
    }));
}

#[tokio::test]
async fn a_maximum_of_the_modules_own_is_no_refusal() {
    let server = Server::start().await;
    let wat = r#"(module (memory 1 2)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    let call = server.post("/v1/modules/m/functions/grow").json(json!({ "params": [2] })).await;
    let answer = call.ok(json!({ "results": [-1] }));
    assert_eq!(answer["usage"].get("growth_refused"), None);
}

#[tokio::test]
async fn initial_memory_that_does_not_fit_is_the_memory_limit() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat("(module (memory 10) (func (export \"f\")))").await.created();
    let call = |pages: u64| {
        let limits = json!({ "memory_bytes": pages * PAGE });
        server.post("/v1/modules/m/functions/f").json(json!({ "limits": limits }))
    };
    call(10).await.ok(json!({ "usage": { "memory_bytes": 10 * PAGE } }));
    // No guest code ran, so there is no usage.
    let problem = call(9).await.problem(422, "memory-limit").has_not("usage").has_not("trap");
    problem.has(json!({ "outcome": "memory-limit" }));
    call(0).await.problem(422, "memory-limit");
}

#[tokio::test]
async fn memory_is_one_budget_for_all_memories_of_a_graph() {
    let server = Server::start().await;
    let wat = r#"(module (memory 2) (memory 3)
        (func (export "grow") (param i32) (result i32) (memory.grow 1 (local.get 0))))"#;
    server.put("/v1/modules/part").wat(wat).await.created();
    let wat = r#"(module
        (import "part" "grow" (func $grow (param i32) (result i32)))
        (memory 5)
        (export "grow" (func $grow)))"#;
    server.put("/v1/modules/whole?link=part=part").wat(wat).await.created();
    let call = |by: u64, limit: u64| {
        let limits = json!({ "memory_bytes": limit * PAGE });
        let call = server.post("/v1/modules/whole/functions/grow");
        call.json(json!({ "params": [by], "limits": limits }))
    };
    call(10, 20).await.ok(json!({ "results": [3], "usage": { "memory_bytes": 20 * PAGE } }));
    call(11, 20).await.ok(json!({ "results": [-1], "usage": { "growth_refused": true } }));
    call(0, 9).await.problem(422, "memory-limit");
}

#[tokio::test]
async fn tables_have_a_budget_too() {
    let server = Server::start().await;
    let wat = r#"(module (table $t 10 funcref)
        (func (export "grow") (param i32) (result i32)
          (table.grow $t (ref.null func) (local.get 0))))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    let call =
        |by: u32| server.post("/v1/modules/m/functions/grow").json(json!({ "params": [by] }));
    call(99_990).await.ok(json!({ "results": [10] }));
    call(99_991).await.ok(json!({ "results": [-1], "usage": { "growth_refused": true } }));
}

#[tokio::test]
async fn initial_tables_of_a_graph_are_within_the_budget_too() {
    let server = Server::start().await;
    let half = r#"(module (table 60000 funcref) (func (export "f")))"#;
    server.put("/v1/modules/half").wat(half).await.created();
    let wat = r#"(module
        (import "half" "f" (func $f)) (table 60000 funcref) (export "f" (func $f)))"#;
    server.put("/v1/modules/both?link=half=half").wat(wat).await.created();
    server.post("/v1/modules/half/functions/f").await.ok(json!({}));
    let problem = server.post("/v1/modules/both/functions/f").await.problem(422, "memory-limit");
    problem.says(&["100000 table elements"]);
}

#[tokio::test]
async fn an_exhausted_heap_is_the_memory_limit() {
    let server = Server::start().await;
    let wat = r#"(module
        (type $node (struct (field (ref null $node)) (field i64 i64 i64 i64)))
        (func (export "hoard") (local $list (ref null $node))
          (loop
            (local.set $list (struct.new $node (local.get $list)
              (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))
            (br 0)))
        (type $array (array i8))
        (func (export "huge") (result i32)
          (array.len (array.new_default $array (i32.const 0x7fffffff)))))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    for function in ["hoard", "huge"] {
        let limits = json!({ "memory_bytes": 8 << 20, "timeout_ms": 60_000 });
        let call = server.post(&format!("/v1/modules/m/functions/{function}"));
        let problem = call.json(json!({ "limits": limits })).await.problem(422, "memory-limit");
        problem.has(json!({ "outcome": "memory-limit", "usage": {} }));
    }
}

#[tokio::test]
async fn fuel_ends_a_loop_at_the_same_place_every_time() {
    let server = unruly().await;
    for _ in 0..3 {
        let limits = json!({ "fuel": 100_000, "timeout_ms": 60_000 });
        let call = server.post(&path("loop")).json(json!({ "limits": limits })).await;
        let problem = call.problem(422, "fuel-exhausted");
        problem.has(json!({ "outcome": "fuel-exhausted", "usage": { "fuel": 100_000 } }));
    }
    let limits = json!({ "fuel": 0 });
    let call = server.post(&path("fine")).json(json!({ "limits": limits })).await;
    call.problem(422, "fuel-exhausted");
    let limits = json!({ "fuel": (1u64 << 53) - 1, "timeout_ms": 10 });
    let call = server.post(&path("loop")).json(json!({ "limits": limits })).await;
    call.problem(422, "timeout");
}

#[tokio::test]
async fn results_that_are_too_long_are_the_output_limit() {
    let server = Server::start().await;
    let results = "i64 ".repeat(1000);
    let constants = "(i64.const -9223372036854775808)".repeat(1000);
    let wat = format!(r#"(module (func (export "many") (result {results}) {constants}))"#);
    server.put("/v1/modules/m").wat(wat).await.created();
    let call = |limits: Value| {
        server.post("/v1/modules/m/functions/many").json(json!({ "limits": limits }))
    };
    // Brackets, a thousand strings of twenty characters and their quotes, and commas.
    let length = 2 + 1000 * 22 + 999;
    let all = call(json!({ "output_bytes": length })).await.ok(json!({}));
    assert_eq!(all["results"].as_array().unwrap().len(), 1000);
    let problem = call(json!({ "output_bytes": length - 1 })).await.problem(422, "output-limit");
    let problem = problem.says(&[&length.to_string(), &(length - 1).to_string()]);
    problem.has(json!({ "outcome": "output-limit", "usage": {} })).has_not("results");
    call(json!({ "output_bytes": 0 })).await.problem(422, "output-limit");
}

#[tokio::test]
async fn limits_hold_for_wasm_that_is_sent_along() {
    let server = Server::start().await;
    let call = |function: &str, limits: Value| {
        let body = json!({ "wat": UNRULY, "function": function, "limits": limits });
        server.post("/v1/call").json(body)
    };
    call("loop", json!({ "timeout_ms": 5 })).await.problem(422, "timeout");
    call("loop", json!({ "fuel": 5 })).await.problem(422, "fuel-exhausted");
    call("fine", json!({ "memory_bytes": PAGE - 1 })).await.problem(422, "memory-limit");
    call("fine", json!({ "timeout_ms": 60_001 })).await.problem(422, "limit-too-high");
}

#[test]
fn the_limits_of_modules_are_documented() {
    let table = include_str!("../../docs/limits.md");
    let rows: Vec<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| {
            let maximum = rest.split(' ').next().unwrap_or_default();
            format!("{name} {}", maximum.replace(',', ""))
        })
        .collect();
    let limits = wasm_exec::ModuleLimits::default();
    let expected: Vec<String> =
        limits.iter().map(|(limit, maximum)| format!("{} {maximum}", limit.as_str())).collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn the_limits_of_modules_are_published() {
    let server = Server::with(|setup| {
        let limits = setup.engine.module_limits;
        setup.engine.module_limits = limits.with(wasm_exec::ModuleLimit::Exports, 1);
    })
    .await;
    let limits = server.get("/v1/limits").await;
    let limits = limits
        .ok(json!({ "module": { "exports": { "maximum": 1 }, "types": { "maximum": 100_000 } } }));
    assert_eq!(limits["module"].as_object().unwrap().len(), wasm_exec::ModuleLimit::ALL.len());
    server.put("/v1/modules/one").wat(answering(1)).await.created();
    let two = r#"(module (memory (export "a") 1) (memory (export "b") 1))"#;
    let refused = server.put("/v1/modules/two").wat(two).await.problem(422, "compile-limit");
    refused.says(&["the module has at least 2 exports", "the maximum is 1"]).has_not("function");
}
