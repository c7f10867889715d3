//! References: host values go in and come back, guests' own objects are only told of.

use serde_json::{Value, json};

use super::support::Session;
use crate::support::server::Server;

const REFERENCES: &str = r#"
    (module
      (type $box (struct (field i32)))
      (type $list (array i8))
      (tag $tag)
      (global (export "kept") (mut externref) (ref.null extern))
      (table (export "table") 10 externref)
      (func (export "echo") (param externref) (result externref) (local.get 0))
      (func (export "echo_any") (param anyref) (result anyref) (local.get 0))
      (func (export "internalize") (param externref) (result anyref)
        (any.convert_extern (local.get 0)))
      (func (export "externalize") (param anyref) (result externref)
        (extern.convert_any (local.get 0)))
      (func (export "keep") (param externref) (global.set 0 (local.get 0)))
      (func (export "set") (param i32 externref) (table.set (local.get 0) (local.get 1)))
      (func (export "get") (param i32) (result externref) (table.get (local.get 0)))
      (func (export "not_null") (param (ref extern)) (result (ref extern)) (local.get 0))
      (func (export "eq") (param eqref) (result eqref) (local.get 0))
      (func $f (export "func") (result funcref) (ref.func $f))
      (func (export "struct") (result anyref) (struct.new $box (i32.const 1)))
      (func (export "array") (result anyref) (array.new_default $list (i32.const 1)))
      (func (export "i31") (result anyref) (ref.i31 (i32.const 1)))
      (func (export "exn") (result exnref)
        (block $caught (result exnref)
          (try_table (catch_all_ref $caught) (throw $tag))
          (unreachable)))
      (func (export "wrapped") (result externref)
        (extern.convert_any (struct.new $box (i32.const 1)))))"#;

async fn session(server: &Server) -> Session<'_> {
    let session = Session::new(server).await;
    session.instance("M", REFERENCES).await.created();
    session
}

#[tokio::test]
async fn host_values_come_back_as_they_went_in() {
    let server = Server::start().await;
    let session = session(&server).await;
    for value in
        [json!(1), json!("text"), json!(null), json!([1, { "a": [] }]), json!({ "extern": 2 })]
    {
        let host = json!({ "extern": value });
        for function in ["echo", "echo_any", "internalize", "externalize", "not_null"] {
            let call = session.call("M", function, json!([host])).await;
            call.ok(json!({ "results": [host] }));
        }
    }
    // To the digit, and to the space.
    let body = r#"{"params":[{"extern": [1.50e3, 12345678901234567890123] }]}"#;
    let kept = session.post("/instances/M/functions/echo").json_text(body).await.has_status(200);
    assert!(kept.text().contains(r#"[{"extern":[1.50e3, 12345678901234567890123]}]"#), "{kept:?}");
    for function in ["echo", "echo_any", "internalize", "externalize", "eq"] {
        session.call("M", function, json!([null])).await.ok(json!({ "results": [null] }));
    }
}

#[tokio::test]
async fn host_values_stay_in_globals_and_tables() {
    let server = Server::start().await;
    let session = session(&server).await;
    let kept = "/instances/M/globals/kept";
    session.get(kept).await.answers(json!({ "type": "externref", "value": null }));
    session.call("M", "keep", json!([{ "extern": "a" }])).await.ok(json!({}));
    session.get(kept).await.ok(json!({ "value": { "extern": "a" } }));
    let set = session.put(kept).json(json!({ "value": { "extern": "b" } })).await;
    set.ok(json!({ "value": { "extern": "b" } }));
    session.get(kept).await.ok(json!({ "value": { "extern": "b" } }));
    for index in 0..10 {
        session.call("M", "set", json!([index, { "extern": index }])).await.ok(json!({}));
    }
    for index in 0..10 {
        let host = json!({ "extern": index });
        session.call("M", "get", json!([index])).await.ok(json!({ "results": [host] }));
    }
}

#[tokio::test]
async fn guests_own_objects_are_told_by_their_kind() {
    let server = Server::start().await;
    let session = session(&server).await;
    for kind in ["func", "struct", "array", "i31", "exn"] {
        let call = session.call("M", kind, json!([])).await;
        call.ok(json!({ "results": [{ "ref": kind }] }));
    }
    session.call("M", "wrapped", json!([])).await.ok(json!({ "results": [{ "ref": "extern" }] }));
}

#[tokio::test]
async fn what_is_no_host_value_is_refused() {
    let server = Server::start().await;
    let session = session(&server).await;
    let refused = |function: &'static str, value: Value| {
        let call = session.call("M", function, json!([value]));
        async move { call.await.problem(422, "invalid-params").has_not("usage") }
    };
    for value in [
        json!(1),
        json!("x"),
        json!({}),
        json!({ "extern": 1, "x": 2 }),
        json!({ "ref": "extern" }),
        json!([1]),
    ] {
        refused("echo", value).await.says(&["externref", "extern"]);
    }
    refused("not_null", json!(null)).await.says(&["(ref extern)"]);
    refused("eq", json!({ "extern": 1 })).await.says(&["eqref"]);
    // A fresh instance for one call keeps nothing, so it takes none.
    server.put("/v1/modules/references").wat(REFERENCES).await.created();
    let body = json!({ "params": [{ "extern": 1 }] });
    let call = server.post("/v1/modules/references/functions/echo").json(body).await;
    call.problem(422, "invalid-params");
}

#[tokio::test]
async fn host_values_count_as_memory_and_are_collected() {
    let server = Server::start().await;
    let limits = json!({ "memory_bytes": 4 << 20 });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", REFERENCES).await.created();
    let value = json!({ "extern": "x".repeat(1 << 20) });
    // Far more than fits at once: what no guest keeps makes room.
    for _ in 0..12 {
        session.call("M", "keep", json!([value])).await.ok(json!({}));
    }
    let refusal = async {
        for index in 0..10 {
            let set = session.call("M", "set", json!([index, value])).await;
            if set.status != 200 {
                return set;
            }
        }
        panic!("ten times a mebibyte does not fit into four");
    };
    let refused = refusal.await.problem(422, "memory-limit");
    refused.says(&["the session may have 4194304 bytes"]).has_not("usage");
    session.call("M", "keep", json!([null])).await.ok(json!({ "results": [] }));
    session.call("M", "get", json!([9])).await.ok(json!({ "results": [null] }));
}

#[tokio::test]
async fn long_host_values_are_more_than_a_call_may_return() {
    let server = Server::start().await;
    let limits = json!({ "output_bytes": 1000 });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", REFERENCES).await.created();
    let results = "externref ".repeat(1000);
    let many = "(global.get 0) ".repeat(1000);
    let many = format!(
        r#"(module (import "M" "kept" (global (mut externref)))
            (func (export "many") (result {results}) {many}))"#
    );
    session.instance("N", &many).await.created();
    session.call("M", "keep", json!([{ "extern": "x".repeat(1 << 20) }])).await.ok(json!({}));
    session.call("N", "many", json!([])).await.problem(422, "output-limit");
    let kept = "/instances/M/globals/kept";
    session.get(kept).await.problem(422, "output-limit");
    let long = json!({ "value": { "extern": "x".repeat(1000) } });
    session.put(kept).json(long).await.problem(422, "output-limit");
    session.put(kept).json(json!({ "value": { "extern": 1 } })).await.ok(json!({}));
    session.get(kept).await.ok(json!({ "value": { "extern": 1 } }));
}
