//! Traps: which kind, and where.

use serde_json::{Value, json};

use crate::support::server::Server;

/// A module whose functions each trap in one way, named for it.
const TRAPS: &str = r#"
    (module
      (type $none (func))
      (type $some (func (param i32)))
      (type $array (array (mut i32)))
      (type $struct (struct (field i32)))
      (memory 1)
      (table $table 2 funcref)
      (elem (table $table) (i32.const 0) func $nop)
      (tag $tag)
      (func $nop)
      (func (export "unreachable") unreachable)
      (func (export "integer-divide-by-zero") (drop (i32.div_s (i32.const 1) (i32.const 0))))
      (func (export "integer-overflow")
        (drop (i32.div_s (i32.const 0x80000000) (i32.const -1))))
      (func (export "bad-conversion-to-integer") (drop (i32.trunc_f32_s (f32.const nan))))
      (func (export "memory-out-of-bounds") (drop (i32.load (i32.const 65533))))
      (func (export "table-out-of-bounds") (drop (table.get $table (i32.const 2))))
      (func (export "indirect-call-to-null") (call_indirect (type $none) (i32.const 1)))
      (func (export "bad-signature") (call_indirect (type $some) (i32.const 1) (i32.const 0)))
      (func (export "null-reference") (call_ref $none (ref.null $none)))
      (func (export "array-out-of-bounds")
        (drop (array.get $array (array.new_default $array (i32.const 1)) (i32.const 1))))
      (func (export "cast-failure")
        (drop (ref.cast (ref $struct) (ref.i31 (i32.const 1)))))
      (func (export "exception") (throw $tag)))"#;

#[tokio::test]
async fn every_kind_of_trap_is_told() {
    let server = Server::start().await;
    server.put("/v1/modules/traps").wat(TRAPS).await.created();
    for kind in [
        "unreachable",
        "integer-divide-by-zero",
        "integer-overflow",
        "bad-conversion-to-integer",
        "memory-out-of-bounds",
        "table-out-of-bounds",
        "indirect-call-to-null",
        "bad-signature",
        "null-reference",
        "array-out-of-bounds",
        "cast-failure",
        "exception",
    ] {
        for limits in [json!({}), json!({ "fuel": 1000 })] {
            let call = server.post(&format!("/v1/modules/traps/functions/{kind}"));
            let problem = call.json(json!({ "limits": limits })).await.problem(422, "trap");
            let expected = json!({ "outcome": "trap", "trap": { "kind": kind }, "usage": {} });
            let problem = problem.has(expected).says(&["trapped"]);
            assert!(problem.body["module"].as_str().unwrap().starts_with("sha256:"));
        }
    }
}

#[tokio::test]
async fn a_backtrace_names_functions_indices_and_offsets() {
    let server = Server::start().await;
    // The offsets are those of `i32.div_s` and of the two `call`s in the binary.
    let wat = r#"(module
        (func $div (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
        (func $middle (param i32) (result i32) (call $div (local.get 0) (i32.const 0)))
        (func (export "outer") (result i32) (call $middle (i32.const 1))))"#;
    let created = server.put("/v1/modules/m").wat(wat).await.created();
    let wasm = server.get("/v1/modules/m/wasm").await.body;
    let problem = server.post("/v1/modules/m/functions/outer").await.problem(422, "trap");
    let frames = problem.body["trap"]["backtrace"].as_array().unwrap().clone();
    let named = |name: Value, index: u32| json!([name, index, created["digest"]]);
    let told = |frame: &Value| json!([frame["function"], frame["index"], frame["module"]]);
    let expected = [named(json!("div"), 0), named(json!("middle"), 1), named(json!(null), 2)];
    assert_eq!(frames.iter().map(told).collect::<Vec<_>>(), expected);
    let opcodes = frames.iter().map(|frame| wasm[frame["offset"].as_u64().unwrap() as usize]);
    assert_eq!(opcodes.collect::<Vec<_>>(), [0x6d, 0x10, 0x10], "i32.div_s, call, call");
}

#[tokio::test]
async fn a_trap_in_a_linked_module_names_that_module() {
    let server = Server::start().await;
    let divide = r#"(module
        (func $unused)
        (func $div (export "div") (param i32 i32) (result i32)
          (i32.div_s (local.get 0) (local.get 1))))"#;
    let divide = server.put("/v1/modules/divide").wat(divide).await.created();
    let wasm = server.get("/v1/modules/divide/wasm").await.body;
    let caller = r#"(module
        (import "divide" "div" (func $div (param i32 i32) (result i32)))
        (func $by_zero (export "by_zero") (result i32)
          (call $div (i32.const 1) (i32.const 0))))"#;
    let caller = server.put("/v1/modules/caller?link=divide=divide").wat(caller).await.created();
    let problem = server.post("/v1/modules/caller/functions/by_zero").await.problem(422, "trap");
    let problem = problem.has(json!({
        "module": caller["digest"],
        "trap": { "kind": "integer-divide-by-zero", "backtrace": [
            { "module": divide["digest"], "function": "div", "index": 1 },
            { "module": caller["digest"], "function": "by_zero", "index": 1 },
        ] },
    }));
    let offset = problem.body["trap"]["backtrace"][0]["offset"].as_u64().unwrap();
    assert_eq!(wasm[offset as usize], 0x6d, "i32.div_s");
}

#[tokio::test]
async fn a_backtrace_has_at_most_twenty_frames() {
    let server = Server::start().await;
    let wat = r#"(module
        (func $down (export "down") (param i32)
          (if (i32.eqz (local.get 0)) (then unreachable))
          (call $down (i32.sub (local.get 0) (i32.const 1)))))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    for (depth, frames) in [(0, 1), (18, 19), (19, 20), (20, 20), (1000, 20)] {
        let call = server.post("/v1/modules/m/functions/down").json(json!({ "params": [depth] }));
        let problem = call.await.problem(422, "trap");
        let backtrace = problem.body["trap"]["backtrace"].as_array().unwrap();
        assert_eq!(backtrace.len(), frames, "{depth}");
    }
}
