//! `POST /`, `POST /register` and `POST /execute`: the original three routes, as it documents them.

use serde_json::json;

use crate::support::guests::{DOUBLE, DOUBLE_HEX, TRIPLE, TWICE_HEX};
use crate::support::server::Server;

/// The bodies of the original's four examples, letter by letter.
const RUN: &str = r#"{"function_name": "double", "params": [2], "wasm_hex": "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"}"#;
const REGISTER: &str = r#"{"module_name": "utils", "wasm_hex": "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"}"#;
const EXECUTE: &str = r#"{"module_name": "utils", "function_name": "double", "params": [2]}"#;
const RUN_LINKED: &str = r#"{"wasm_hex": "0061736d0100000001060160017f017f021001057574696c7306646f75626c650000030201000710010c646f75626c655f747769636500010a0a0108002000100010000b", "function_name": "double_twice", "params": [2], "host_modules": ["utils"]}"#;

#[tokio::test]
async fn the_documented_examples_work_as_typed() {
    let server = Server::start().await;
    server.post("/").json_text(RUN).await.answers(json!([{ "I32": 4 }]));
    let registered = server.post("/register").json_text(REGISTER).await.has_status(200);
    assert_eq!(registered.text(), "Successfully stored module: utils");
    assert_eq!(registered.header("content-type"), Some("text/plain; charset=utf-8"));
    let executed = server.post("/execute").json_text(EXECUTE).await.has_status(200);
    assert_eq!(executed.text(), r#"[{"I32":4}]"#);
    server.post("/").json_text(RUN_LINKED).await.answers(json!([{ "I32": 8 }]));
}

#[tokio::test]
async fn json_is_read_without_a_content_type_and_as_curl_sends_it_by_default() {
    let server = Server::start().await;
    for (path, body) in [("/register", REGISTER), ("/execute", EXECUTE), ("/", RUN)] {
        server.post(path).body(body).await.has_status(200);
        server.post(path).content("application/x-www-form-urlencoded", body).await.has_status(200);
        server.post(path).content("application/json; charset=utf-8", body).await.has_status(200);
        for other in ["text/plain", "application/wasm", "multipart/form-data; boundary=x"] {
            let refused = server.post(path).content(other, body).await;
            refused.problem(415, "unsupported-media-type").says(&["application/json", other]);
        }
    }
}

#[tokio::test]
async fn a_registration_can_be_retried_and_a_taken_name_cannot_change() {
    let server = Server::start().await;
    for _ in 0..2 {
        server.post("/register").body(REGISTER).await.has_status(200);
    }
    let other = json!({ "module_name": "utils", "wat": TRIPLE });
    server.post("/register").json(other).await.problem(409, "name-taken").says(&["utils"]);
    server.post("/execute").body(EXECUTE).await.answers(json!([{ "I32": 4 }]));
}

#[tokio::test]
async fn wasm_is_taken_as_hex_base64_or_text_and_exactly_once() {
    let server = Server::start().await;
    let base64 = "AGFzbQEAAAABBgFgAX8BfwMCAQAHCgEGZG91YmxlAAAKCQEHACAAQQJsCw==";
    let call = |mut body: serde_json::Value| {
        body["function_name"] = json!("double");
        body["params"] = json!([2]);
        server.post("/").json(body)
    };
    for source in [
        json!({ "wasm_hex": DOUBLE_HEX }),
        json!({ "wasm_hex": DOUBLE_HEX.to_uppercase() }),
        json!({ "wasm_base64": base64 }),
        json!({ "wasm_base64": base64.trim_end_matches('=') }),
        json!({ "wat": DOUBLE }),
    ] {
        call(source).await.answers(json!([{ "I32": 4 }]));
    }
    for sources in [
        json!({}),
        json!({ "wasm_hex": DOUBLE_HEX, "wat": DOUBLE }),
        json!({ "wasm_hex": DOUBLE_HEX, "wasm_base64": base64 }),
    ] {
        call(sources).await.problem(400, "invalid-request").says(&[
            "wasm_hex",
            "wasm_base64",
            "wat",
        ]);
    }
}

#[tokio::test]
async fn answers_are_tagged_with_every_digit() {
    let wat = r#"(module (func (export "all") (result i32 i64 f32 f64 v128 f32 f64 f64)
        (i32.const -1)
        (i64.const -9223372036854775808)
        (f32.const 0.1)
        (f64.const -0)
        (v128.const i64x2 -1 -1)
        (f32.const -inf)
        (f64.const nan:0x4000000000000)
        (f64.const 1e300)))"#;
    let server = Server::start().await;
    let answer = server.post("/").json(json!({ "wat": wat, "function_name": "all" })).await;
    let expected = concat!(
        r#"[{"I32":-1},{"I64":-9223372036854775808},{"F32":0.1},{"F64":-0.0},"#,
        r#"{"V128":340282366920938463463374607431768211455},{"F32":"-inf"},"#,
        r#"{"F64":"nan:0x4000000000000"},{"F64":1e+300}]"#,
    );
    // The text, since a JSON library would lose digits.
    assert_eq!(answer.has_status(200).text(), expected);
}

#[tokio::test]
async fn parameters_may_be_tagged_with_their_type() {
    let wat = r#"(module
        (func (export "i32") (param i32) (result i32) (local.get 0))
        (func (export "i64") (param i64) (result i64) (local.get 0))
        (func (export "f32") (param f32) (result f32) (local.get 0))
        (func (export "f64") (param f64) (result f64) (local.get 0))
        (func (export "v128") (param v128) (result v128) (local.get 0)))"#;
    let server = Server::start().await;
    let registration = json!({ "module_name": "echo", "wat": wat });
    server.post("/register").json(registration).await.has_status(200);
    let call = |function: &str, param: &str| {
        server.post("/execute").body(format!(
            r#"{{"module_name":"echo","function_name":"{function}","params":[{param}]}}"#
        ))
    };
    for (function, param, result) in [
        ("i32", r#"{"I32": 2}"#, r#"[{"I32":2}]"#),
        ("i32", "4294967295", r#"[{"I32":-1}]"#),
        ("i64", r#"{"I64":18446744073709551615}"#, r#"[{"I64":-1}]"#),
        ("i64", r#"{"I64":"-7"}"#, r#"[{"I64":-7}]"#),
        ("f32", r#"{"F32":1e-45}"#, r#"[{"F32":1e-45}]"#),
        ("f64", r#"{"F64":"nan"}"#, r#"[{"F64":"nan:0x8000000000000"}]"#),
        ("v128", r#"{"V128":1}"#, r#"[{"V128":1}]"#),
        ("v128", "340282366920938463463374607431768211455", {
            r#"[{"V128":340282366920938463463374607431768211455}]"#
        }),
        ("v128", r#""0x00000000000000000000000000000010""#, r#"[{"V128":16}]"#),
    ] {
        assert_eq!(call(function, param).await.has_status(200).text(), result, "{param}");
    }
    for (function, param) in [
        ("i32", r#"{"I64":2}"#),
        ("i32", r#"{"I32":2,"I32":3}"#),
        ("i32", r#"{"I32":4294967296}"#),
        ("i32", r#"{"i32":2}"#),
        ("i32", "{}"),
        ("i64", r#"{"F64":2}"#),
        ("v128", "340282366920938463463374607431768211456"),
        ("v128", "-1"),
    ] {
        let problem = call(function, param).await.problem(422, "invalid-params");
        problem.has(json!({ "index": 0, "expected": function }));
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told() {
    let server = Server::start().await;
    let unknown = server.post("/execute").body(EXECUTE).await;
    unknown.problem(404, "unknown-module").says(&["utils"]);
    server.post("/register").body(REGISTER).await.has_status(200);
    let call = |function: &str, params: serde_json::Value| {
        let body = json!({ "module_name": "utils", "function_name": function, "params": params });
        server.post("/execute").json(body)
    };
    let unknown = call("halve", json!([2])).await.problem(404, "unknown-function");
    unknown.has(json!({ "exports": ["double"] })).says(&["halve", "double"]);
    let out_of_range = call("double", json!([4294967296u64])).await;
    out_of_range
        .problem(422, "invalid-params")
        .says(&["params[0]: expected i32, got 4294967296"])
        .has(json!({ "index": 0, "expected": "i32" }));
    call("double", json!([])).await.problem(422, "invalid-params");
    let missing = server.post("/execute").body(r#"{"module_name":"utils"}"#).await;
    missing.problem(400, "invalid-request").says(&["function_name"]);
    let name = json!({ "module_name": "a/b", "wasm_hex": DOUBLE_HEX });
    server.post("/register").json(name).await.problem(422, "invalid-name").says(&["a/b"]);
}

#[tokio::test]
async fn a_guest_that_fails_is_a_problem_with_what_an_answer_would_have() {
    let server = Server::start().await;
    let body = json!({ "wat": "(module (func (export \"f\") unreachable))", "function_name": "f" });
    let problem = server.post("/").json(body).await.problem(422, "trap");
    problem.has(json!({ "outcome": "trap", "trap": { "kind": "unreachable" }, "usage": {} }));
}

#[tokio::test]
async fn host_modules_are_linked_recursively() {
    let server = Server::start().await;
    server.post("/register").body(REGISTER).await.has_status(200);
    let twice = json!({ "module_name": "twice", "wasm_hex": TWICE_HEX, "host_modules": ["utils"] });
    server.post("/register").json(twice).await.has_status(200);
    let wat = r#"(module
        (import "twice" "double_twice" (func $f (param i32) (result i32)))
        (func (export "eightfold") (param i32) (result i32)
          (i32.mul (call $f (local.get 0)) (i32.const 2))))"#;
    let body = json!({
        "wat": wat, "function_name": "eightfold", "params": [3], "host_modules": ["twice"],
    });
    server.post("/").json(body).await.answers(json!([{ "I32": 24 }]));
    // What it linked to is pinned, whatever becomes of the name.
    server.delete("/v1/modules/utils").await.no_content();
    let body = json!({ "module_name": "twice", "function_name": "double_twice", "params": [2] });
    server.post("/execute").json(body).await.answers(json!([{ "I32": 8 }]));
}
