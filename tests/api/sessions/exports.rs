//! Exported globals and memories, read and written from outside.

use serde_json::json;

use super::support::{COUNTER, Session};
use crate::support::server::Server;

const OCTETS: &str = "application/octet-stream";

#[tokio::test]
async fn a_global_is_read_and_set_by_its_type() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let globals = r#"
        (module
          (global (export "i32") (mut i32) (i32.const -1))
          (global (export "i64") (mut i64) (i64.const -1))
          (global (export "f32") (mut f32) (f32.const nan:0x200000))
          (global (export "f64") (mut f64) (f64.const -0))
          (global (export "v128") (mut v128) (v128.const i64x2 1 0))
          (global (export "funcref") (mut funcref) (ref.null func))
          (global (export "fixed") i32 (i32.const 7))
          (func (export "f") (result i64) (global.get 1)))"#;
    session.instance("M", globals).await.created();
    for (name, value, new) in [
        ("i32", json!(-1), json!(2)),
        ("i64", json!("-1"), json!("9223372036854775807")),
        ("f32", json!("nan:0x200000"), json!(0.5)),
        ("f64", json!(-0.0), json!("-inf")),
        (
            "v128",
            json!("0x00000000000000000000000000000001"),
            json!("0xffffffffffffffffffffffffffffffff"),
        ),
        ("funcref", json!(null), json!(null)),
    ] {
        let path = format!("/instances/M/globals/{name}");
        session.get(&path).await.answers(json!({ "type": name, "value": value }));
        let set = session.put(&path).json(json!({ "value": new })).await;
        set.answers(json!({ "type": name, "value": new }));
        session.get(&path).await.answers(json!({ "type": name, "value": new }));
    }
    session.call("M", "f", json!([])).await.ok(json!({ "results": ["9223372036854775807"] }));
    session.get("/instances/M/globals/fixed").await.answers(json!({ "type": "i32", "value": 7 }));
}

#[tokio::test]
async fn a_global_that_cannot_be_set_or_is_none_says_so() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let fixed = r#"(module
        (global (export "fixed") i32 (i32.const 7)) (global (export "i32") (mut i32) (i32.const 1))
        (memory (export "memory") 1) (func (export "f")))"#;
    session.instance("M", fixed).await.created();
    let put = |name: &str| session.put(&format!("/instances/M/globals/{name}"));
    let refused = put("fixed").json(json!({ "value": 8 })).await.problem(405, "method-not-allowed");
    refused.says(&["immutable"]).has_header("allow", "GET, HEAD");
    for value in [json!(1.5), json!("1"), json!(null), json!(4_294_967_296u64)] {
        let refused = put("i32").json(json!({ "value": value })).await;
        refused.problem(422, "invalid-params").has(json!({ "expected": "i32" }));
    }
    for body in [json!({}), json!({ "value": 1, "type": "i32" }), json!(1)] {
        put("i32").json(body).await.problem(400, "invalid-request");
    }
    for (name, found) in [("memory", "memory"), ("f", "function")] {
        let refused = session.get(&format!("/instances/M/globals/{name}")).await;
        let refused = refused.problem(404, "unknown-export");
        refused.has(json!({ "export": name, "expected": "global", "found": found }));
    }
    put("nothing")
        .json(json!({ "value": 1 }))
        .await
        .problem(404, "unknown-export")
        .has_not("found");
    session.get("/instances/M/globals").await.problem(400, "invalid-request").says(&["`name`"]);
    session.get("/instances/M/globals/i32?x=1").await.problem(400, "invalid-request");
    session.get("/instances/M/globals/i32").await.ok(json!({ "value": 1 }));
}

#[tokio::test]
async fn bytes_are_written_and_read() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    let memory = "/instances/M/memories/memory";
    let put = |query: &str, body: &'static [u8]| {
        session.put(&format!("{memory}{query}")).content(OCTETS, body)
    };
    put("?offset=65534", b"\xfe\xff").await.no_content();
    put("", b"begin").await.no_content();
    put("?offset=65536", b"").await.no_content();
    put("?offset=5&length=1", b"s").await.no_content();
    session.call("M", "load", json!([65_535])).await.ok(json!({ "results": [255] }));
    session.call("M", "store", json!([0, 66])).await.ok(json!({}));
    let all = session.get(memory).await.has_status(200).has_header("content-type", OCTETS);
    assert_eq!(all.body.len(), 65_536);
    assert_eq!(&all.body[..7], b"Begins\0");
    let part = session.get(&format!("{memory}?offset=65534&length=2")).await.has_status(200);
    assert_eq!(&*part.body, b"\xfe\xff");
    let none = session.get(&format!("{memory}?offset=65536")).await.has_status(200);
    assert_eq!(&*none.body, b"");
}

#[tokio::test]
async fn bytes_that_are_not_in_the_memory_are_refused_and_none_is_written() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    session.instance("M", COUNTER).await.created();
    let memory = "/instances/M/memories/memory";
    let most = u64::MAX;
    for (query, offset, length) in [
        ("offset=65536&length=1".to_owned(), 65_536, 1),
        ("offset=65537".to_owned(), 65_537, 0),
        ("length=65537".to_owned(), 0, 65_537),
        (format!("offset={most}&length={most}"), most, most),
        (format!("offset=2&length={most}"), 2, most),
    ] {
        let refused = session.get(&format!("{memory}?{query}")).await;
        let refused = refused.problem(422, "invalid-memory-range");
        refused.has(json!({ "offset": offset, "length": length, "memory_bytes": 65_536 }));
    }
    let refused = session.put(&format!("{memory}?offset=65535")).content(OCTETS, "xy").await;
    refused.problem(422, "invalid-memory-range");
    session.call("M", "load", json!([65_535])).await.ok(json!({ "results": [0] }));
    for query in [
        "offset=-1",
        "offset=1.5",
        "offset=%2B1",
        "offset=",
        "offset=18446744073709551616",
        "offset=1&offset=2",
        "size=1",
    ] {
        let refused = session.get(&format!("{memory}?{query}")).await;
        refused.problem(400, "invalid-request").says(&["query"]);
    }
    let refused = session.put(&format!("{memory}?length=3")).content(OCTETS, "xy").await;
    refused.problem(422, "invalid-memory-range").says(&["2 bytes"]);
    for content_type in ["application/json", "text/plain"] {
        let refused = session.put(memory).content(content_type, "xy").await;
        refused.problem(415, "unsupported-media-type");
    }
    session.get("/instances/M/memories/count").await.problem(404, "unknown-export");
    session.get("/instances/M/memories").await.problem(400, "invalid-request");
    let picky = session.get(memory).header("accept", "application/json").await;
    picky.problem(406, "not-acceptable");
}

#[tokio::test]
async fn large_memories_of_both_kinds_are_copied_whole() {
    let server = Server::start().await;
    let limits = json!({ "memory_bytes": 128 << 20 });
    let session = Session::with(&server, json!({ "limits": limits })).await;
    let memories = r#"(module (memory (export "small") 1) (memory (export "large") i64 512))"#;
    session.instance("M", memories).await.created();
    let bytes: Vec<u8> = (0..32u32 << 20).map(|index| (index >> 12) as u8).collect();
    let put = session.put("/instances/M/memories/large").content(OCTETS, bytes.clone()).await;
    put.no_content();
    let read = session.get("/instances/M/memories/large").await.has_status(200);
    assert!(read.body == bytes, "32 MiB come back as they went");
}
