//! Guests that mean harm: instructions that take long by themselves, starts that never end,
//! recursion that crosses links, memories and tables by the dozen, and what failures could give away.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::guests::DOUBLE;
use crate::support::server::Server;

const LIGHT: &str = "/v1/modules/utils/functions/double";

async fn server() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server
}

async fn answers_others(server: &Server) {
    server.get("/healthz").await.has_status(200);
    server.post(LIGHT).json(json!({ "params": [2] })).await.ok(json!({ "results": [4] }));
}

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
    let server = server().await;
    server.put("/v1/modules/bulk").wat(BULK).await.created();
    let mut calls = JoinSet::new();
    for function in BULK_FUNCTIONS {
        for timeout in [1, 50] {
            let call = server.post(&format!("/v1/modules/bulk/functions/{function}"));
            calls.spawn(call.json(json!({ "limits": { "timeout_ms": timeout } })).into_future());
        }
    }
    answers_others(&server).await;
    for response in calls.join_all().await {
        response.problem(422, "timeout").has(json!({ "outcome": "timeout" }));
    }
    answers_others(&server).await;
}

#[tokio::test]
async fn instructions_on_much_at_once_cost_fuel() {
    let server = server().await;
    server.put("/v1/modules/bulk").wat(BULK).await.created();
    for function in BULK_FUNCTIONS {
        let limits = json!({ "fuel": 200, "timeout_ms": 60_000 });
        let call = server.post(&format!("/v1/modules/bulk/functions/{function}"));
        let response = call.json(json!({ "limits": limits })).await;
        response.problem(422, "fuel-exhausted").has(json!({ "usage": { "fuel": 200 } }));
    }
}

#[tokio::test]
async fn starts_that_never_end_do_not_hold_up_others() {
    let server = server().await;
    for (name, body) in [
        ("spins", "(loop (br 0))"),
        ("fills", "(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560)) (br 0))"),
        ("grows", "(loop (drop (memory.grow (i32.const 1))) (br 0))"),
    ] {
        let wat = format!(
            "(module (memory 960) (func $start {body}) (start $start) (func (export \"f\")))"
        );
        server.put(&format!("/v1/modules/{name}")).wat(wat).await.created();
    }
    let mut calls = JoinSet::new();
    for name in ["spins", "fills", "grows"] {
        for _ in 0..4 {
            let call = server.post(&format!("/v1/modules/{name}/functions/f"));
            calls.spawn(call.json(json!({ "limits": { "timeout_ms": 100 } })).into_future());
        }
    }
    for _ in 0..20 {
        answers_others(&server).await;
    }
    for response in calls.join_all().await {
        response.problem(422, "timeout").has(json!({ "usage": {} }));
    }
}

#[tokio::test]
async fn recursion_through_links_is_one_stack() {
    let server = server().await;
    // It calls what others put into its table, and they call it.
    let relay = r#"(module
        (type $f (func))
        (table (export "table") 1 funcref)
        (func $relay (export "relay") (call_indirect (type $f) (i32.const 0))))"#;
    server.put("/v1/modules/relay").wat(relay).await.created();
    let caller = r#"(module
        (import "relay" "table" (table 1 funcref))
        (import "relay" "relay" (func $relay))
        (elem (i32.const 0) func $back)
        (func $back (call $relay))
        (func (export "f") (call $back)))"#;
    server.put("/v1/modules/caller?link=relay=relay").wat(caller).await.created();
    let call = server.post("/v1/modules/caller/functions/f").await;
    let problem = call.problem(422, "stack-overflow");
    let backtrace = problem.body["trap"]["backtrace"].as_array().unwrap();
    assert_eq!(backtrace.len(), 20);
    for function in ["relay", "back"] {
        assert!(backtrace.iter().any(|frame| frame["function"] == function), "{backtrace:?}");
    }
    answers_others(&server).await;
}

#[tokio::test]
async fn many_small_memories_and_tables_are_one_budget() {
    let server = server().await;
    let memories = "(memory 1)".repeat(64);
    let grow = |index: usize| format!("(drop (memory.grow {index} (i32.const 16)))");
    let all: String = (0..64).map(grow).collect();
    let wat = format!(
        r#"(module {memories}
            (func (export "once") {all})
            (func (export "again") (loop {all} (br 0))))"#
    );
    server.put("/v1/modules/memories").wat(wat).await.created();
    let call = |function: &str, limits: Value| {
        let call = server.post(&format!("/v1/modules/memories/functions/{function}"));
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
    server.put("/v1/modules/tables").wat(wat).await.created();
    let call = server.post("/v1/modules/tables/functions/f").await;
    call.ok(json!({ "results": [-1], "usage": { "growth_refused": true } }));
    for (name, kind) in [("memories", "(memory 1)"), ("tables", "(table 1 funcref)")] {
        let refused = server.put("/v1/modules/more").wat(format!("(module {})", kind.repeat(65)));
        let refused = refused.await;
        assert_eq!(refused.status, 422, "{name}: {refused:?}");
    }
    answers_others(&server).await;
}

/// The longest that a failure's answer may be, in bytes, whatever a guest is called or exports.
const LONGEST_FAILURE: usize = 128 << 10;

#[tokio::test]
async fn failures_are_short_however_long_the_names_are() {
    let server = server().await;
    let long = "n".repeat(100_000);
    let deep = format!(
        r#"(module
            (func ${long} (export "{long}") (param i32)
              (if (i32.eqz (local.get 0)) (then unreachable))
              (call ${long} (i32.sub (local.get 0) (i32.const 1)))))"#
    );
    server.put("/v1/modules/deep").wat(deep).await.created();
    let body = json!({ "module": "deep", "function": long, "params": [100] });
    let response = server.post("/v1/call").json(body).await;
    assert!(response.body.len() <= LONGEST_FAILURE, "{}", response.body.len());
    response.problem(422, "trap");

    let exports: String = (0..4000)
        .map(|number| format!(r#"(func (export "{}{number}"))"#, "n".repeat(1000)))
        .collect();
    server.put("/v1/modules/many").wat(format!("(module {exports})")).await.created();
    let unknown = server.post("/v1/modules/many/functions/none").await;
    assert!(unknown.body.len() <= LONGEST_FAILURE, "{}", unknown.body.len());
    unknown.problem(404, "unknown-function");
    let body = json!({ "module": "many", "function": long });
    let unknown = server.post("/v1/call").json(body).await;
    assert!(unknown.body.len() <= LONGEST_FAILURE, "{}", unknown.body.len());
    unknown.problem(404, "unknown-function");
}

#[tokio::test]
async fn a_flood_of_results_is_cut_off() {
    let server = server().await;
    let results = "v128 ".repeat(1000);
    let constants = "(v128.const i64x2 -1 -1)".repeat(1000);
    let wat = format!(r#"(module (func (export "f") (result {results}) {constants}))"#);
    server.put("/v1/modules/many").wat(wat).await.created();
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let call = server.post("/v1/modules/many/functions/f");
        calls.spawn(call.json(json!({ "limits": { "output_bytes": 10_000 } })).into_future());
    }
    for response in calls.join_all().await {
        assert!(response.body.len() <= 10_000, "{}", response.body.len());
        response.problem(422, "output-limit").has_not("results");
    }
}

/// One function for each way to fail.
const FAILING: &str = r#"
    (module
      (memory 1)
      (table 1 funcref)
      (type $none (func))
      (func (export "unreachable") unreachable)
      (func (export "division") (drop (i32.div_u (i32.const 1) (i32.const 0))))
      (func (export "memory") (drop (i32.load (i32.const -1))))
      (func (export "table") (drop (table.get 0 (i32.const 1))))
      (func (export "null") (call_indirect (type $none) (i32.const 0)))
      (func $recursion (export "recursion") (call $recursion))
      (func (export "time") (loop (br 0)))
      (func (export "growth")
        (if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))))"#;

/// Whether a text has an address of this process: `0x` and more than eight hex digits.
fn has_address(text: &str) -> bool {
    text.split("0x").skip(1).any(|rest| rest.bytes().take_while(u8::is_ascii_hexdigit).count() > 8)
}

#[tokio::test]
async fn failures_tell_nothing_of_the_host() {
    let server = server().await;
    server.put("/v1/modules/failing").wat(FAILING).await.created();
    let mut answers = Vec::new();
    for function in [
        "unreachable",
        "division",
        "memory",
        "table",
        "null",
        "recursion",
        "time",
        "growth",
        "none",
    ] {
        for limits in
            [json!({ "timeout_ms": 20 }), json!({ "timeout_ms": 500, "fuel": 100_000_000 })]
        {
            let call = server.post(&format!("/v1/modules/failing/functions/{function}"));
            answers.push(call.json(json!({ "limits": limits })).await);
        }
    }
    for wat in ["(module", "(module (func (result i32)))", "(module (memory 65537))", "(component)"]
    {
        answers.push(server.put("/v1/modules/invalid").wat(wat).await);
    }
    answers.push(server.put("/v1/modules/invalid").wasm("\0asm\x01\0\0\0\x01\x7f").await);
    for answer in answers {
        assert!(answer.status.is_client_error(), "{answer:?}");
        let text = answer.text();
        for secret in
            ["/root", "/home", "/tmp", "/usr", ".cargo", ".rs", "wasmtime", "cranelift", "panick"]
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(!has_address(text), "{text}");
    }
}
