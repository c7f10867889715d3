//! Links: where the imports of an instance come from.

use serde_json::json;

use super::support::{COUNTER, Session};
use crate::support::guests::{DOUBLE, TWICE_HEX, bytes};
use crate::support::server::Server;

#[tokio::test]
async fn imports_come_from_links_from_instances_of_that_name_and_from_registered_modules() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let session = Session::new(&server).await;
    session.instance("counter", COUNTER).await.created();
    let importing = r#"
        (module
          (import "counter" "next" (func $next (result i32)))
          (import "any string!" "next" (func $again (result i32)))
          (import "utils" "double" (func $double (param i32) (result i32)))
          (func (export "f") (result i32)
            (drop (call $next)) (call $double (call $again))))"#;
    let links = json!({ "any string!": { "instance": "counter" }, "utils": "utils" });
    session.linked("M", importing, links).await.created();
    session.call("M", "f", json!([])).await.ok(json!({ "results": [4] }));
    session.call("counter", "next", json!([])).await.ok(json!({ "results": [3] }));
}

#[tokio::test]
async fn an_explicit_link_goes_before_the_instance_of_that_name() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let answering = |n: i32| format!("(module (func (export \"f\") (result i32) (i32.const {n})))");
    session.instance("a", &answering(1)).await.created();
    session.instance("b", &answering(2)).await.created();
    let importing = r#"(module (import "a" "f" (func (result i32))) (export "g" (func 0)))"#;
    session.instance("by_name", importing).await.created();
    session.linked("by_link", importing, json!({ "a": { "instance": "b" } })).await.created();
    session.call("by_name", "g", json!([])).await.ok(json!({ "results": [1] }));
    session.call("by_link", "g", json!([])).await.ok(json!({ "results": [2] }));
}

#[tokio::test]
async fn a_registered_module_brings_its_own_links_and_gets_instances_of_its_own() {
    let server = Server::start().await;
    server.put("/v1/modules/counter").wat(COUNTER).await.created();
    let counting = r#"
        (module
          (import "counter" "next" (func $next (result i32)))
          (func (export "next") (result i32) (call $next)))"#;
    let linked = "/v1/modules/counting?link=counter=counter";
    server.put(linked).wat(counting).await.created();
    let session = Session::new(&server).await;
    let counting = |name: &str| json!({ "name": name, "module": "counting" });
    for name in ["a", "b"] {
        session.post("/instances").json(counting(name)).await.created();
    }
    for count in 1..3 {
        session.call("a", "next", json!([])).await.ok(json!({ "results": [count] }));
    }
    session.call("b", "next", json!([])).await.ok(json!({ "results": [1] }));
    // Within one instantiation, a module that is linked on two ways has one instance.
    let diamond = r#"
        (module
          (import "one" "next" (func $one (result i32)))
          (import "two" "next" (func $two (result i32)))
          (func (export "both") (result i32) (drop (call $one)) (call $two)))"#;
    let links = json!({ "one": "counter", "two": "counting" });
    session.linked("c", diamond, links).await.created();
    session.call("c", "both", json!([])).await.ok(json!({ "results": [2] }));
    let mut again = counting("d");
    again["links"] = json!({ "counter": { "instance": "a" } });
    let again = session.post("/instances").json(again).await;
    again.problem(422, "link-error").says(&["counter", "registered with one"]);
}

#[tokio::test]
async fn an_import_that_is_not_satisfied_says_which_and_what_was_found() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    let import = |ty: &str| format!("(module (import \"M\" {ty}))");
    for (ty, found) in [
        (r#""next" (func)"#, "(func (result i32))"),
        (r#""next" (func (param i32) (result i32))"#, "(func (result i32))"),
        (r#""next" (global i32)"#, "(func (result i32))"),
        (r#""count" (global i32)"#, "(global (mut i32))"),
        (r#""count" (global (mut i64))"#, "(global (mut i32))"),
        (r#""memory" (memory 2)"#, "(memory 1 4), now of size 1"),
        (r#""memory" (memory 1 3)"#, "(memory 1 4), now of size 1"),
        (r#""memory" (memory i64 1)"#, "(memory 1 4), now of size 1"),
        (r#""table" (table 3 funcref)"#, "(table 2 funcref), now of size 2"),
        (r#""table" (table 1 externref)"#, "(table 2 funcref), now of size 2"),
        (r#""tag" (tag)"#, "(tag (param i32))"),
    ] {
        let refused = session.instance("N", &import(ty)).await.problem(422, "link-error");
        refused.says(&["\"M\"", found]).has(json!({ "found": found }));
    }
    // What grew meanwhile is as large as it is now.
    session.call("M", "grow", json!([1])).await.ok(json!({ "results": [1] }));
    session.instance("N", &import(r#""memory" (memory 2 4)"#)).await.created();
    let missing = session.instance("O", &import(r#""nothing" (func)"#)).await;
    let missing =
        missing.problem(422, "link-error").says(&["the instance \"M\"", "no such export"]);
    missing.has(json!({ "import": { "module": "M", "name": "nothing" }, "expected": "(func)" }));
    let nowhere = r#"(module (import "env" "memory" (memory 1)))"#;
    let nowhere = session.instance("O", nowhere).await.problem(422, "link-error");
    nowhere.says(&["\"env\" \"memory\" (memory 1)", "no link", "no instance"]);
    session.get("/instances/O/globals/x").await.problem(404, "unknown-instance");
}

#[tokio::test]
async fn a_link_leads_to_an_instance_of_this_session_that_is_there_and_is_used() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let other = Session::new(&server).await;
    other.instance("M", COUNTER).await.created();
    let importing = r#"(module (import "M" "next" (func (result i32))))"#;
    let link = |instance: &str| json!({ "M": { "instance": instance } });
    // Another session's instance is nothing to this one, and an instance cannot import from itself.
    for instance in ["M", "N", "no name!"] {
        let refused = session.linked("N", importing, link(instance)).await;
        refused.problem(404, "unknown-instance").says(&[instance]);
    }
    session.instance("M", importing).await.problem(422, "link-error");
    let unused = session.linked("N", DOUBLE, json!({ "utils": "nobody" })).await;
    unused.problem(404, "unknown-module");
    session.instance("M", COUNTER).await.created();
    let unused = session.linked("N", DOUBLE, json!({ "utils": { "instance": "M" } })).await;
    unused
        .problem(422, "link-error")
        .says(&["\"utils\" is not used"])
        .has(json!({ "link": "utils" }));
    server.post("/v1/modules?link=utils=nobody").wasm(bytes(TWICE_HEX)).await.has_status(404);
}

#[tokio::test]
async fn memories_tables_globals_and_tags_are_shared() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("A", COUNTER).await.created();
    let sharing = r#"
        (module
          (import "A" "memory" (memory 1))
          (import "A" "count" (global $count (mut i32)))
          (import "A" "table" (table 2 funcref))
          (elem (i32.const 0) func $set)
          (func $set (export "set") (param i32) (global.set $count (local.get 0)))
          (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
          (func (export "grow") (result i32) (memory.grow (i32.const 1)))
          (export "memory" (memory 0)) (export "count" (global 0)) (export "table" (table 0)))"#;
    session.instance("B", sharing).await.created();
    session.call("B", "set", json!([41])).await.ok(json!({}));
    session.call("A", "next", json!([])).await.ok(json!({ "results": [42] }));
    session.get("/instances/B/globals/count").await.ok(json!({ "value": 42 }));
    session.call("B", "store", json!([3, 200])).await.ok(json!({}));
    session.call("A", "load", json!([3])).await.ok(json!({ "results": [200] }));
    session.call("B", "grow", json!([])).await.ok(json!({ "results": [1] }));
    session.call("A", "grow", json!([0])).await.ok(json!({ "results": [2] }));
    let through_b = r#"
        (module
          (import "B" "table" (table 2 funcref))
          (type $set (func (param i32)))
          (func (export "call") (call_indirect (type $set) (i32.const 7) (i32.const 0))))"#;
    session.instance("C", through_b).await.created();
    session.call("C", "call", json!([])).await.ok(json!({}));
    session.get("/instances/A/globals/count").await.ok(json!({ "value": 7 }));
}
