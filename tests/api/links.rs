//! Links: pinned when a module is registered, each module of the graph once in a call.

use serde_json::{Value, json};

use crate::support::guests::{DOUBLE, DOUBLE_DIGEST, TRIPLE, TWICE_HEX, answering, bytes};
use crate::support::response::assert_contains;
use crate::support::server::Server;

/// Imports `answer` from `m` and exports it again.
const FORWARD: &str = r#"
    (module
      (import "m" "answer" (func $answer (result i32)))
      (export "answer" (func $answer)))"#;

/// Registers a counter, two modules that count through it, and one that has both.
async fn register_diamond(server: &Server) {
    let counter = r#"(module
        (global $count (mut i32) (i32.const 0))
        (func (export "next") (result i32)
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (global.get $count)))"#;
    let side = |name: &str| {
        format!(
            r#"(module
                (import "counter" "next" (func $next (result i32)))
                (func (export "{name}") (result i32) (call $next)))"#
        )
    };
    let top = r#"(module
        (import "left" "l" (func $l (result i32)))
        (import "right" "r" (func $r (result i32)))
        (import "counter" "next" (func $n (result i32)))
        (func (export "all") (result i32 i32 i32 i32)
          (call $l) (call $r) (call $n) (call $l)))"#;
    server.put("/v1/modules/counter").wat(counter).await.created();
    server.put("/v1/modules/left?link=counter=counter").wat(side("l")).await.created();
    server.put("/v1/modules/right?link=counter=counter").wat(side("r")).await.created();
    let path = "/v1/modules/top?link=left=left&link=right=right&link=counter=counter";
    server.put(path).wat(top).await.created();
}

#[tokio::test]
async fn a_diamond_shares_one_instance_within_a_call() {
    let server = Server::start().await;
    register_diamond(&server).await;
    for _ in 0..3 {
        let call = server.post("/v1/modules/top/functions/all").await;
        call.ok(json!({ "results": [1, 2, 3, 4] }));
    }
}

#[tokio::test]
async fn links_are_pinned_to_what_a_name_meant() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let twice = server.put("/v1/modules/twice?link=utils=utils").wasm(bytes(TWICE_HEX)).await;
    let twice = twice.created();
    server.delete("/v1/modules/utils").await.no_content();
    server.put("/v1/modules/utils").wat(TRIPLE).await.created();
    let call =
        server.post("/v1/modules/twice/functions/double_twice").json(json!({ "params": [2] }));
    call.await.ok(json!({ "results": [8], "module": twice["digest"] }));
    let described = server.get("/v1/modules/twice").await;
    described.ok(json!({ "links": { "utils": { "digest": DOUBLE_DIGEST, "name": null } } }));
}

#[tokio::test]
async fn a_link_to_a_bare_label_is_pinned_to_its_highest_release() {
    let server = Server::start().await;
    server.put("/v1/modules/m@1.0.0").wat(answering(1)).await.created();
    server.put("/v1/modules/first?link=m=m").wat(FORWARD).await.created();
    server.put("/v1/modules/m@2.0.0").wat(answering(2)).await.created();
    server.put("/v1/modules/second?link=m=m").wat(FORWARD).await.created();
    server.put("/v1/modules/exact?link=m=m@1.0.0").wat(FORWARD).await.created();
    for (module, number) in [("first", 1), ("second", 2), ("exact", 1)] {
        let call = server.post(&format!("/v1/modules/{module}/functions/answer")).await;
        call.ok(json!({ "results": [number] }));
    }
    let described = server.get("/v1/modules/second").await;
    described.ok(json!({ "links": { "m": { "name": "m@2.0.0" } } }));
}

#[tokio::test]
async fn one_module_may_satisfy_imports_under_several_names() {
    let server = Server::start().await;
    let counter = r#"(module (global (export "g") (mut i32) (i32.const 5)))"#;
    server.put("/v1/modules/state").wat(counter).await.created();
    let wat = r#"(module
        (import "a" "g" (global $a (mut i32)))
        (import "b" "g" (global $b (mut i32)))
        (func (export "f") (result i32) (global.set $a (i32.const 7)) (global.get $b)))"#;
    server.put("/v1/modules/m?link=a=state&link=b=state").wat(wat).await.created();
    server.post("/v1/modules/m/functions/f").await.ok(json!({ "results": [7] }));
}

#[tokio::test]
async fn modules_share_memories_tables_globals_and_tags() {
    let server = Server::start().await;
    let provider = r#"(module
        (memory (export "memory") 1)
        (table (export "table") 1 funcref)
        (global (export "global") i64 (i64.const 9))
        (tag (export "tag") (param i32))
        (elem (i32.const 0) $f)
        (func $f (result i32) (i32.load (i32.const 8)))
        (func (export "throw") (throw 0 (i32.const 3))))"#;
    server.put("/v1/modules/provider").wat(provider).await.created();
    let user = r#"(module
        (type $f (func (result i32)))
        (import "p" "memory" (memory 1))
        (import "p" "table" (table 1 funcref))
        (import "p" "global" (global $g i64))
        (import "p" "tag" (tag $t (param i32)))
        (import "p" "throw" (func $throw))
        (func (export "f") (result i32 i64 i32)
          (i32.store (i32.const 8) (i32.const 42))
          (call_indirect (type $f) (i32.const 0))
          (global.get $g)
          (block $caught (result i32)
            (try_table (catch $t $caught) (call $throw))
            (i32.const 0))))"#;
    server.put("/v1/modules/user?link=p=provider").wat(user).await.created();
    server.post("/v1/modules/user/functions/f").await.ok(json!({ "results": [42, "9", 3] }));
}

/// Registers a module through the original's route.
async fn register(server: &Server, name: &str, wat: &str, host_modules: &[&str]) -> Value {
    let body = json!({ "module_name": name, "wat": wat, "host_modules": host_modules });
    server.post("/register").json(body).await.has_status(200);
    server.get(&format!("/v1/modules/{name}")).await.ok(json!({}))
}

#[tokio::test]
async fn a_host_module_satisfies_its_label_or_its_full_name() {
    let server = Server::start().await;
    register(&server, "acme:m@1.2.0", &answering(1), &[]).await;
    let by_label = register(&server, "by_label", FORWARD, &["acme:m@1.2.0"]).await;
    assert_contains(&by_label["links"], &json!({ "m": { "name": "acme:m@1.2.0" } }));
    let full = FORWARD.replace("\"m\"", "\"acme:m@1.2.0\"");
    let by_name = register(&server, "by_name", &full, &["acme:m@1.2.0"]).await;
    assert_contains(&by_name["links"], &json!({ "acme:m@1.2.0": { "name": "acme:m@1.2.0" } }));
    let both = FORWARD.replace("(export", r#"(import "acme:m@1.2.0" "answer" (func)) (export"#);
    let body = json!({ "module_name": "both", "wat": both, "host_modules": ["acme:m@1.2.0"] });
    let problem = server.post("/register").json(body).await.problem(422, "link-error");
    problem.says(&["\"m\"", "\"acme:m@1.2.0\""]);
    // A label alone means the highest release, here too.
    let bare = json!({ "wat": FORWARD, "function_name": "answer", "host_modules": ["acme:m"] });
    server.post("/").json(bare).await.answers(json!([{ "I32": 1 }]));
}

#[tokio::test]
async fn a_host_module_that_no_import_uses_is_dropped() {
    let server = Server::start().await;
    register(&server, "m", &answering(1), &[]).await;
    register(&server, "other", &answering(2), &[]).await;
    let module = register(&server, "forward", FORWARD, &["other", "m"]).await;
    assert_eq!(module["links"].as_object().unwrap().len(), 1, "{module}");
    let alone = register(&server, "alone", DOUBLE, &["m"]).await;
    assert_contains(&alone, &json!({ "digest": DOUBLE_DIGEST, "links": {} }));
    // It has to exist all the same.
    let body = json!({ "wat": DOUBLE, "function_name": "double", "host_modules": ["nobody"] });
    server.post("/").json(body).await.problem(404, "unknown-module").says(&["nobody"]);
}

#[tokio::test]
async fn two_host_modules_for_one_import_are_refused_unless_they_are_the_same() {
    let server = Server::start().await;
    register(&server, "a:m", &answering(1), &[]).await;
    register(&server, "b:m", &answering(2), &[]).await;
    register(&server, "c:m", &answering(1), &[]).await;
    let call = |host_modules: &[&str]| {
        let body = json!({
            "wat": FORWARD, "function_name": "answer", "host_modules": host_modules,
        });
        server.post("/").json(body)
    };
    call(&["a:m", "b:m"]).await.problem(422, "link-error").says(&["\"m\""]);
    call(&["a:m", "c:m", "a:m"]).await.answers(json!([{ "I32": 1 }]));
    call(&["b:m"]).await.answers(json!([{ "I32": 2 }]));
    call(&["not/a/name"]).await.problem(422, "invalid-name");
}
