//! Calls: their answers, their limits, and what stays after they fail.

use serde_json::{Value, json};

use super::support::{COUNTER, Session};
use crate::support::guests::DOUBLE;
use crate::support::server::Server;

#[tokio::test]
async fn a_call_answers_like_any_other() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let made = session.instance("M", COUNTER).await.created();
    let answer = session.call("M", "next", json!([])).await.ok(json!({
        "outcome": "ok",
        "results": [1],
        "usage": { "fuel": null, "memory_bytes": 65_536 },
        "module": made["module"],
    }));
    assert!(answer["usage"]["wall_us"].is_u64(), "{answer}");
    // Without a body, and through the one path for all names.
    session.post("/instances/M/functions/next").await.ok(json!({ "results": [2] }));
    let body = json!({ "instance": "M", "function": "next" });
    session.post("/call").json(body).await.ok(json!({ "results": [3] }));
}

#[tokio::test]
async fn functions_and_exports_may_have_any_name() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let odd = r#"
        (module
          (func (export "a/b c") (result i32) (i32.const 1))
          (func (export "") (result i32) (i32.const 2))
          (global (export "") (mut i32) (i32.const 3))
          (global (export "ü/") i32 (i32.const 4))
          (memory (export "..") 1))"#;
    session.instance("M", odd).await.problem(422, "invalid-wasm").says(&["duplicate export"]);
    let odd = odd.replace("(global (export \"\")", "(global (export \".\")");
    session.instance("M", &odd).await.created();
    session.call("M", "a%2Fb%20c", json!([])).await.ok(json!({ "results": [1] }));
    let body = json!({ "instance": "M", "function": "" });
    session.post("/call").json(body).await.ok(json!({ "results": [2] }));
    session.get("/instances/M/globals?name=.").await.ok(json!({ "value": 3 }));
    session.get("/instances/M/globals/%C3%BC%2F").await.ok(json!({ "value": 4 }));
    session.get("/instances/M/globals?name=%C3%BC%2F").await.ok(json!({ "value": 4 }));
    let changed = session.put("/instances/M/globals?name=.").json(json!({ "value": 5 })).await;
    changed.answers(json!({ "type": "i32", "value": 5 }));
    let written = session.put("/instances/M/memories?name=..&offset=1");
    written.content("application/octet-stream", "xy").await.no_content();
    let read = session.get("/instances/M/memories?name=..&offset=0&length=3").await.has_status(200);
    assert_eq!(&*read.body, b"\0xy");
}

#[tokio::test]
async fn what_is_not_there_or_not_fitting_says_so() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", DOUBLE).await.created();
    let unknown = session.call("M", "triple", json!([2])).await.problem(404, "unknown-function");
    unknown.has(json!({ "exports": ["double"], "outcome": "unknown-function" }));
    let unknown = session.call("N", "double", json!([2])).await.problem(404, "unknown-instance");
    unknown.has(json!({ "instance": "N", "outcome": "unknown-instance" }));
    for params in [json!([]), json!([1, 2]), json!(["1"]), json!([null]), json!([{ "extern": 1 }])]
    {
        let refused = session.call("M", "double", params).await.problem(422, "invalid-params");
        refused.has_not("usage");
    }
    let path = "/instances/M/functions/double";
    for body in [
        json!({ "params": [2], "fuel": 1 }),
        json!({ "params": [2], "limits": { "fuel": 1 } }),
        json!({ "params": [2], "limits": { "memory_bytes": 1 } }),
        json!([2]),
    ] {
        let refused = session.post(path).json(body).await.problem(400, "invalid-request");
        refused.has(json!({ "outcome": "invalid-request" }));
    }
    let text = session.post(path).content("text/plain", "{}").await;
    text.problem(415, "unsupported-media-type");
    session.get(path).await.problem(405, "method-not-allowed");
    session.post("/call").json(json!({ "function": "f" })).await.problem(400, "invalid-request");
    session.get("/nothing").await.problem(404, "not-found");
}

#[tokio::test]
async fn state_is_kept_after_a_trap() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    let relay = r#"
        (module (import "M" "trap" (func $trap)) (func $relay (export "relay") (call $trap)))"#;
    let relayed = session.instance("N", relay).await.created();
    let module = session.get("").await.value()["instances"][0]["module"].clone();
    let trapped = session.call("N", "relay", json!([])).await.problem(422, "trap").has(json!({
        "outcome": "trap",
        "module": relayed["module"],
        "trap": { "kind": "unreachable" },
    }));
    let frames = trapped.body["trap"]["backtrace"].as_array().unwrap();
    let modules: Vec<&Value> = frames.iter().map(|frame| &frame["module"]).collect();
    assert_eq!(modules, [&module, &relayed["module"]]);
    assert_eq!(frames[1]["function"], "relay");
    assert!(trapped.body["usage"]["wall_us"].is_u64());
    session.call("M", "next", json!([])).await.ok(json!({ "results": [101] }));
}

#[tokio::test]
async fn a_stack_that_overflows_is_there_again_for_the_next_call() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", crate::support::guests::UNRULY).await.created();
    for _ in 0..3 {
        let overflown = session.call("M", "recurse", json!([])).await;
        overflown.problem(422, "stack-overflow").has(json!({ "outcome": "stack-overflow" }));
        session.call("M", "fine", json!([])).await.ok(json!({ "results": [] }));
    }
}

#[tokio::test]
async fn a_call_may_lower_the_sessions_limits_and_not_raise_them() {
    let server = Server::start().await;
    let limits = json!({ "timeout_ms": 1000, "output_bytes": 10 });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    session.instance("M", COUNTER).await.created();
    let call = |limits: Value| {
        session.post("/instances/M/functions/next").json(json!({ "limits": limits }))
    };
    call(json!({ "timeout_ms": 1000, "output_bytes": 3 })).await.ok(json!({ "results": [1] }));
    let over = call(json!({ "output_bytes": 2 })).await.problem(422, "output-limit");
    over.has(json!({ "outcome": "output-limit" }));
    // It has run all the same.
    call(json!({})).await.ok(json!({ "results": [3] }));
    for (limits, limit, maximum) in [
        (json!({ "timeout_ms": 1001 }), "timeout_ms", 1000),
        (json!({ "output_bytes": 11 }), "output_bytes", 10),
    ] {
        let refused = call(limits).await.problem(422, "limit-too-high");
        refused.has(json!({ "limit": limit, "maximum": maximum }));
    }
}
