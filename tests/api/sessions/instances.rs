//! Instances: how they are made, what they are called, and what is left when that fails.

use serde_json::{Value, json};

use super::support::{COUNTER, Session};
use crate::support::guests::{DOUBLE, DOUBLE_DIGEST, DOUBLE_HEX};
use crate::support::server::Server;

#[tokio::test]
async fn an_instance_keeps_its_state_between_calls() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let made = session.instance("M", COUNTER).await.created();
    assert_eq!(made["name"], "M");
    for count in 1..4 {
        session
            .call("M", "next", json!([]))
            .await
            .ok(json!({ "outcome": "ok", "results": [count] }));
    }
    session.get("/instances/M/globals/count").await.answers(json!({ "type": "i32", "value": 3 }));
    let memory = json!({ "memory_bytes": 65_536, "peak_memory_bytes": 65_536 });
    let instances = json!([{ "name": "M", "module": made["module"] }]);
    session.get("").await.ok(json!({ "usage": memory, "instances": instances }));
}

#[tokio::test]
async fn what_an_instance_exports_is_told_as_in_descriptions() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let made = session.instance("M", COUNTER).await.created();
    server.put("/v1/modules/counter").wat(COUNTER).await.created();
    let described = server.get("/v1/modules/counter").await.ok(json!({}));
    assert_eq!(made["exports"], described["exports"]);
    assert_eq!(made["module"], described["digest"]);
}

#[tokio::test]
async fn an_instance_is_made_of_wasm_in_any_notation_or_of_a_registered_module() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let session = Session::new(&server).await;
    let base64 = "AGFzbQEAAAABBgFgAX8BfwMCAQAHCgEGZG91YmxlAAAKCQEHACAAQQJsCw==";
    for (name, module) in [
        ("a", json!({ "wasm_hex": DOUBLE_HEX })),
        ("b", json!({ "wasm_base64": base64 })),
        ("c", json!({ "wat": DOUBLE })),
        ("d", json!({ "module": "utils" })),
        ("e", json!({ "module": DOUBLE_DIGEST })),
    ] {
        let mut body = module;
        body["name"] = json!(name);
        let made = session.post("/instances").json(body).await.created();
        assert_eq!(made["module"], DOUBLE_DIGEST);
        let called = session.call(name, "double", json!([2])).await;
        called.ok(json!({ "results": [4], "module": DOUBLE_DIGEST }));
    }
    let names = session.get("").await.value();
    assert_eq!(names["instances"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn names_are_labels_and_are_taken_once() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", DOUBLE).await.created();
    session.instance("M", COUNTER).await.problem(409, "name-taken").says(&["\"M\""]);
    session.instance("M.1-x_Y", DOUBLE).await.created();
    session.instance(&"a".repeat(64), DOUBLE).await.created();
    for name in ["", ".a", "-a", "a b", "a/b", "a:b", "a@1.0.0", "ä", &"a".repeat(65)] {
        session.instance(name, DOUBLE).await.problem(422, "invalid-name");
    }
    // Another session has names of its own.
    Session::new(&server).await.instance("M", COUNTER).await.created();
}

#[tokio::test]
async fn a_body_that_is_not_one_is_refused() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let make = |body: Value| session.post("/instances").json(body);
    for body in [
        json!({}),
        json!({ "name": "M" }),
        json!({ "wat": DOUBLE }),
        json!({ "name": "M", "wat": DOUBLE, "module": "utils" }),
        json!({ "name": "M", "wat": DOUBLE, "wasm_hex": DOUBLE_HEX }),
        json!({ "name": "M", "wat": DOUBLE, "limits": {} }),
        json!({ "name": "M", "wat": DOUBLE, "links": [] }),
        json!({ "name": "M", "wat": DOUBLE, "links": { "a": 1 } }),
        json!({ "name": "M", "wat": DOUBLE, "links": { "a": {} } }),
        json!({ "name": "M", "wat": DOUBLE, "links": { "a": { "instance": "M", "x": 1 } } }),
        json!({ "name": "M", "wasm_hex": "00g1" }),
        json!(["M"]),
    ] {
        make(body).await.problem(400, "invalid-request");
    }
    let twice = format!(r#"{{"name":"M","links":{{"a":"x","a":"y"}},"wasm_hex":"{DOUBLE_HEX}"}}"#);
    let twice = session.post("/instances").json_text(twice).await;
    twice.problem(400, "invalid-request").says(&["duplicate link"]);
    make(json!({ "name": "M", "module": "nobody" })).await.problem(404, "unknown-module");
    make(json!({ "name": "M", "wasm_hex": "00" })).await.problem(422, "invalid-wasm");
    make(json!({ "name": "M", "wat": "(module" })).await.problem(422, "invalid-wat");
    session.post("/instances").wat(DOUBLE).await.problem(415, "unsupported-media-type");
    session.post("/instances").await.problem(415, "unsupported-media-type");
    make(json!({ "name": "M", "wat": DOUBLE })).await.created();
}

#[tokio::test]
async fn a_trap_in_the_start_function_frees_the_name_and_keeps_what_was_written() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("memory", COUNTER).await.created();
    let starting = r#"
        (module
          (import "memory" "memory" (memory 1))
          (import "memory" "table" (table 2 funcref))
          (elem (i32.const 1) func $f)
          (data (i32.const 0) "\07")
          (func $f)
          (func $start (i32.store8 (i32.const 1) (i32.const 8)) unreachable)
          (start $start))"#;
    let failed = session.instance("M", starting).await.problem(422, "trap");
    let failed = failed.has(json!({ "trap": { "kind": "unreachable" } }));
    let frame = &failed.body["trap"]["backtrace"][0];
    assert!(frame["module"].as_str().unwrap().starts_with("sha256:"), "{frame}");
    assert_eq!(frame["index"], 1);
    assert!(failed.body["usage"]["wall_us"].is_u64());
    let kept = session.get("/instances/memory/memories/memory?length=2").await.has_status(200);
    assert_eq!(&*kept.body, [7, 8]);
    // What it put into the table can still be called.
    let calling = r#"
        (module
          (import "memory" "table" (table 2 funcref))
          (func (export "f") (call_indirect (i32.const 1))))"#;
    session.instance("M", calling).await.created();
    session.call("M", "f", json!([])).await.ok(json!({ "results": [] }));
    // A segment out of bounds traps, too.
    let segment = r#"(module (memory 1) (data (i32.const 65536) "x"))"#;
    let failed = session.instance("N", segment).await.problem(422, "trap");
    failed.has(json!({ "trap": { "kind": "memory-out-of-bounds" } }));
}

#[tokio::test]
async fn exceptions_garbage_collection_and_tail_calls_work() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("tags", COUNTER).await.created();
    let throwing = r#"
        (module
          (import "tags" "tag" (tag $tag (param i32)))
          (type $box (struct (field (mut i64))))
          (global $kept (mut (ref null $box)) (ref.null $box))
          (func (export "throw") (param i32) (throw $tag (local.get 0)))
          (func (export "keep") (param i64) (global.set $kept (struct.new $box (local.get 0))))
          (func (export "kept") (result i64) (struct.get $box 0 (global.get $kept)))
          (func $count (export "count") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (return (i32.const 7))))
            (return_call $count (i32.sub (local.get 0) (i32.const 1)))))"#;
    session.instance("throws", throwing).await.created();
    let catching = r#"
        (module
          (import "tags" "tag" (tag $tag (param i32)))
          (import "throws" "throw" (func $throw (param i32)))
          (func (export "catch") (param i32) (result i32)
            (block $caught (result i32)
              (try_table (catch $tag $caught) (call $throw (local.get 0)))
              (i32.const -1))))"#;
    session.instance("catches", catching).await.created();
    session.call("catches", "catch", json!([5])).await.ok(json!({ "results": [5] }));
    let thrown = session.call("throws", "throw", json!([5])).await.problem(422, "trap");
    thrown.has(json!({ "trap": { "kind": "exception" } }));
    session.call("throws", "keep", json!([9])).await.ok(json!({}));
    session.call("throws", "kept", json!([])).await.ok(json!({ "results": ["9"] }));
    session.call("throws", "count", json!([100_000])).await.ok(json!({ "results": [7] }));
}
