//! Graphs that do not link, or are too large to.

use serde_json::{Value, json};

use crate::support::guests::{DOUBLE, answering};
use crate::support::server::Server;

/// Exports something of every kind.
const PROVIDER: &str = r#"
    (module
      (func (export "f") (param i32) (result i32) (local.get 0))
      (memory (export "m") 1 2)
      (table (export "t") 10 funcref)
      (global (export "g") i32 (i32.const 0))
      (global (export "v") (mut i32) (i32.const 0))
      (tag (export "e") (param i32)))"#;

#[tokio::test]
async fn an_import_without_a_link_is_refused() {
    let server = Server::start().await;
    let wat = r#"(module (import "utils" "double" (func (param i32) (result i32))))"#;
    let problem = server.put("/v1/modules/m").wat(wat).await.problem(422, "link-error");
    problem.says(&["utils", "double", "(func (param i32) (result i32))"]).has(json!({
        "import": { "module": "utils", "name": "double" },
        "expected": "(func (param i32) (result i32))",
    }));
    server.get("/v1/modules/m").await.problem(404, "unknown-module");
    let body = json!({ "wat": wat, "function": "f" });
    server.post("/v1/call").json(body).await.problem(422, "link-error");
    let body = json!({ "wat": wat, "function_name": "f" });
    server.post("/").json(body).await.problem(422, "link-error");
}

#[tokio::test]
async fn an_import_that_the_linked_module_lacks_is_refused() {
    let server = Server::start().await;
    server.put("/v1/modules/p").wat(PROVIDER).await.created();
    let wat = r#"(module (import "p" "nothing" (memory 1)))"#;
    let problem = server.put("/v1/modules/m?link=p=p").wat(wat).await.problem(422, "link-error");
    problem.says(&["nothing", "no such export"]).has(json!({
        "import": { "module": "p", "name": "nothing" }, "expected": "(memory 1)",
    }));
}

#[tokio::test]
async fn an_import_of_another_type_is_refused_with_what_was_found() {
    let server = Server::start().await;
    server.put("/v1/modules/p").wat(PROVIDER).await.created();
    for (name, wanted, found) in [
        ("f", "(func (param i32) (result i64))", "(func (param i32) (result i32))"),
        ("f", "(func)", "(func (param i32) (result i32))"),
        ("f", "(global i32)", "(func (param i32) (result i32))"),
        ("m", "(memory 2)", "(memory 1 2)"),
        ("m", "(memory 1 1)", "(memory 1 2)"),
        ("m", "(memory i64 1)", "(memory 1 2)"),
        ("t", "(table 11 funcref)", "(table 10 funcref)"),
        ("t", "(table 1 20 funcref)", "(table 10 funcref)"),
        ("t", "(table 1 externref)", "(table 10 funcref)"),
        ("g", "(global (mut i32))", "(global i32)"),
        ("g", "(global i64)", "(global i32)"),
        ("v", "(global i32)", "(global (mut i32))"),
        ("e", "(tag (param i64))", "(tag (param i32))"),
    ] {
        let wat = format!(r#"(module (import "p" "{name}" {wanted}))"#);
        let refused = server.put("/v1/modules/m?link=p=p").wat(wat).await;
        let problem = refused.problem(422, "link-error").says(&[wanted, found]);
        problem.has(json!({
            "import": { "module": "p", "name": name }, "expected": wanted, "found": found,
        }));
    }
    for (name, wanted) in [
        ("f", "(func (param i32) (result i32))"),
        ("m", "(memory 0)"),
        ("m", "(memory 1 3)"),
        ("t", "(table 5 funcref)"),
        ("g", "(global i32)"),
        ("v", "(global (mut i32))"),
        ("e", "(tag (param i32))"),
    ] {
        let wat = format!(r#"(module (import "p" "{name}" {wanted}))"#);
        server.post("/v1/modules?link=p=p").wat(wat).await.created();
    }
}

#[tokio::test]
async fn function_types_are_compared_as_they_are_declared() {
    let server = Server::start().await;
    let provider = r#"
        (module
          (type $open (sub (func)))
          (type $below (sub $open (func)))
          (rec (type $first (func)) (type (struct)))
          (func (export "open") (type $open))
          (func (export "below") (type $below))
          (func (export "first") (type $first)))"#;
    server.put("/v1/modules/p").wat(provider).await.created();
    let import = |name: &str, ty: &str| {
        let wat = format!(r#"(module {ty} (import "p" "{name}" (func (type $t))))"#);
        server.post("/v1/modules?link=p=p").wat(wat)
    };
    for (name, ty) in [
        ("open", "(type $t (sub (func)))"),
        ("below", "(type $t (sub (func)))"),
        ("below", "(type $o (sub (func))) (type $t (sub $o (func)))"),
        ("first", "(rec (type $t (func)) (type (struct)))"),
    ] {
        import(name, ty).await.created();
    }
    for (name, ty, difference) in [
        ("open", "(type $t (func))", "that is not final and has no supertype"),
        (
            "open",
            "(type $o (sub (func))) (type $t (sub $o (func)))",
            "that is not final and has no supertype",
        ),
        ("first", "(type $t (func))", "in another recursion group"),
        ("first", "(rec (type (struct)) (type $t (func)))", "in another recursion group"),
    ] {
        let problem = import(name, ty).await.problem(422, "link-error").says(&[difference]);
        assert_ne!(problem.body["expected"], problem.body["found"], "{name} {ty}");
    }
}

#[tokio::test]
async fn a_link_that_no_import_uses_is_refused() {
    let server = Server::start().await;
    server.put("/v1/modules/p").wat(PROVIDER).await.created();
    let problem = server.put("/v1/modules/m?link=p=p").wat(DOUBLE).await.problem(422, "link-error");
    problem.says(&["\"p\"", "not used"]).has(json!({ "link": "p" }));
    let body = json!({ "wat": DOUBLE, "links": { "p": "p" }, "function": "double" });
    server.post("/v1/call").json(body).await.problem(422, "link-error");
}

#[tokio::test]
async fn a_module_cannot_link_to_itself() {
    let server = Server::start().await;
    let wat = r#"(module (import "m" "f" (func)) (func (export "f")))"#;
    let refused = server.put("/v1/modules/m?link=m=m").wat(wat).await;
    refused.problem(404, "unknown-module").says(&["`m`"]);
}

#[tokio::test]
async fn links_that_are_no_map_of_texts_are_refused() {
    let server = Server::start().await;
    for links in [r#"["m"]"#, r#"{"m":1}"#, r#"{"m":{"instance":"m"}}"#, r#"{"m":"a","m":"a"}"#] {
        let body = format!(r#"{{"wat":"(module)","links":{links}}}"#);
        let refused = server.post("/v1/modules").json_text(body).await;
        refused.problem(400, "invalid-request").says(&["JSON"]);
    }
    let links: serde_json::Map<String, Value> =
        (0..1025).map(|number| (format!("m{number}"), json!("m"))).collect();
    let refused = server.post("/v1/modules").json(json!({ "wat": "(module)", "links": links }));
    refused.await.problem(400, "invalid-request").says(&["1024"]);
}

/// Registers `m0`, and `count - 1` modules that each import the one before, twice over.
async fn register_chain(server: &Server, count: usize) {
    server.put("/v1/modules/m0").wat(answering(42)).await.created();
    for number in 1..count {
        register_link(server, number).await.created();
    }
}

async fn register_link(server: &Server, number: usize) -> crate::support::response::Response {
    let wat = r#"(module
        (import "a" "answer" (func $a (result i32)))
        (import "b" "answer" (func $b (result i32)))
        (func (export "answer") (result i32) (call $a)))"#;
    let before = number - 1;
    let path = format!("/v1/modules/m{number}?link=a=m{before}&link=b=m{before}");
    server.put(&path).wat(wat).await
}

#[tokio::test]
async fn thirty_one_doubled_links_are_no_two_billion_modules() {
    let server = Server::with(|setup| setup.limits.graph.depth = 64).await;
    register_chain(&server, 32).await;
    let call = server.post("/v1/modules/m31/functions/answer").await;
    call.ok(json!({ "results": [42] }));
}

#[tokio::test]
async fn a_graph_may_be_sixteen_modules_deep() {
    let server = Server::start().await;
    register_chain(&server, 16).await;
    let call = server.post("/v1/modules/m15/functions/answer").await;
    call.ok(json!({ "results": [42] }));
    let deep = register_link(&server, 16).await.problem(422, "link-error");
    deep.says(&["16"]).has(json!({ "maximum": 16 }));
    server.get("/v1/modules/m16").await.problem(404, "unknown-module");
}

#[tokio::test]
async fn a_graph_may_have_sixty_four_modules() {
    let server = Server::start().await;
    let links = |count: usize| -> (String, Value) {
        let import =
            |number| format!(r#"(import "m{number}" "answer" (func $f{number} (result i32)))"#);
        let imports: String = (0..count).map(import).collect();
        let calls: String =
            (0..count).map(|number| format!("(call $f{number}) i32.add ")).collect();
        let wat = format!(
            r#"(module {imports} (func (export "sum") (result i32) (i32.const 0) {calls}))"#
        );
        let links = (0..count).map(|number| (format!("m{number}"), json!(format!("m{number}"))));
        (wat, links.collect::<serde_json::Map<_, _>>().into())
    };
    for number in 0..64 {
        let wat = answering(number);
        server.put(&format!("/v1/modules/m{number}")).wat(wat).await.created();
    }
    let (wat, links_63) = links(63);
    server.put("/v1/modules/sum").json(json!({ "wat": wat, "links": links_63 })).await.created();
    let call = server.post("/v1/modules/sum/functions/sum").await;
    call.ok(json!({ "results": [(0..63).sum::<i32>()] }));
    let (wat, links_64) = links(64);
    let many = server.put("/v1/modules/more").json(json!({ "wat": wat, "links": links_64 })).await;
    many.problem(422, "link-error").says(&["64"]).has(json!({ "maximum": 64 }));
    let body = json!({ "wat": wat, "links": links_64, "function": "sum" });
    server.post("/v1/call").json(body).await.problem(422, "link-error");
}

#[tokio::test]
async fn a_graph_may_take_only_so_much_of_the_pool() {
    let server = Server::start().await;
    // 4 modules of 64 memories are 256, and the heap is one more.
    let wat = |number: i32| {
        let memories = "(memory 0)".repeat(64);
        format!(r#"(module {memories} (func (export "answer") (result i32) (i32.const {number})))"#)
    };
    let mut imports = String::new();
    let mut links = serde_json::Map::new();
    for number in 0..3 {
        let name = format!("m{number}");
        server.put(&format!("/v1/modules/{name}")).wat(wat(number)).await.created();
        imports += &format!(r#"(import "{name}" "answer" (func (result i32)))"#);
        links.insert(name.clone(), json!(name));
    }
    let root = |memories: usize| {
        let wat = format!("(module {imports} {})", "(memory 0)".repeat(memories));
        server.post("/v1/modules").json(json!({ "wat": wat, "links": links }))
    };
    root(63).await.created();
    root(64).await.problem(422, "link-error").has(json!({ "maximum": 256 }));
}
