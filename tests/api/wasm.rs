//! Wasm that is broken, invalid, unsupported or too much, wherever Wasm is taken.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::guests::{DOUBLE_HEX, adding, bytes};
use crate::support::response::Response;
use crate::support::server::Server;

#[tokio::test]
async fn broken_hex_is_told_with_its_position() {
    let server = Server::start().await;
    for (hex, detail, position) in [
        ("00617", "odd", json!(null)),
        ("0061736d0100000g", "'g'", json!(15)),
        ("0x0061736d01000000", "'x'", json!(1)),
        ("0061 736d", "' '", json!(4)),
        ("0061é36d", "'é'", json!(4)),
    ] {
        for path in ["/", "/v1/call", "/v1/modules", "/register"] {
            let mut body = json!({ "wasm_hex": hex });
            match path {
                "/" => body["function_name"] = json!("f"),
                "/v1/call" => body["function"] = json!("f"),
                "/register" => body["module_name"] = json!("m"),
                _ => {}
            }
            let problem = server.post(path).json(body).await.problem(400, "invalid-request");
            let problem = problem.says(&["wasm_hex", detail]);
            assert_eq!(problem.body.get("position").unwrap_or(&Value::Null), &position);
        }
    }
}

#[tokio::test]
async fn broken_base64_is_told() {
    let server = Server::start().await;
    for base64 in ["A", "AGFz*mQE", "AGFz bQE", "=AGF", "AGFzbQE==="] {
        let refused = server.post("/v1/modules").json(json!({ "wasm_base64": base64 })).await;
        refused.problem(400, "invalid-request").says(&["wasm_base64"]);
    }
}

#[tokio::test]
async fn invalid_bytes_are_told_with_offset_and_reason() {
    let server = Server::start().await;
    let double = bytes(DOUBLE_HEX);
    for (name, wasm, at_least) in [
        ("empty", Vec::new(), 0),
        ("text", b"(module)".to_vec(), 0),
        ("half a header", double[..6].to_vec(), 4),
        ("an unknown version", b"\0asm\x02\0\0\0".to_vec(), 4),
        ("cut within a section", double[..20].to_vec(), 8),
        ("cut within the code", double[..42].to_vec(), 8),
        ("an unknown section", b"\0asm\x01\0\0\0\x7f\x00".to_vec(), 8),
        ("bytes past the end", [&double[..], b"\xff"].concat(), 43),
    ] {
        let problem = server.post("/v1/modules").wasm(wasm).await.problem(422, "invalid-wasm");
        assert!(problem.body["offset"].as_u64().unwrap() >= at_least, "{name}: {}", problem.body);
        assert!(problem.body["reason"].is_string(), "{name}: {}", problem.body);
    }
}

#[tokio::test]
async fn a_body_that_does_not_type_check_is_invalid() {
    let server = Server::start().await;
    let wat = r#"(module (func (export "f") (result i32) (i32.add (i32.const 1))))"#;
    let wasm = bytes("0061736d010000000105016000017f03020100070501016600000a0701050041016a0b");
    for response in [
        server.post("/v1/modules").wat(wat).await,
        server.post("/v1/modules").wasm(wasm).await,
        server.post("/v1/call").json(json!({ "wat": wat, "function": "f" })).await,
        server.post("/").json(json!({ "wat": wat, "function_name": "f" })).await,
    ] {
        let problem = response.problem(422, "invalid-wasm");
        assert!(problem.body["offset"].as_u64().unwrap() > 30, "{}", problem.body);
    }
}

#[tokio::test]
async fn broken_text_is_told_with_line_and_column() {
    let server = Server::start().await;
    for (wat, line, column) in [
        ("(module\n  (fun))", 2, 4),
        ("", 1, 1),
        ("(module (func (export \"f\") (call $nobody)))", 1, 34),
        ("(module \u{7} )", 1, 9),
        ("(module (memory \"", 1, 18),
    ] {
        let problem = server.post("/v1/modules").wat(wat).await.problem(422, "invalid-wat");
        problem.has(json!({ "line": line, "column": column }));
    }
    let latin = server.post("/v1/modules").wat(b"(module) ;; \xe9".to_vec()).await;
    latin.problem(400, "invalid-request").says(&["UTF-8"]);
    let nested = server.post("/v1/modules").wat("(block".repeat(100_000)).await;
    nested.problem(422, "invalid-wat");
}

#[tokio::test]
async fn what_is_valid_and_switched_off_is_unsupported() {
    let server = Server::start().await;
    for (wat, detail) in [
        ("(module (memory 1 1 shared))", "shared"),
        ("(module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))", ""),
    ] {
        let problem = server.post("/v1/modules").wat(wat).await.problem(422, "unsupported-feature");
        problem.says(&[detail]);
    }
    // It imports a function that has to be exactly of its type.
    let exact = "0061736d01000000010401600000020701016d01662000";
    let call = json!({ "wasm_hex": exact, "function": "f" });
    for response in [
        server.put("/v1/modules/exact").wasm(bytes(exact)).await,
        server.post("/v1/call").json(call).await,
    ] {
        response.problem(422, "unsupported-feature").says(&["exact function imports"]);
    }
    let component = bytes("0061736d0d000100");
    let call = json!({ "wasm_hex": "0061736d0d000100", "function": "f" });
    for response in [
        server.put("/v1/modules/c").wasm(component).await,
        server.post("/v1/call").json(call).await,
    ] {
        response.problem(422, "unsupported-feature").says(&["component", "core module"]);
    }
}

#[tokio::test]
async fn a_component_is_unsupported_as_text_too() {
    let server = Server::start().await;
    let problem = server.post("/v1/modules").wat("(component)").await;
    problem.problem(422, "unsupported-feature").says(&["component", "core module"]);
}

#[tokio::test]
async fn more_than_a_call_can_have_is_refused_when_registering() {
    let server = Server::start().await;
    let memory = server.post("/v1/modules").wat("(module (memory 4097))").await;
    memory.problem(422, "memory-limit").has(json!({
        "initial_bytes": 4097u64 << 16, "maximum": 256u64 << 20,
    }));
    server.post("/v1/modules").wat("(module (memory 4096))").await.created();
    let table = server.post("/v1/modules").wat("(module (table 100001 funcref))").await;
    table.problem(422, "unsupported-feature").says(&["100001"]);
    server.post("/v1/modules").wat("(module (table 100000 funcref))").await.created();
    let memories = format!("(module {})", "(memory 0)".repeat(65));
    server.post("/v1/modules").wat(memories).await.problem(422, "unsupported-feature");
    let memories = format!("(module {})", "(memory 0)".repeat(64));
    server.post("/v1/modules").wat(memories).await.created();
}

#[tokio::test]
async fn a_module_larger_than_the_limit_is_refused_in_every_notation() {
    let server = Server::with(|setup| setup.limits.wasm_bytes = 100).await;
    // A custom section makes a module of any size: here 100 and 101 bytes.
    let padded = |size: usize| {
        let mut wasm = b"\0asm\x01\0\0\0\0".to_vec();
        wasm.push(u8::try_from(size - 10).unwrap());
        wasm.push(0);
        wasm.resize(size, b' ');
        wasm
    };
    let hex = |wasm: &[u8]| crate::support::hex(wasm);
    server.put("/v1/modules/largest").wasm(padded(100)).await.created();
    server
        .put("/v1/modules/largest")
        .json(json!({ "wasm_hex": hex(&padded(100)) }))
        .await
        .ok(json!({ "wasm": { "size": 100 } }));
    for response in [
        server.post("/v1/modules").wasm(padded(101)).await,
        server.post("/v1/modules").json(json!({ "wasm_hex": hex(&padded(101)) })).await,
        server.post("/v1/modules").json(json!({ "wasm_base64": "A".repeat(400) })).await,
        server.post("/v1/modules").wat(" ".repeat(101)).await,
    ] {
        response.problem(413, "too-large").says(&["100"]).has(json!({ "maximum": 100 }));
    }
}

/// Compiles what takes a while, where it may take no time at all, and gives the answer.
pub(crate) async fn compiling_for_too_long() -> Response {
    let server = Server::with(|setup| setup.engine.compile_timeout = Duration::ZERO).await;
    let refused = server.put("/v1/modules/adding").wat(adding(20_000, 0)).await;
    server.get("/v1/modules/adding").await.problem(404, "unknown-module");
    refused
}

#[tokio::test]
async fn a_compilation_that_takes_too_long_is_given_up() {
    let problem = compiling_for_too_long().await.problem(422, "compile-limit");
    problem.has(json!({ "limit": "compile_timeout_ms", "maximum": 0 }));
}

#[tokio::test]
async fn a_large_module_is_taken_whole() {
    let server = Server::start().await;
    // 3 MiB of data, so that every path for what is large is taken.
    let data = "x".repeat(3 << 20);
    let wat = format!(
        r#"(module (memory 64) (data (i32.const 0) "{data}")
            (func (export "last") (result i32) (i32.load8_u (i32.const 3145727))))"#
    );
    let created = server.put("/v1/modules/large").wat(wat).await.created();
    let size = created["wasm"]["size"].as_u64().unwrap();
    let wasm = server.get("/v1/modules/large/wasm").await.has_status(200).body;
    assert_eq!(wasm.len() as u64, size);
    let call = server.post("/v1/modules/large/functions/last").await;
    call.ok(json!({ "results": [i32::from(b'x')] }));
    let body = json!({ "wasm_hex": crate::support::hex(&wasm), "function": "last" });
    let inline = server.post("/v1/call").json(body).await;
    inline.ok(json!({ "results": [120], "module": created["digest"] }));
}
