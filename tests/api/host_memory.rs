//! Memories that are imported from where no link leads: the host provides them.

use serde_json::{Value, json};

use crate::support::server::Server;

/// Imports a memory of so many pages, and counts in its first byte.
fn counter(limits: &str) -> String {
    format!(
        r#"(module (import "env" "memory" (memory {limits}))
          (func (export "count") (result i32)
            (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
            (i32.load8_u (i32.const 0))))"#
    )
}

/// The same, calls a counter `other` first, and tells how large the memory is and can grow.
fn counting_after(limits: &str) -> String {
    format!(
        r#"(module (import "env" "memory" (memory {limits}))
          (import "other" "count" (func $other (result i32)))
          (func (export "count") (result i32)
            (drop (call $other))
            (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
            (i32.load8_u (i32.const 0)))
          (func (export "size") (result i32) (memory.size))
          (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#
    )
}

/// The selector of that memory, and its first byte.
fn first_byte() -> Value {
    json!({ "read": [{ "memory": { "import": ["env", "memory"] }, "offset": 0, "length": 1 }] })
}

#[tokio::test]
async fn a_module_that_imports_a_memory_can_be_registered_and_called() {
    let server = Server::start().await;
    let described = server.put("/v1/modules/counter").wat(counter("1")).await.created();
    assert_eq!(
        described["imports"],
        json!([{ "module": "env", "name": "memory", "kind": "memory", "type": "1", "from": "host" }])
    );
    assert_eq!(described["links"], json!({}));
    server.post("/v1/modules").wat(counter("1 2")).await.created();
    let path = "/v1/modules/counter/functions/count";
    let memory = json!({
        "memory": { "import": ["env", "memory"] },
        "write": [{ "offset": 0, "base64": "KQ==" }],
        "read": [{ "offset": 0, "length": 1 }],
    });
    // Each call has its own.
    for _ in 0..2 {
        server.post(path).await.ok(json!({
            "results": [1], "usage": { "memory_bytes": 65_536 },
        }));
        server.post(path).json(json!({ "memory": memory })).await.ok(json!({
            "results": [42], "memory": { "read": [{ "offset": 0, "base64": "Kg==" }] },
        }));
    }
    let body = json!({ "memory": memory, "limits": { "fuel": 1000 } });
    server.post(path).json(body).await.ok(json!({ "results": [42] }));
}

#[tokio::test]
async fn inline_and_on_the_original_routes() {
    let server = Server::start().await;
    let body = json!({ "wat": counter("1"), "function": "count", "memory": first_byte() });
    server.post("/v1/call").json(body).await.ok(json!({
        "results": [1], "memory": { "read": [{ "base64": "AQ==" }] },
    }));
    let body = json!({ "wat": counter("1"), "function_name": "count" });
    server.post("/").json(body).await.answers(json!([{ "I32": 1 }]));
    let body = json!({ "module_name": "counter", "wat": counter("1") });
    server.post("/register").json(body).await.has_status(200);
    let body = json!({ "module_name": "counter", "function_name": "count" });
    server.post("/execute").json(body).await.answers(json!([{ "I32": 1 }]));
}

#[tokio::test]
async fn it_is_selected_by_its_import_and_not_by_a_name() {
    let server = Server::start().await;
    let path = "/v1/modules/counter/functions/count";
    server.put("/v1/modules/counter").wat(counter("1")).await.created();
    for memory in
        [json!("memory"), json!("env"), json!({ "import": ["env", "other"] }), json!(null)]
    {
        let memory = json!({ "read": [{ "memory": memory, "offset": 0, "length": 1 }] });
        let problem = server.post(path).json(json!({ "memory": memory })).await;
        let problem = problem.problem(404, "unknown-export").says(&["import \"env\" \"memory\""]);
        problem.has(json!({ "memories": [{ "import": ["env", "memory"] }] }));
    }
    // Exported again, it is the memory that is meant if none is named.
    let wat = r#"(module (import "env" "m" (memory 1)) (export "memory" (memory 0))
        (func (export "f") (i32.store8 (i32.const 1) (i32.const 65))))"#;
    let memory = json!({ "read": [
        { "offset": 1, "length": 1 },
        { "memory": { "import": ["env", "m"] }, "offset": 1, "length": 1 },
    ] });
    let body = json!({ "wat": wat, "function": "f", "memory": memory });
    let both = json!({ "memory": { "read": [{ "base64": "QQ==" }, { "base64": "QQ==" }] } });
    server.post("/v1/call").json(body).await.ok(both);
}

#[tokio::test]
async fn all_modules_of_a_graph_share_it() {
    let server = Server::start().await;
    server.put("/v1/modules/one").wat(counter("2 9")).await.created();
    server.put("/v1/modules/two?link=other=one").wat(counting_after("1 5")).await.created();
    let links = json!({ "other": "two" });
    let call = |function: &str, params: Value| {
        let body = json!({
            "wat": counting_after("0 7"), "links": links, "function": function, "params": params,
            "memory": first_byte(),
        });
        server.post("/v1/call").json(body)
    };
    let three = json!({ "results": [3], "memory": { "read": [{ "base64": "Aw==" }] } });
    call("count", json!([])).await.ok(three);
    // The minimum is the largest, the maximum the smallest.
    call("size", json!([])).await.ok(json!({
        "results": [2], "usage": { "memory_bytes": 131_072 },
    }));
    call("grow", json!([3])).await.ok(json!({ "results": [2] }));
    let refused = call("grow", json!([4])).await.ok(json!({ "results": [-1] }));
    assert!(refused["usage"].get("growth_refused").is_none(), "its own maximum refuses: {refused}");
}

#[tokio::test]
async fn wants_that_contradict_each_other_do_not_link() {
    let server = Server::start().await;
    let mut digests = Vec::new();
    for (one, two) in
        [("3", "1 2"), ("1 2", "3"), ("1", "i64 1"), ("i64 1", "1"), ("i64 1 2", "i64 3")]
    {
        let one_wat = counter(one).replace("i32.const 0)", "IDX.const 0)");
        let index = if one.starts_with("i64") { "i64" } else { "i32" };
        let described = server.post("/v1/modules").wat(one_wat.replace("IDX", index)).await;
        let described = described.has_status(201).value();
        let digest = described["digest"].as_str().unwrap().to_owned();
        let wat = format!(
            r#"(module (import "env" "memory" (memory {two}))
              (import "other" "count" (func (result i32))))"#
        );
        let links = json!({ "other": digest });
        let refused = server.post("/v1/modules").json(json!({ "wat": wat, "links": links })).await;
        let (expected, found) = (format!("(memory {two})"), format!("(memory {one})"));
        let problem = refused.problem(422, "link-error");
        let problem = problem.says(&["\"env\" \"memory\"", &expected, &found]).has(json!({
            "import": { "module": "env", "name": "memory" },
            "expected": expected, "found": found, "contradicts": digest,
        }));
        problem.has_not("in");
        digests.push(digest);
    }
    // Of three, each pair of which goes together.
    server.put("/v1/modules/a").wat(counter("1 4")).await.created();
    server.put("/v1/modules/b?link=other=a").wat(counting_after("3")).await.created();
    let wat = r#"(module (import "env" "memory" (memory 0 2))
        (import "other" "count" (func (result i32))))"#;
    let refused = server.put("/v1/modules/c?link=other=b").wat(wat).await;
    refused.problem(422, "link-error").says(&["(memory 0 2)", "(memory 3)"]);
}

#[tokio::test]
async fn only_memories_are_provided_and_only_where_no_link_leads() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(r#"(module (func (export "f")))"#).await.created();
    for (wat, link, says) in [
        (r#"(import "env" "f" (func))"#, "", "no link"),
        (r#"(import "env" "t" (table 1 funcref))"#, "", "no link"),
        (r#"(import "env" "g" (global i32))"#, "", "no link"),
        (r#"(import "env" "m" (memory 1)) (import "env" "f" (func))"#, "", "no link"),
        // A link says where all of that name comes from.
        (
            r#"(import "env" "f" (func)) (import "env" "memory" (memory 1))"#,
            "?link=env=m",
            "no such export",
        ),
    ] {
        let path = format!("/v1/modules{link}");
        let refused = server.post(&path).wat(format!("(module {wat})")).await;
        refused.problem(422, "link-error").says(&["env", says]);
    }
    let shared = r#"(module (import "env" "memory" (memory 1 2 shared)))"#;
    server.post("/v1/modules").wat(shared).await.problem(422, "unsupported-feature");
}

#[tokio::test]
async fn several_are_apart_and_so_are_those_of_64_bits() {
    let server = Server::start().await;
    let wat = r#"(module
        (import "env" "a" (memory 1)) (import "env" "b" (memory i64 2)) (import "x" "a" (memory 1))
        (func (export "f") (result i32 i64 i32)
          (i32.store8 0 (i32.const 0) (i32.const 65))
          (i64.store8 1 (i64.const 0x10000) (i64.const 66))
          (i32.store8 2 (i32.const 0) (i32.const 67))
          (memory.size 0) (memory.size 1) (memory.size 2)))"#;
    let read = |module: &str, name: &str, offset: u64| json!({ "memory": { "import": [module, name] }, "offset": offset, "length": 1 });
    let memory = json!({ "read": [
        read("x", "a", 0), read("env", "b", 0x1_0000), read("env", "a", 0), read("x", "a", 0x1_0000),
    ] });
    let body = json!({ "wat": wat, "function": "f", "memory": memory });
    server.post("/v1/call").json(body).await.ok(json!({
        "results": [1, "2", 1], "usage": { "memory_bytes": 4 * 65_536 },
        "memory": { "read": [
            { "base64": "Qw==" }, { "base64": "Qg==" }, { "base64": "QQ==" },
            { "error": "out-of-range" },
        ] },
    }));
}

#[tokio::test]
async fn it_counts_as_the_call_s_memory() {
    let server = Server::start().await;
    let wat = r#"(module (import "env" "memory" (memory 4)) (memory 4)
        (func (export "f"))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let call = |function: &str, params: Value, pages: u64| {
        let limits = json!({ "memory_bytes": pages * 65_536 });
        let body = json!({
            "wat": wat, "function": function, "params": params, "limits": limits,
            "memory": first_byte(),
        });
        server.post("/v1/call").json(body)
    };
    call("f", json!([]), 8).await.ok(json!({ "usage": { "memory_bytes": 8 * 65_536 } }));
    for pages in [7, 4, 3] {
        let refused = call("f", json!([]), pages).await.problem(422, "memory-limit");
        refused.has_not("usage").has(json!({ "outcome": "memory-limit" }));
    }
    call("grow", json!([1]), 9).await.ok(json!({ "results": [4] }));
    call("grow", json!([2]), 9).await.ok(json!({
        "results": [-1], "usage": { "growth_refused": true },
    }));
}

#[tokio::test]
async fn what_no_call_can_have_is_refused_at_once() {
    let server = Server::start().await;
    // 256 MiB are 4,096 pages.
    server.post("/v1/modules").wat(counter("4096")).await.created();
    for (limits, bytes) in [("4097", 4097_u64 << 16), ("65536", 1 << 32)] {
        let refused = server.post("/v1/modules").wat(counter(limits)).await;
        let problem = refused.problem(422, "memory-limit");
        problem.has(json!({ "initial_bytes": bytes, "maximum": 256 << 20 }));
    }
    let huge = r#"(module (import "env" "memory" (memory i64 0x1000000000000)))"#;
    server.post("/v1/modules").wat(huge).await.problem(422, "memory-limit");
    let many = |count: usize| -> String {
        let import = |number| format!(r#"(import "env" "m{number}" (memory 0))"#);
        format!("(module {} (func (export \"f\")))", (0..count).map(import).collect::<String>())
    };
    let body = json!({ "wat": many(64), "function": "f" });
    server.post("/v1/call").json(body).await.ok(json!({ "results": [] }));
    let refused = server.post("/v1/modules").wat(many(65)).await;
    refused.problem(422, "link-error").says(&["65", "64"]).has(json!({ "maximum": 64 }));
}

#[tokio::test]
async fn it_is_there_for_start_functions_and_after_their_traps() {
    let server = Server::start().await;
    let wat = r#"(module (import "env" "memory" (memory 1))
        (func $start (i32.store8 (i32.const 0) (i32.const 65)) unreachable) (start $start)
        (func (export "f")))"#;
    let body = json!({ "wat": wat, "function": "f", "memory": first_byte() });
    let problem = server.post("/v1/call").json(body).await.problem(422, "trap");
    problem.has(json!({ "usage": {}, "memory": { "read": [{ "base64": "QQ==" }] } }));
}

#[tokio::test]
async fn a_large_one_does_not_make_light_calls_wait() {
    let server = Server::start().await;
    // More than 4 MiB, so it starts in the background, as a module's own does.
    let body = json!({ "wat": counter("1000"), "function": "count", "memory": first_byte() });
    server.post("/v1/call").json(body).await.ok(json!({
        "results": [1], "usage": { "memory_bytes": 65_536_000 },
    }));
}

#[tokio::test]
async fn backtraces_name_the_right_modules_beside_it() {
    let server = Server::start().await;
    let trapping = r#"(module (import "env" "memory" (memory 1))
        (func (export "count") (result i32) unreachable))"#;
    let trapping = server.put("/v1/modules/trapping").wat(trapping).await.created();
    let root = server.put("/v1/modules/root?link=other=trapping").wat(counting_after("1")).await;
    let root = root.created();
    let problem = server.post("/v1/modules/root/functions/count").await.problem(422, "trap");
    problem.has(json!({ "trap": { "backtrace": [
        { "module": trapping["digest"] }, { "module": root["digest"] },
    ] } }));
}
