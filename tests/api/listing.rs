//! `GET /v1/modules`: pages of what is registered.

use serde_json::{Value, json};

use crate::support::guests::{DOUBLE, DOUBLE_BLOB, DOUBLE_DIGEST, answering};
use crate::support::response::assert_contains;
use crate::support::server::Server;

/// The names on a page, and where the next one starts.
async fn page(server: &Server, query: &str) -> (Vec<String>, Option<String>) {
    let page = server.get(&format!("/v1/modules?{query}")).await.ok(json!({}));
    let modules = page["modules"].as_array().unwrap().iter();
    let names = modules.map(|module| module["name"].as_str().unwrap().to_owned()).collect();
    (names, page["next_cursor"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn modules_are_listed_in_name_order() {
    let server = Server::start().await;
    server.get("/v1/modules").await.answers(json!({ "modules": [], "next_cursor": null }));
    for name in ["b", "a@1.10.0", "a@1.9.0", "B", "ns:a", "a-b"] {
        server.put(&format!("/v1/modules/{name}")).wat(DOUBLE).await.created();
    }
    let (names, next) = page(&server, "").await;
    assert_eq!(names, ["B", "a-b", "a@1.10.0", "a@1.9.0", "b", "ns:a"]);
    assert_eq!(next, None);
    let all = server.get("/v1/modules").await.ok(json!({}));
    let expected = json!({
        "name": "B", "digest": DOUBLE_DIGEST, "kind": "module",
        "wasm": { "digest": DOUBLE_BLOB, "size": 43 },
    });
    assert_contains(&all["modules"][0], &expected);
    assert!(all["modules"][0]["registered_at"].is_string());
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    let server = Server::start().await;
    let all: Vec<String> = (0..23).map(|number| format!("m{number:02}")).collect();
    for name in &all {
        server.put(&format!("/v1/modules/{name}")).wat(DOUBLE).await.created();
    }
    let mut seen = Vec::new();
    let mut query = "limit=5".to_owned();
    loop {
        let (names, next) = page(&server, &query).await;
        assert!(names.len() == 5 || next.is_none(), "{names:?}");
        seen.extend(names);
        let Some(next) = next else { break };
        query = format!("limit=5&cursor={next}");
    }
    assert_eq!(seen, all);
    let (names, next) = page(&server, "prefix=m1&limit=4").await;
    assert_eq!(names, ["m10", "m11", "m12", "m13"]);
    let (names, _) = page(&server, &format!("prefix=m1&cursor={}", next.unwrap())).await;
    assert_eq!(names, ["m14", "m15", "m16", "m17", "m18", "m19"]);
    // The cursor need not exist any more.
    server.delete("/v1/modules/m20").await.no_content();
    assert_eq!(page(&server, "cursor=m20").await.0, ["m21", "m22"]);
    assert_eq!(page(&server, "prefix=nothing").await, (vec![], None));
}

#[tokio::test]
async fn a_page_has_a_hundred_modules_unless_the_query_says_otherwise() {
    let server = Server::start().await;
    for number in 0..101 {
        server.put(&format!("/v1/modules/m{number:03}")).wat(DOUBLE).await.created();
    }
    let (names, next) = page(&server, "").await;
    assert_eq!((names.len(), next.as_deref()), (100, Some("m099")));
    assert_eq!(page(&server, "limit=1000").await.0.len(), 101);
}

#[tokio::test]
async fn modules_without_a_name_are_listed_apart() {
    let server = Server::start().await;
    server.put("/v1/modules/named").wat(DOUBLE).await.created();
    let mut digests = Vec::new();
    for number in 0..5 {
        let created = server.post("/v1/modules").wat(answering(number)).await.created();
        digests.push(created["digest"].as_str().unwrap().to_owned());
    }
    digests.sort_unstable();
    let list = |query: &str| server.get(&format!("/v1/modules?unnamed=true{query}"));
    let listed = |page: &Value| -> Vec<String> {
        let modules = page["modules"].as_array().unwrap().iter();
        modules.map(|module| module["digest"].as_str().unwrap().to_owned()).collect()
    };
    let first = list("&limit=3").await.ok(json!({ "next_cursor": digests[2] }));
    assert_eq!(listed(&first), digests[..3]);
    assert_eq!(first["modules"][0]["name"], Value::Null);
    let second = list(&format!("&cursor={}", digests[2])).await.ok(json!({ "next_cursor": null }));
    assert_eq!(listed(&second), digests[3..]);
    assert_eq!(page(&server, "unnamed=false").await.0, ["named"]);
}

#[tokio::test]
async fn a_query_that_means_nothing_is_refused() {
    let server = Server::start().await;
    for (query, detail) in [
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("limit=-1", "1 to 1000"),
        ("limit=ten", "ten"),
        ("limit=", "1 to 1000"),
        ("unnamed=yes", "yes"),
        ("Limit=1", "Limit"),
        ("prefix=%ff", "UTF-8"),
    ] {
        let refused = server.get(&format!("/v1/modules?{query}")).await;
        refused.problem(400, "invalid-request").says(&[detail]);
    }
}

#[tokio::test]
async fn a_parameter_that_comes_twice_is_refused() {
    let server = Server::start().await;
    for (query, name) in [
        ("limit=1&limit=2", "limit"),
        ("prefix=a&prefix=b", "prefix"),
        ("cursor=a&cursor=a", "cursor"),
        ("unnamed=true&unnamed=false", "unnamed"),
    ] {
        let refused = server.get(&format!("/v1/modules?{query}")).await;
        refused.problem(400, "invalid-request").says(&[name]);
    }
}
