//! `POST /v1/modules/{module}/functions/{function}` and `POST /v1/call`.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::guests::{
    DOUBLE, DOUBLE_BLOB, DOUBLE_DIGEST, DOUBLE_HEX, TWICE_DIGEST, TWICE_HEX, UNRULY, answering,
};
use crate::support::response::assert_contains;
use crate::support::server::Server;

const CALL: &str = "/v1/modules/utils/functions/double";

async fn server() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server
}

#[tokio::test]
async fn a_call_answers_with_results_usage_and_the_modules_digest() {
    let server = server().await;
    let answer = server.post(CALL).json(json!({ "params": [2] })).await.ok(json!({
        "outcome": "ok",
        "results": [4],
        "usage": { "fuel": null, "memory_bytes": 0 },
        "module": DOUBLE_DIGEST,
    }));
    assert!(answer["usage"]["wall_us"].is_u64(), "{answer}");
    // It is there only when it is true.
    assert_eq!(answer["usage"].get("growth_refused"), None);
    assert_eq!(answer.as_object().unwrap().len(), 4, "{answer}");
}

#[tokio::test]
async fn every_member_is_optional_and_so_is_the_body() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(answering(42)).await.created();
    let call = || server.post("/v1/modules/m/functions/answer");
    let expected = || json!({ "results": [42] });
    call().await.ok(expected());
    call().header("content-type", "application/json").await.ok(expected());
    call().content("text/plain", "").await.ok(expected());
    for body in ["{}", " { } ", r#"{"params":[]}"#, r#"{"limits":{}}"#] {
        call().json_text(body).await.ok(expected());
    }
    let nothing = r#"(module (func (export "f") nop) (func (export "g") (result i32 i64)
        (i32.const 1) (i64.const 2)))"#;
    server.put("/v1/modules/n").wat(nothing).await.created();
    server.post("/v1/modules/n/functions/f").await.ok(json!({ "results": [] }));
    server.post("/v1/modules/n/functions/g").await.ok(json!({ "results": [1, "2"] }));
}

#[tokio::test]
async fn a_body_is_json_and_nothing_else() {
    let server = server().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/wasm"] {
        let refused = server.post(CALL).content(content_type, r#"{"params":[2]}"#).await;
        refused.problem(415, "unsupported-media-type").says(&["application/json", content_type]);
    }
    let untyped = server.post(CALL).body(r#"{"params":[2]}"#).await;
    untyped.problem(415, "unsupported-media-type");
    for body in ["[2]", "2", "null", r#"{"params":{}}"#, r#"{"params":null}"#, "{", "\u{0}"] {
        let refused = server.post(CALL).json_text(body).await;
        refused.problem(400, "invalid-request").says(&["JSON"]);
    }
    server.post("/v1/call").await.problem(415, "unsupported-media-type");
    let empty = server.post("/v1/call").json_text("").await;
    empty.problem(400, "invalid-request");
}

#[tokio::test]
async fn a_function_may_have_any_name() {
    let server = Server::start().await;
    let names = ["", "a/b c", "a%2Fb", "..", ".", "ünï", "#?&=+", "ns:pkg/iface@1.0.0#func", "\""];
    let functions: String = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let name = name.replace('"', "\\\"");
            format!("(func (export \"{name}\") (result i32) (i32.const {index}))")
        })
        .collect();
    server.put("/v1/modules/odd").wat(format!("(module {functions})")).await.created();
    for (index, name) in names.iter().enumerate() {
        let body = json!({ "module": "odd", "function": name });
        server.post("/v1/call").json(body).await.ok(json!({ "results": [index] }));
    }
    for (segment, index) in [
        ("a%2Fb%20c", 1),
        ("a%252Fb", 2),
        ("%C3%BCn%C3%AF", 5),
        ("%23%3F%26=+", 6),
        ("ns:pkg%2Fiface@1.0.0%23func", 7),
        ("%22", 8),
    ] {
        let call = server.post(&format!("/v1/modules/odd/functions/{segment}")).await;
        call.ok(json!({ "results": [index] }));
    }
}

#[tokio::test]
async fn anything_can_be_called_through_one_path() {
    let server = server().await;
    let call = |body: Value| server.post("/v1/call").json(body);
    for module in ["utils", DOUBLE_DIGEST] {
        let body = json!({ "module": module, "function": "double", "params": [2] });
        call(body).await.ok(json!({ "results": [4], "module": DOUBLE_DIGEST }));
    }
    let inline = json!({ "wasm_hex": DOUBLE_HEX, "function": "double", "params": [2] });
    call(inline).await.ok(json!({ "results": [4], "module": DOUBLE_DIGEST }));
    for target in ["utils", DOUBLE_DIGEST] {
        let linked = json!({
            "wasm_hex": TWICE_HEX, "links": { "utils": target },
            "function": "double_twice", "params": [2], "limits": { "fuel": 1000 },
        });
        call(linked).await.ok(json!({ "results": [8], "module": TWICE_DIGEST }));
    }
    // What is sent along is not registered.
    server.get(&format!("/v1/modules/{TWICE_DIGEST}")).await.problem(404, "unknown-module");
}

#[tokio::test]
async fn one_module_has_to_be_given() {
    let server = server().await;
    for (body, detail) in [
        (json!({ "function": "double" }), "one of `module`"),
        (json!({ "module": "utils", "wasm_hex": DOUBLE_HEX, "function": "double" }), "one of"),
        (json!({ "wat": DOUBLE, "wasm_hex": DOUBLE_HEX, "function": "double" }), "more than one"),
        (json!({ "module": "utils", "links": {}, "function": "double" }), "links"),
        (json!({ "module": "utils" }), "function"),
    ] {
        let refused = server.post("/v1/call").json(body).await;
        refused.problem(400, "invalid-request").says(&[detail]);
    }
    let name = json!({ "module": "no/name", "function": "f" });
    server.post("/v1/call").json(name).await.problem(422, "invalid-name");
    let unknown = json!({ "module": DOUBLE_BLOB, "function": "f" });
    server.post("/v1/call").json(unknown).await.problem(404, "unknown-module").says(&["blob"]);
}

#[tokio::test]
async fn a_function_that_is_not_exported_is_told_with_those_that_are() {
    let server = Server::start().await;
    let wat = r#"(module
        (memory (export "memory") 1)
        (table (export "table") 1 funcref)
        (global (export "global") i32 (i32.const 0))
        (func $hidden)
        (func (export "b"))
        (func (export "a")))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    for function in ["hidden", "A", "a%20", "%00"] {
        let unknown = server.post(&format!("/v1/modules/m/functions/{function}")).await;
        let problem = unknown.problem(404, "unknown-function").has_not("found").has_not("usage");
        problem.has(json!({ "exports": ["a", "b"] }));
    }
    for kind in ["memory", "table", "global"] {
        let wrong = server.post(&format!("/v1/modules/m/functions/{kind}")).await;
        let problem = wrong.problem(404, "unknown-function").says(&["not a function"]);
        problem.has(json!({ "function": kind, "found": kind }));
    }
    server.put("/v1/modules/empty").wat("(module)").await.created();
    let none = server.post("/v1/modules/empty/functions/f").await;
    none.problem(404, "unknown-function").has(json!({ "exports": [] }));
    // A name of any length is answered with a bounded detail.
    let body = json!({ "module": "m", "function": "x".repeat(100_000) });
    server.post("/v1/call").json(body).await.problem(404, "unknown-function");
}

#[tokio::test]
async fn parameters_have_to_fit_the_function() {
    let server = server().await;
    for (params, found) in [("[]", 0), ("[1,2]", 2)] {
        let body = format!(r#"{{"params":{params}}}"#);
        let problem = server.post(CALL).json_text(body).await.problem(422, "invalid-params");
        let problem = problem.says(&["1 parameter"]).has_not("usage").has_not("index");
        problem.has(json!({ "expected": 1, "found": found }));
    }
    for param in [
        "4294967296",
        "-2147483649",
        "2.0",
        "2.5",
        "1e2",
        "1e400",
        "\"2\"",
        "\"\"",
        "true",
        "null",
        "[2]",
        "{}",
        r#"{"I32":2}"#,
        "123456789012345678901234567890123456789012345678901234567890",
    ] {
        let body = format!(r#"{{"params":[{param}]}}"#);
        let problem = server.post(CALL).json_text(body).await.problem(422, "invalid-params");
        let problem = problem.says(&[&format!("params[0]: expected i32, got {param}")]);
        problem.has(json!({ "index": 0, "expected": "i32", "found": param })).has_not("usage");
    }
    for broken in ["02", "+2", ".5", "0x2", "NaN", "Infinity", "2,"] {
        let body = format!(r#"{{"params":[{broken}]}}"#);
        server.post(CALL).json_text(body).await.problem(400, "invalid-request").says(&["JSON"]);
    }
    let wat = r#"(module (func (export "f") (param i32 f32 i64)))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    let third = server.post("/v1/modules/m/functions/f").json(json!({ "params": [1, 2, 3.5] }));
    let problem = third.await.problem(422, "invalid-params").says(&["params[2]"]);
    problem.has(json!({ "index": 2, "expected": "i64" }));
}

#[tokio::test]
async fn a_parameter_nested_a_hundred_thousand_deep_is_refused() {
    let server = server().await;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"params":[{nested}]}}"#);
    let problem = server.post(CALL).json_text(body).await.problem(422, "invalid-params");
    assert!(problem.detail().len() < 500, "{}", problem.detail());
}

#[tokio::test]
async fn every_call_has_a_fresh_instance() {
    let server = Server::start().await;
    let wat = r#"(module
        (memory 1)
        (global $g (mut i32) (i32.const 0))
        (table $t 1 funcref)
        (elem declare func $self)
        (func $self (export "count") (result i32 i32 i32)
          (global.set $g (i32.add (global.get $g) (i32.const 1)))
          (i32.store (i32.const 65532) (i32.add (i32.load (i32.const 65532)) (i32.const 1)))
          (drop (table.grow $t (ref.func $self) (i32.const 1)))
          (drop (memory.grow (i32.const 1)))
          (global.get $g) (i32.load (i32.const 65532)) (table.size $t)))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    for _ in 0..40 {
        let call = server.post("/v1/modules/m/functions/count").await;
        call.ok(json!({ "results": [1, 1, 2], "usage": { "memory_bytes": 2 << 16 } }));
    }
}

#[tokio::test]
async fn identical_first_calls_at_once_all_succeed() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(answering(7)).await.created();
    let mut calls = JoinSet::new();
    for number in 0..64 {
        // Half of them for a program that is not known yet, half for one that is.
        let request = match number % 2 {
            0 => server.post("/v1/modules/m/functions/answer"),
            _ => server.post("/v1/call").json(json!({ "wat": answering(8), "function": "answer" })),
        };
        calls.spawn(async move { (7 + number % 2, request.await) });
    }
    for (expected, response) in calls.join_all().await {
        response.ok(json!({ "results": [expected] }));
    }
}

#[tokio::test]
async fn an_answer_is_the_same_however_often_it_is_asked_for() {
    let server = server().await;
    for number in 0..200 {
        let call = server.post(CALL).json(json!({ "params": [number] })).await;
        call.ok(json!({ "results": [2 * number] }));
    }
}

#[tokio::test]
async fn unknown_members_are_refused_wherever_they_are() {
    let server = server().await;
    let refuse = async |path: &str, body: Value, member: &str| {
        let refused = server.post(path).json(body).await.problem(400, "invalid-request");
        refused.says(&[member]).has_not("usage");
    };
    refuse(CALL, json!({ "params": [2], "param": [] }), "param").await;
    refuse(CALL, json!({ "params": [2], "limits": { "timeout": 5 } }), "timeout").await;
    refuse(CALL, json!({ "params": [2], "module": "utils" }), "module").await;
    let body = json!({ "module": "utils", "function": "double", "host_modules": [] });
    refuse("/v1/call", body, "host_modules").await;
}

#[tokio::test]
async fn what_ran_is_metered_when_fuel_is_given() {
    let server = server().await;
    let call = || server.post(CALL).json(json!({ "params": [2], "limits": { "fuel": 1000 } }));
    let first = call().await.ok(json!({ "results": [4] }));
    let fuel = first["usage"]["fuel"].as_u64().unwrap();
    assert!((1..100).contains(&fuel), "{fuel}");
    for _ in 0..3 {
        assert_contains(&call().await.ok(json!({})), &json!({ "usage": { "fuel": fuel } }));
    }
    // As much as it takes is enough.
    let call = server.post(CALL).json(json!({ "params": [2], "limits": { "fuel": fuel } })).await;
    call.ok(json!({ "results": [4], "usage": { "fuel": fuel } }));
}

#[tokio::test]
async fn unruly_neighbours_do_not_matter() {
    let server = server().await;
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    for _ in 0..20 {
        server.post("/v1/modules/unruly/functions/trap").await.problem(422, "trap");
        server.post("/v1/modules/unruly/functions/recurse").await.problem(422, "stack-overflow");
        server.post(CALL).json(json!({ "params": [2] })).await.ok(json!({ "results": [4] }));
    }
}
