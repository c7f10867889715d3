//! `/v1/modules` and `/v1/modules/{module}`: registering, describing, deleting.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::guests::{
    DOUBLE, DOUBLE_BLOB, DOUBLE_DIGEST, DOUBLE_HEX, TRIPLE, TWICE_BLOB, TWICE_DIGEST, TWICE_HEX,
    answering, bytes,
};
use crate::support::response::assert_contains;
use crate::support::server::Server;

#[tokio::test]
async fn registering_answers_with_a_description() {
    let server = Server::start().await;
    let response = server.put("/v1/modules/utils").wat(DOUBLE).await;
    let created = response.has_header("location", "/v1/modules/utils").created();
    let time = created["registered_at"].as_str().unwrap().to_owned();
    assert!(time.len() == 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    let schema = |minimum: i64, maximum: i64| {
        json!({
            "type": "array", "minItems": 1, "maxItems": 1,
            "prefixItems": [{ "type": "integer", "minimum": minimum, "maximum": maximum }],
        })
    };
    let expected = json!({
        "name": "utils",
        "names": ["utils"],
        "digest": DOUBLE_DIGEST,
        "kind": "module",
        "wasm": { "digest": DOUBLE_BLOB, "size": 43 },
        "links": {},
        "exports": [{
            "name": "double", "kind": "function", "params": ["i32"], "results": ["i32"],
            "params_schema": schema(i32::MIN.into(), u32::MAX.into()),
            "result_schema": schema(i32::MIN.into(), i32::MAX.into()),
        }],
        "imports": [],
        "registered_at": time,
    });
    assert_eq!(created, expected);
    server.get("/v1/modules/utils").await.answers(expected.clone());
    server.get(&format!("/v1/modules/{DOUBLE_DIGEST}")).await.answers(expected);
}

#[tokio::test]
async fn a_description_names_links_and_where_imports_come_from() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let twice = server.put("/v1/modules/link?link=utils=utils").wasm(bytes(TWICE_HEX)).await;
    assert_contains(
        &twice.created(),
        &json!({
            "name": "link",
            "digest": TWICE_DIGEST,
            "wasm": { "digest": TWICE_BLOB, "size": 68 },
            "links": { "utils": { "name": "utils", "digest": DOUBLE_DIGEST } },
            "exports": [{ "name": "double_twice", "params": ["i32"], "results": ["i32"] }],
            "imports": [{
                "module": "utils", "name": "double", "kind": "function",
                "params": ["i32"], "results": ["i32"], "from": DOUBLE_DIGEST,
            }],
        }),
    );
}

#[tokio::test]
async fn exports_of_every_kind_are_described() {
    let server = Server::start().await;
    let wat = r#"(module
        (type $s (struct (field i32)))
        (memory (export "m") 1 2)
        (memory (export "m64") i64 0)
        (table (export "t") 10 20 funcref)
        (global (export "g") (mut i64) (i64.const 0))
        (global (export "c") f32 (f32.const 0))
        (tag (export "e") (param i32))
        (func (export "f") (param v128 externref) (result f64 (ref null $s))
          (f64.const 0) (ref.null $s)))"#;
    let created = server.put("/v1/modules/all").wat(wat).await.created();
    assert_contains(
        &created["exports"],
        &json!([
            { "name": "m", "kind": "memory", "type": "1 2" },
            { "name": "m64", "kind": "memory", "type": "i64 0" },
            { "name": "t", "kind": "table", "type": "10 20 funcref" },
            { "name": "g", "kind": "global", "type": "(mut i64)" },
            { "name": "c", "kind": "global", "type": "f32" },
            { "name": "e", "kind": "tag", "type": "(param i32)" },
            {
                "name": "f", "kind": "function",
                "params": ["v128", "externref"], "results": ["f64", "(ref null 0)"],
            },
        ]),
    );
}

#[tokio::test]
async fn every_notation_gives_the_same_module() {
    let server = Server::start().await;
    let base64 = "AGFzbQEAAAABBgFgAX8BfwMCAQAHCgEGZG91YmxlAAAKCQEHACAAQQJsCw==";
    let requests = [
        server.put("/v1/modules/a").wasm(bytes(DOUBLE_HEX)),
        server.put("/v1/modules/b").wat(DOUBLE),
        server.put("/v1/modules/c").content("text/wat; charset=utf-8", DOUBLE),
        server.put("/v1/modules/d").json(json!({ "wasm_hex": DOUBLE_HEX })),
        server.put("/v1/modules/e").json(json!({ "wasm_base64": base64, "links": {} })),
        server.put("/v1/modules/f").json(json!({ "wat": DOUBLE })),
        server.put("/v1/modules/g").content("application/vnd.wasm+json", {
            json!({ "wasm_hex": DOUBLE_HEX }).to_string()
        }),
    ];
    for request in requests {
        let created = request.await.created();
        assert_contains(&created, &json!({ "digest": DOUBLE_DIGEST, "wasm": { "size": 43 } }));
    }
    let names = server.get("/v1/modules/a").await.ok(json!({}))["names"].take();
    assert_eq!(names, json!(["a", "b", "c", "d", "e", "f", "g"]));
}

#[tokio::test]
async fn the_content_type_has_to_say_what_it_is() {
    let server = Server::start().await;
    let untyped = server.put("/v1/modules/a").body(DOUBLE).await;
    untyped.problem(415, "unsupported-media-type").says(&["application/wasm", "text/wat", "none"]);
    for other in ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded"] {
        let refused = server.put("/v1/modules/a").content(other, DOUBLE).await;
        refused.problem(415, "unsupported-media-type").says(&[other]);
    }
    server.get("/v1/modules/a").await.problem(404, "unknown-module");
}

#[tokio::test]
async fn registering_the_same_again_changes_nothing_and_a_taken_name_stays() {
    let server = Server::start().await;
    let first = server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let again = server.put("/v1/modules/utils").wasm(bytes(DOUBLE_HEX)).await;
    assert_eq!(again.header("location"), None);
    again.answers(first);
    let taken = server.put("/v1/modules/utils").wat(TRIPLE).await.problem(409, "name-taken");
    taken.has(json!({ "name": "utils", "by": "utils", "digest": DOUBLE_DIGEST }));
    let call = server.post("/v1/modules/utils/functions/double").json(json!({ "params": [2] }));
    call.await.ok(json!({ "results": [4], "module": DOUBLE_DIGEST }));
}

#[tokio::test]
async fn the_same_content_with_other_links_is_another_module() {
    let server = Server::start().await;
    server.put("/v1/modules/double").wat(DOUBLE).await.created();
    server.put("/v1/modules/triple").wat(TRIPLE).await.created();
    let twice = || bytes(TWICE_HEX);
    let path = "/v1/modules/twice?link=utils=double";
    let first = server.put(path).wasm(twice()).await.created();
    let other = server.put("/v1/modules/twice?link=utils=triple").wasm(twice()).await;
    other.problem(409, "name-taken").has(json!({ "digest": first["digest"] }));
    let other = server.put("/v1/modules/ninefold?link=utils=triple").wasm(twice()).await.created();
    assert_eq!(first["wasm"], other["wasm"]);
    assert_ne!(first["digest"], other["digest"]);
}

#[tokio::test]
async fn a_module_without_a_name_is_kept_by_its_digest() {
    let server = Server::start().await;
    let response = server.post("/v1/modules").wat(DOUBLE).await;
    let path = format!("/v1/modules/{DOUBLE_DIGEST}");
    let created = response.has_header("location", &path).created();
    assert_contains(&created, &json!({ "name": null, "names": [], "digest": DOUBLE_DIGEST }));
    server.post("/v1/modules").wat(DOUBLE).await.answers(created.clone());
    server.get(&path).await.answers(created);
    let call = server.post(&format!("{path}/functions/double")).json(json!({ "params": [21] }));
    call.await.ok(json!({ "results": [42] }));
    server.delete(&path).await.no_content();
    server.get(&path).await.problem(404, "unknown-module").says(&[DOUBLE_DIGEST]);
    server.delete(&path).await.problem(404, "unknown-module");
}

#[tokio::test]
async fn a_name_keeps_content_that_was_registered_without_one() {
    let server = Server::start().await;
    let path = format!("/v1/modules/{DOUBLE_DIGEST}");
    server.post("/v1/modules").wat(DOUBLE).await.created();
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.delete(&path).await.no_content();
    server.get(&path).await.ok(json!({ "names": ["utils"] }));
    let in_use = server.delete(&path).await.problem(409, "in-use");
    in_use.has(json!({ "digest": DOUBLE_DIGEST, "names": 1, "links": 0 })).says(&["utils"]);
    server.delete("/v1/modules/utils").await.no_content();
    server.get(&path).await.problem(404, "unknown-module");
}

#[tokio::test]
async fn a_deleted_name_is_free_again() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.delete("/v1/modules/utils").await.no_content();
    server.get("/v1/modules/utils").await.problem(404, "unknown-module");
    let call = server.post("/v1/modules/utils/functions/double").await;
    call.problem(404, "unknown-module").says(&["utils"]);
    server.get(&format!("/v1/modules/{DOUBLE_DIGEST}")).await.problem(404, "unknown-module");
    server.delete("/v1/modules/utils").await.problem(404, "unknown-module");
    server.put("/v1/modules/utils").wat(TRIPLE).await.created();
    let call = server.post("/v1/modules/utils/functions/double").json(json!({ "params": [2] }));
    call.await.ok(json!({ "results": [6] }));
}

#[tokio::test]
async fn content_that_others_link_to_outlives_its_name() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/twice?link=utils=utils").wasm(bytes(TWICE_HEX)).await.created();
    server.delete("/v1/modules/utils").await.no_content();
    let described = server.get("/v1/modules/twice").await;
    described.ok(json!({ "links": { "utils": { "name": null, "digest": DOUBLE_DIGEST } } }));
    let call =
        server.post("/v1/modules/twice/functions/double_twice").json(json!({ "params": [2] }));
    call.await.ok(json!({ "results": [8] }));
    let utils = format!("/v1/modules/{DOUBLE_DIGEST}");
    let in_use = server.delete(&utils).await.problem(409, "in-use");
    in_use.has(json!({ "names": 0, "links": 1 }));
    server.delete("/v1/modules/twice").await.no_content();
    server.get(&utils).await.problem(404, "unknown-module");
}

#[tokio::test]
async fn a_blob_digest_is_not_a_modules() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let blob = format!("/v1/modules/{DOUBLE_BLOB}");
    for response in [
        server.get(&blob).await,
        server.delete(&blob).await,
        server.get(&format!("{blob}/wasm")).await,
        server.post(&format!("{blob}/functions/double")).await,
    ] {
        response.problem(404, "unknown-module").says(&[DOUBLE_BLOB, "blob"]);
    }
}

#[tokio::test]
async fn links_can_come_from_the_query_and_from_json_but_not_twice() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    // The import may have any name, so the last `=` is where it ends.
    let wat = r#"(module
        (import "a=b c" "double" (func (param i32) (result i32)))
        (import "utils" "double" (func $f (param i32) (result i32)))
        (export "f" (func $f)))"#;
    let path = "/v1/modules/odd?link=a%3Db+c=utils";
    let body = |links: Value| json!({ "wat": wat, "links": links });
    let created = server.put(path).json(body(json!({ "utils": DOUBLE_DIGEST }))).await.created();
    assert_contains(
        &created["links"],
        &json!({ "a=b c": { "digest": DOUBLE_DIGEST }, "utils": { "digest": DOUBLE_DIGEST } }),
    );
    let twice = server.put(path).json(body(json!({ "a=b c": "utils", "utils": "utils" }))).await;
    twice.problem(422, "link-error").says(&["a=b c", "twice"]);
    let repeated = server.put("/v1/modules/odd?link=utils=utils&link=utils=utils").wat(wat).await;
    repeated.problem(422, "link-error").says(&["utils", "twice"]);
    for (query, detail) in [
        ("link=utils", "IMPORT=MODULE"),
        ("links=utils=utils", "links"),
        ("link=%ff=utils", "UTF-8"),
    ] {
        let refused = server.put(&format!("/v1/modules/odd?{query}")).wat(wat).await;
        refused.problem(400, "invalid-request").says(&[detail]);
    }
    let unknown = server.put("/v1/modules/odd?link=utils=nobody").wat(wat).await;
    unknown.problem(404, "unknown-module").says(&["nobody"]);
}

#[tokio::test]
async fn of_racing_registrations_of_a_name_one_wins() {
    const RACERS: i32 = 64;
    let server = Server::start().await;
    let mut racing = JoinSet::new();
    for number in 0..RACERS {
        let request = server.put("/v1/modules/contested").wat(answering(number));
        racing.spawn(async move { (number, request.await) });
    }
    let mut winners = Vec::new();
    for (number, response) in racing.join_all().await {
        if response.status == 201 {
            winners.push((number, response.created()));
        } else {
            response.problem(409, "name-taken");
        }
    }
    let [(number, created)] = &winners[..] else { panic!("not one winner: {winners:?}") };
    let call = server.post("/v1/modules/contested/functions/answer").await;
    call.ok(json!({ "results": [number], "module": created["digest"] }));
    // The losers left nothing behind.
    let listed = server.get("/v1/modules").await.ok(json!({ "next_cursor": null }));
    assert_contains(&listed, &json!({ "modules": [{ "digest": created["digest"] }] }));
    for number in (0..RACERS).filter(|other| other != number) {
        let other = server.post("/v1/modules").wat(answering(number)).await.created();
        assert_ne!(other["digest"], created["digest"]);
    }
}

#[tokio::test]
async fn of_racing_registrations_of_the_same_one_creates_and_all_succeed() {
    let server = Server::start().await;
    let mut racing = JoinSet::new();
    for _ in 0..64 {
        racing.spawn(server.put("/v1/modules/utils").wat(DOUBLE).into_future());
    }
    let statuses: Vec<_> =
        racing.join_all().await.iter().map(|response| response.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 63, "{statuses:?}");
}
