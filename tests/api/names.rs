//! Names and versions: their grammar, and what a bare label means.

use serde_json::json;

use crate::support::guests::{DOUBLE, DOUBLE_HEX, answering};
use crate::support::server::Server;

#[tokio::test]
async fn names_follow_their_grammar() {
    let server = Server::start().await;
    let longest = "x".repeat(64);
    let longest = format!("{longest}:{longest}");
    for name in ["_", "0", "A.b-c_d", "acme:utils", "utils2@1.2.0", "acme:u@1.0.0-rc.1", &longest] {
        let created = server.put(&format!("/v1/modules/{name}")).wat(DOUBLE).await;
        created.has_header("location", &format!("/v1/modules/{name}")).created();
    }
}

#[tokio::test]
async fn what_is_no_name_is_refused_with_the_place() {
    let server = Server::start().await;
    let long = "n".repeat(10_000);
    let long_label = format!("{}:y", "x".repeat(65));
    for (name, byte) in [
        ("", 0),
        ("a/b", 1),
        ("../etc/passwd", 0),
        (".", 0),
        ("..", 0),
        (".hidden", 0),
        ("-flag", 0),
        ("a b", 1),
        ("a\u{0}b", 1),
        ("a\nb", 1),
        ("a\u{1b}[2J", 1),
        ("ä", 0),
        ("a\u{202e}b", 1),
        ("a:b:c", 3),
        (":a", 0),
        ("a:", 2),
        ("a@", 2),
        ("a@1", 2),
        ("a@1.2", 2),
        ("a@1.2.3+build", 7),
        ("a@01.2.3", 2),
        ("a@@1.2.3", 2),
        ("sha512:a", 0),
        ("blake3:a", 0),
        ("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA:a", 0),
        ("sha256:abc", 0),
        (&long, 64),
        (&long_label, 64),
    ] {
        let body = json!({ "module_name": name, "wasm_hex": DOUBLE_HEX });
        let problem = server.post("/register").json(body).await.problem(422, "invalid-name");
        let problem = problem.says(&[&format!("at byte {byte}:")]);
        // What strangers send is quoted in part and escaped.
        assert!(problem.detail().len() < 500, "{}", problem.detail());
        assert!(!problem.detail().contains(|c: char| c.is_control()), "{:?}", problem.detail());
    }
    let listed = server.get("/v1/modules").await;
    listed.answers(json!({ "modules": [], "next_cursor": null }));
}

#[tokio::test]
async fn nothing_is_registered_in_the_namespaces_of_peers_but_on_their_nodes() {
    let server = Server::start().await;
    let path = "/v1/modules/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA:utils";
    let refused = server.put(path).wat(DOUBLE).await.problem(422, "invalid-name");
    refused.says(&["invalid name \"12D3Koo", "at byte 0:", "looks like a peer id is reserved"]);
    server.get(path).await.problem(404, "unknown-module");
    server.delete(path).await.problem(404, "unknown-module");
    let call = server.post(&format!("{path}/functions/double")).await;
    call.problem(404, "unknown-module");
    // The other forms of a peer's id are nobody's names.
    let path = "/v1/modules/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N:utils";
    server.get(path).await.problem(422, "invalid-name").says(&["reserved"]);
}

#[tokio::test]
async fn a_path_segment_is_a_name_once_its_percent_signs_are_decoded() {
    let server = Server::start().await;
    server.put("/v1/modules/%75tils%401%2E0.0").wat(DOUBLE).await.created();
    server.get("/v1/modules/utils@1.0.0").await.ok(json!({ "name": "utils@1.0.0" }));
    for segment in ["a%2Fb", "a%00b", "a%0Ab", "%2e%2e%2f", "%F0%9F%A6%80", "a%20b"] {
        let path = format!("/v1/modules/{segment}");
        server.put(&path).wat(DOUBLE).await.problem(422, "invalid-name");
        server.get(&path).await.problem(422, "invalid-name");
        server.delete(&path).await.problem(422, "invalid-name");
        server.post(&format!("{path}/functions/f")).await.problem(422, "invalid-name");
    }
    for segment in ["%ff", "a%c3"] {
        let path = format!("/v1/modules/{segment}");
        server.get(&path).await.problem(400, "invalid-request").says(&["UTF-8"]);
        let call = server.post(&format!("{path}/functions/f")).await;
        call.problem(400, "invalid-request").says(&["UTF-8"]);
    }
    let long = format!("/v1/modules/{}", "n".repeat(10_000));
    server.get(&long).await.problem(422, "invalid-name");
}

#[tokio::test]
async fn a_bare_label_means_the_highest_release() {
    let server = Server::start().await;
    let put = |version: &str, number| {
        server.put(&format!("/v1/modules/acme:m@{version}")).wat(answering(number))
    };
    let expect = async |number: i32, name: &str| {
        let call = server.post("/v1/modules/acme:m/functions/answer").await;
        call.ok(json!({ "results": [number] }));
        server.get("/v1/modules/acme:m").await.ok(json!({ "name": name }));
    };
    put("1.0.0-rc.1", 0).await.created();
    // A pre-release is never meant.
    server.get("/v1/modules/acme:m").await.problem(404, "unknown-module");
    put("1.9.0", 1).await.created();
    expect(1, "acme:m@1.9.0").await;
    put("1.10.0", 2).await.created();
    expect(2, "acme:m@1.10.0").await;
    put("2.0.0-alpha", 3).await.created();
    put("1.2.0", 4).await.created();
    expect(2, "acme:m@1.10.0").await;
    let exact = server.post("/v1/modules/acme:m@1.9.0/functions/answer").await;
    exact.ok(json!({ "results": [1] }));
    // Namespaces are apart.
    server.get("/v1/modules/m").await.problem(404, "unknown-module");
    server.delete("/v1/modules/acme:m@1.10.0").await.no_content();
    expect(1, "acme:m@1.9.0").await;
}

#[tokio::test]
async fn writes_take_names_literally() {
    let server = Server::start().await;
    server.put("/v1/modules/m@1.0.0").wat(DOUBLE).await.created();
    server.delete("/v1/modules/m").await.problem(404, "unknown-module");
    server.get("/v1/modules/m").await.ok(json!({ "name": "m@1.0.0" }));
}

#[tokio::test]
async fn a_label_is_either_versioned_or_not() {
    let server = Server::start().await;
    server.put("/v1/modules/versioned@1.0.0").wat(DOUBLE).await.created();
    let bare = server.put("/v1/modules/versioned").wat(DOUBLE).await.problem(409, "name-taken");
    bare.has(json!({ "name": "versioned", "by": "versioned@1.0.0" })).has_not("digest");
    server.put("/v1/modules/bare").wat(DOUBLE).await.created();
    let version = server.put("/v1/modules/bare@1.0.0").wat(DOUBLE).await;
    version.problem(409, "name-taken").has(json!({ "name": "bare@1.0.0", "by": "bare" }));
    // Another namespace is another label.
    server.put("/v1/modules/acme:bare@1.0.0").wat(DOUBLE).await.created();
}

#[tokio::test]
async fn a_deleted_version_comes_back_only_as_what_it_was() {
    let server = Server::start().await;
    let first = server.put("/v1/modules/m@1.0.0").wat(answering(1)).await.created();
    server.delete("/v1/modules/m@1.0.0").await.no_content();
    server.get("/v1/modules/m@1.0.0").await.problem(404, "unknown-module");
    let other = server.put("/v1/modules/m@1.0.0").wat(answering(2)).await;
    other.problem(409, "name-taken").has(json!({ "digest": first["digest"] }));
    server.put("/v1/modules/m@1.0.0").wat(answering(1)).await.created();
}
