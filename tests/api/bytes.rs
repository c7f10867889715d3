//! Bytes and strings as parameters: each stands for an address and a length.

use serde_json::{Value, json};

use crate::support::response::Response;
use crate::support::server::Server;

/// A bump allocator from 1024 on, and a function that adds its bytes to a start value.
const SUM: &str = r#"
    (global $free (mut i32) (i32.const 1024))
    (func $bump (param $bytes i32) (result i32)
      (global.get $free)
      (global.set $free (i32.add (global.get $free) (local.get $bytes))))
    (func $sum (export "sum") (param $start i32) (param $at i32) (param $length i32) (result i32)
      (block $end
        (loop $next
          (br_if $end (i32.eqz (local.get $length)))
          (local.set $start (i32.add (local.get $start) (i32.load8_u (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $length (i32.sub (local.get $length) (i32.const 1)))
          (br $next)))
      (local.get $start))
    (func (export "echo") (param i32 i32) (result i32 i32) (local.get 0) (local.get 1))
    (func (export "two") (param i32 i32 f64 i32 i32) (result i32 i32 i32 i32)
      (local.get 0) (local.get 1) (local.get 3) (local.get 4))"#;

/// A module with one page of memory, what [`SUM`] has, and this.
fn guest(more: &str) -> String {
    format!(r#"(module (memory (export "memory") 1) {SUM} {more})"#)
}

/// A module whose allocator is the one of [`SUM`], by the name that most know.
fn with_malloc() -> String {
    guest(r#"(export "malloc" (func $bump))"#)
}

async fn call(server: &Server, wat: &str, function: &str, params: Value) -> Response {
    call_with(server, wat, function, params, json!({})).await
}

async fn call_with(
    server: &Server,
    wat: &str,
    function: &str,
    params: Value,
    mut body: Value,
) -> Response {
    body["wat"] = json!(wat);
    body["function"] = json!(function);
    body["params"] = params;
    server.post("/v1/call").json(body).await
}

#[tokio::test]
async fn bytes_stand_for_an_address_and_a_length() {
    let server = Server::start().await;
    let wat = with_malloc();
    for (bytes, sum) in [
        (json!({ "utf8": "hi" }), 104 + 105),
        (json!({ "utf8": "é" }), 0xc3 + 0xa9),
        (json!({ "utf8": "\u{0}\n\"" }), 10 + 34),
        (json!({ "base64": "aGk=" }), 104 + 105),
        (json!({ "base64": "aGk" }), 104 + 105),
        (json!({ "base64": "//8=" }), 510),
        (json!({ "utf8": "" }), 0),
        (json!({ "base64": "" }), 0),
    ] {
        let params = json!([1, bytes]);
        call(&server, &wat, "sum", params).await.ok(json!({ "results": [1 + sum] }));
    }
}

#[tokio::test]
async fn several_are_allocated_in_their_order() {
    let server = Server::start().await;
    let params = json!([{ "utf8": "hello" }, 0.5, { "base64": "AAAA" }]);
    let memory = json!({ "memory": { "read": [{ "offset": 1024, "length": 8 }] } });
    let answer = call_with(&server, &with_malloc(), "two", params, memory).await;
    answer.ok(json!({
        "results": [1024, 5, 1029, 3],
        "memory": { "read": [{ "base64": "aGVsbG8AAAA=" }] },
    }));
}

#[tokio::test]
async fn parameters_come_before_writes() {
    let server = Server::start().await;
    let memory = json!({ "memory": { "write": [{ "offset": 1024, "utf8": "a" }] } });
    let params = json!([0, { "base64": "AAE=" }]);
    let answer = call_with(&server, &with_malloc(), "sum", params, memory).await;
    answer.ok(json!({ "results": [97 + 1] }));
}

#[tokio::test]
async fn allocators_are_looked_for_in_their_order_and_by_their_signature() {
    let server = Server::start().await;
    let realloc = r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (if (i32.or (local.get 0) (local.get 1)) (then unreachable))
        (if (i32.ne (local.get 2) (i32.const 1)) (then unreachable))
        (i32.add (i32.const 100) (local.get 3)))"#;
    let malloc = r#"(func (export "malloc") (param i32) (result i32) (i32.const 200))"#;
    let alloc = r#"(func (export "alloc") (param i32) (result i32) (i32.const 300))"#;
    let odd_realloc = r#"(func (export "cabi_realloc") (param i32 i32) (result i32) unreachable)"#;
    let odd_malloc = r#"(func (export "malloc") (param i32) unreachable)"#;
    let global_malloc = r#"(global (export "malloc") i32 (i32.const 7))"#;
    for (more, address) in [
        (vec![realloc, malloc, alloc], 102),
        (vec![malloc, alloc], 200),
        (vec![alloc], 300),
        (vec![odd_realloc, malloc], 200),
        (vec![odd_realloc, odd_malloc, alloc], 300),
        (vec![global_malloc, alloc], 300),
    ] {
        let answer = call(&server, &guest(&more.concat()), "echo", json!([{ "utf8": "hi" }])).await;
        answer.ok(json!({ "results": [address, 2] }));
    }
    for more in ["", odd_realloc, odd_malloc, global_malloc] {
        let refused = call(&server, &guest(more), "echo", json!([{ "utf8": "hi" }])).await;
        let problem = refused.problem(422, "no-allocator").has_not("usage");
        problem.has(json!({ "outcome": "no-allocator", "address": "i32" })).says(&[
            "cabi_realloc (func (param i32 i32 i32 i32) (result i32))",
            "malloc (func (param i32) (result i32))",
            "alloc (func (param i32) (result i32))",
        ]);
    }
}

#[tokio::test]
async fn addresses_of_64_bits() {
    let server = Server::start().await;
    let guest = |more: &str| {
        format!(
            r#"(module (memory (export "memory") i64 1)
              (func (export "first") (param i64 i64) (result i64 i64 i32)
                (local.get 0) (local.get 1) (i32.load8_u (local.get 0)))
              {more})"#
        )
    };
    let malloc = r#"(func (export "malloc") (param i64) (result i64) (i64.const 2048))"#;
    let realloc = r#"(func (export "cabi_realloc") (param i64 i64 i64 i64) (result i64)
        (i64.add (i64.const 100) (local.get 3)))"#;
    let narrow = r#"(func (export "malloc") (param i32) (result i32) (i32.const 1))"#;
    let params = json!([{ "utf8": "hi" }]);
    let answer = call(&server, &guest(malloc), "first", params.clone()).await;
    answer.ok(json!({ "results": ["2048", "2", 104] }));
    let answer = call(&server, &guest(realloc), "first", params.clone()).await;
    answer.ok(json!({ "results": ["102", "2", 104] }));
    let refused = call(&server, &guest(narrow), "first", params).await;
    let problem = refused.problem(422, "no-allocator").has(json!({ "address": "i64" }));
    problem.says(&["malloc (func (param i64) (result i64))"]);
}

#[tokio::test]
async fn an_allocator_is_asked_for_no_bytes_too_and_may_give_anything() {
    let server = Server::start().await;
    for address in ["0", "-1", "7"] {
        let malloc = format!(
            r#"(func (export "malloc") (param i32) (result i32)
              (if (local.get 0) (then unreachable)) (i32.const {address}))"#
        );
        let answer = call(&server, &guest(&malloc), "echo", json!([{ "utf8": "" }])).await;
        let address: i32 = address.parse().unwrap();
        answer.ok(json!({ "results": [address, 0] }));
    }
}

#[tokio::test]
async fn a_bad_pointer_is_the_guest_s_failure() {
    let server = Server::start().await;
    for (address, says) in
        [("0", "null"), ("-1", "4294967295"), ("65535", "65535"), ("65536", "65536")]
    {
        let malloc =
            format!(r#"(func (export "malloc") (param i32) (result i32) (i32.const {address}))"#);
        let memory = json!({ "memory": { "read": [{ "offset": 0, "length": 1 }] } });
        let params = json!([{ "utf8": "hi" }]);
        let refused = call_with(&server, &guest(&malloc), "echo", params, memory).await;
        let problem = refused.problem(422, "trap").says(&["malloc", says, "2 bytes"]);
        problem.has(json!({
            "outcome": "trap",
            "trap": { "kind": "host", "backtrace": [] },
            "usage": {},
            "memory": { "read": [{ "base64": "AA==" }] },
        }));
    }
}

#[tokio::test]
async fn what_an_allocator_does_is_what_the_call_does() {
    let server = Server::start().await;
    let malloc =
        |body: &str| guest(&format!(r#"(func (export "malloc") (param i32) (result i32) {body})"#));
    let params = json!([{ "utf8": "hi" }]);
    let read = json!({ "read": [{ "offset": 0, "length": 1 }] });
    for (body, limits, code) in [
        ("unreachable", json!({}), "trap"),
        ("(loop (br 0)) unreachable", json!({ "timeout_ms": 1 }), "timeout"),
        ("(loop (br 0)) unreachable", json!({ "fuel": 1000 }), "fuel-exhausted"),
        (
            "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
             (i32.const 65536)",
            json!({ "memory_bytes": 65_536 }),
            "memory-limit",
        ),
    ] {
        let more = json!({ "limits": limits, "memory": read });
        let failed = call_with(&server, &malloc(body), "echo", params.clone(), more).await;
        failed.problem(422, code).has(json!({
            "outcome": code, "usage": {}, "memory": { "read": [{ "base64": "AA==" }] },
        }));
    }
    let grows = "(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))";
    let more = json!({ "memory": { "read": [{ "offset": 65_536, "length": 2 }] } });
    let answer = call_with(&server, &malloc(grows), "echo", params, more).await;
    answer.ok(json!({
        "results": [65_536, 2], "usage": { "memory_bytes": 131_072 },
        "memory": { "read": [{ "base64": "aGk=" }] },
    }));
}

#[tokio::test]
async fn bytes_go_to_the_memory_that_is_selected() {
    let server = Server::start().await;
    let wat = r#"(module (memory (export "a") 1) (memory (export "b") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "f") (param i32 i32) (result i32 i32)
          (i32.load8_u 0 (local.get 0)) (i32.load8_u 1 (local.get 0))))"#;
    for (memory, results) in [("a", [104, 0]), ("b", [0, 104])] {
        let memory = json!({ "memory": { "memory": memory } });
        let answer = call_with(&server, wat, "f", json!([{ "utf8": "hi" }]), memory).await;
        answer.ok(json!({ "results": results }));
    }
    let refused = call(&server, wat, "f", json!([{ "utf8": "hi" }])).await;
    refused.problem(404, "unknown-export").has(json!({ "memories": ["a", "b"] }));
}

#[tokio::test]
async fn bytes_count_as_two_parameters() {
    let server = Server::start().await;
    let bytes = json!({ "utf8": "hi" });
    for (params, found) in [
        (json!([bytes]), 2),
        (json!([bytes, bytes]), 4),
        (json!([1, bytes, 1]), 4),
        (json!([1, 2, bytes]), 4),
    ] {
        let refused = call(&server, &with_malloc(), "sum", params).await;
        let problem = refused.problem(422, "invalid-params").says(&["bytes count as two"]);
        problem.has(json!({ "expected": 3, "found": found }));
    }
}

#[tokio::test]
async fn bytes_need_two_integers_of_one_type() {
    let server = Server::start().await;
    let wat = r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "f32") (param i32 f32 f32))
        (func (export "mixed") (param i32 i32 i64))
        (func (export "references") (param i32 externref externref)))"#;
    for (function, expected) in
        [("f32", "f32 f32"), ("mixed", "i32 i64"), ("references", "externref externref")]
    {
        let refused = call(&server, wat, function, json!([1, { "utf8": "hi" }])).await;
        let problem = refused.problem(422, "invalid-params").says(&["params[1]", "address"]);
        problem.has(json!({ "index": 1, "expected": expected }));
    }
}

#[tokio::test]
async fn bytes_have_exactly_one_notation() {
    let server = Server::start().await;
    let wat = with_malloc();
    for bytes in [
        r#"{"utf8":"a","base64":"YQ=="}"#,
        r#"{"utf8":"a","utf8":"a"}"#,
        r#"{"utf8":"a","encoding":"utf8"}"#,
        r#"{"utf8":1}"#,
        r#"{"utf8":null}"#,
        r#"{"base64":["YQ=="]}"#,
    ] {
        let wat = wat.replace('\n', " ").replace('"', "\\\"");
        let body = format!(r#"{{"wat":"{wat}","function":"sum","params":[0,{bytes}]}}"#);
        let refused = server.post("/v1/call").json_text(body).await;
        let problem = refused.problem(422, "invalid-params").says(&["params[1]"]);
        problem.has(json!({ "index": 1, "expected": "i32 i32" }));
    }
    // These are not meant as bytes at all.
    for other in [json!({}), json!({ "text": "a" }), json!({ "UTF8": "a" })] {
        let refused = call(&server, &wat, "sum", json!([0, other, 1])).await;
        refused.problem(422, "invalid-params").has(json!({ "index": 1, "expected": "i32" }));
    }
    for (base64, position) in [("aG*=", json!(2)), ("aGl=", json!(2)), ("a", json!(null))] {
        let refused = call(&server, &wat, "sum", json!([0, { "base64": base64 }])).await;
        let problem = refused.problem(422, "invalid-params").says(&["params[1]", "base64"]);
        assert_eq!(problem.body["position"], position, "{base64}");
        problem.has(json!({ "index": 1 }));
    }
}

#[tokio::test]
async fn megabytes_are_passed() {
    let server = Server::start().await;
    let malloc = r#"(func (export "malloc") (param i32) (result i32)
        (drop (memory.grow (i32.const 64))) (i32.const 65536))"#;
    let text = "a".repeat(2 << 20);
    let answer = call(&server, &guest(malloc), "sum", json!([0, { "utf8": text }])).await;
    answer.ok(json!({ "results": [97 << 21] }));
}

#[tokio::test]
async fn registered_modules_and_the_original_routes_take_bytes() {
    let server = Server::start().await;
    server.put("/v1/modules/sum").wat(with_malloc()).await.created();
    let params = json!([1, { "utf8": "hi" }]);
    let path = "/v1/modules/sum/functions/sum";
    server.post(path).json(json!({ "params": params })).await.ok(json!({ "results": [210] }));
    let tagged = json!([{ "I32": 1 }, { "utf8": "hi" }]);
    let body = json!({ "module_name": "sum", "function_name": "sum", "params": tagged });
    server.post("/execute").json(body).await.answers(json!([{ "I32": 210 }]));
    let body = json!({ "wat": with_malloc(), "function_name": "sum", "params": params });
    server.post("/").json(body).await.answers(json!([{ "I32": 210 }]));
}
