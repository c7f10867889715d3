//! `memory` and bytes as parameters, in calls of sessions.

use serde_json::{Value, json};

use super::support::Session;
use crate::support::server::Server;

/// Gives space from 1024 on, and looks at it.
const TEXTS: &str = r#"
    (module
      (memory (export "memory") 1)
      (global $next (mut i32) (i32.const 1024))
      (func (export "alloc") (param i32) (result i32)
        (global.get $next)
        (global.set $next (i32.add (global.get $next) (local.get 0))))
      (func (export "last") (param i32 i32) (result i32)
        (i32.load8_u (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 1))))
      (func (export "where") (param i32 i32) (result i32 i32) (local.get 0) (local.get 1))
      (func (export "kept") (param externref i32 i32) (result externref i32)
        (local.get 0) (i32.load8_u (local.get 1)))
      (func (export "trap") unreachable)
      (func (export "fine")))"#;

async fn session(server: &Server) -> Session<'_> {
    let session = Session::new(server).await;
    session.instance("M", TEXTS).await.created();
    session
}

#[tokio::test]
async fn bytes_are_passed_and_what_was_allocated_stays() {
    let server = Server::start().await;
    let session = session(&server).await;
    session.call("M", "last", json!([{ "utf8": "abc" }])).await.ok(json!({ "results": [99] }));
    let second = session.call("M", "where", json!([{ "base64": "eHk=" }])).await;
    second.ok(json!({ "results": [1027, 2] }));
    let kept = session.get("/instances/M/memories/memory?offset=1024&length=5").await;
    assert_eq!(&*kept.has_status(200).body, b"abcxy");
    // Beside host values, in the order of the parameters.
    let both = session.call("M", "kept", json!([{ "extern": [1] }, { "utf8": "z" }])).await;
    both.ok(json!({ "results": [{ "extern": [1] }, 122] }));
    let none = "(module (memory (export \"memory\") 1) (func (export \"f\") (param i32 i32)))";
    session.instance("N", none).await.created();
    let refused = session.call("N", "f", json!([{ "utf8": "a" }])).await;
    refused.problem(422, "no-allocator").has_not("usage");
    let refused = session.call("M", "last", json!([1, { "utf8": "a" }])).await;
    refused.problem(422, "invalid-params");
}

#[tokio::test]
async fn memory_is_written_before_a_call_and_read_after_it() {
    let server = Server::start().await;
    let session = session(&server).await;
    let call = |function: &str, memory: Value| {
        let path = format!("/instances/M/functions/{function}");
        session.post(&path).json(json!({ "memory": memory }))
    };
    let write = json!([{ "offset": 8, "utf8": "hi" }]);
    call("fine", json!({ "write": write })).await.ok(json!({ "results": [] }));
    let read = json!([{ "offset": 8, "length": 2 }, { "offset": 65_535, "length": 2 }]);
    let found = json!({ "read": [{ "offset": 8, "base64": "aGk=" }, { "error": "out-of-range" }] });
    call("fine", json!({ "read": read })).await.ok(json!({ "memory": found }));
    let trapped = call("trap", json!({ "read": read })).await.problem(422, "trap");
    trapped.has(json!({ "memory": found }));
    let body = json!({ "instance": "M", "function": "fine", "memory": { "read": read } });
    session.post("/call").json(body).await.ok(json!({ "memory": found }));
    // What does not fit is refused before the call, with nothing written.
    let writes = json!([{ "offset": 0, "utf8": "x" }, { "offset": 65_536, "utf8": "y" }]);
    let refused =
        call("trap", json!({ "write": writes })).await.problem(422, "invalid-memory-range");
    refused.has(json!({ "index": 1, "outcome": "invalid-memory-range" }));
    let kept = session.get("/instances/M/memories/memory?length=1").await.has_status(200);
    assert_eq!(&*kept.body, [0]);
    let unknown = call("fine", json!({ "memory": "nothing", "read": read })).await;
    unknown.problem(404, "unknown-export").has(json!({ "memories": ["memory"] }));
}

#[tokio::test]
async fn the_host_provides_no_memories_in_sessions() {
    let server = Server::start().await;
    let importing = r#"
        (module (import "env" "memory" (memory 1)) (func (export "f")))"#;
    server.put("/v1/modules/importing").wat(importing).await.created();
    let session = session(&server).await;
    let body = |name: &str| json!({ "name": name, "module": "importing" });
    let refused = session.post("/instances").json(body("N")).await.problem(422, "link-error");
    refused.says(&["\"env\" \"memory\" (memory 1)"]);
    let mut linked = body("N");
    linked["links"] = json!({ "env": { "instance": "M" } });
    session.post("/instances").json(linked).await.created();
    // A module that is linked to cannot have them, either.
    let through = r#"(module (import "i" "f" (func)))"#;
    let refused = session.linked("O", through, json!({ "i": "importing" })).await;
    refused.problem(422, "link-error").says(&["\"i\"", "memory of the host"]);
}
