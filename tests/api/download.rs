//! `GET /v1/modules/{module}/wasm` and `/wat`: validators, ranges, caching.

use reqwest::Method;

use crate::support::guests::{DOUBLE, DOUBLE_BLOB, DOUBLE_DIGEST, DOUBLE_HEX, bytes};
use crate::support::hex;
use crate::support::server::Server;

const WASM: &str = "/v1/modules/utils/wasm";

async fn server() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server
}

#[tokio::test]
async fn the_bytes_come_as_they_went() {
    let server = server().await;
    let response = server.get(WASM).await.has_status(200);
    let response = response.has_header("content-type", "application/wasm");
    let response = response.has_header("etag", &format!("\"{DOUBLE_BLOB}\""));
    let response = response.has_header("accept-ranges", "bytes");
    assert_eq!(hex(&response.body), DOUBLE_HEX);
    let head = server.request(Method::HEAD, WASM).await.has_status(200);
    let head = head.has_header("content-length", "43");
    assert_eq!(head.body, "");
}

#[tokio::test]
async fn by_digest_an_answer_never_changes_and_by_name_it_may() {
    let server = server().await;
    for form in ["wasm", "wat"] {
        let by_name = server.get(&format!("/v1/modules/utils/{form}")).await;
        by_name.has_header("cache-control", "private, no-cache");
        let by_digest = server.get(&format!("/v1/modules/{DOUBLE_DIGEST}/{form}")).await;
        let control = by_digest.header("cache-control").unwrap();
        assert!(control.contains("private") && control.contains("immutable"), "{control}");
    }
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let server = server().await;
    let tag = format!("\"{DOUBLE_BLOB}\"");
    for known in [&tag, &format!("W/{tag}"), &format!("\"other\", {tag}"), "*"] {
        let response = server.get(WASM).header("if-none-match", known).await.has_status(304);
        assert_eq!(response.body, "");
        response.has_header("etag", &tag);
    }
    let other = server.get(WASM).header("if-none-match", "\"other\"").await;
    assert_eq!(other.has_status(200).body.len(), 43);
}

#[tokio::test]
async fn ranges_are_answered() {
    let server = server().await;
    let whole = bytes(DOUBLE_HEX);
    for (range, first, last) in [
        ("bytes=0-3", 0, 3),
        ("bytes=40-", 40, 42),
        ("bytes=-2", 41, 42),
        ("bytes=8-1000", 8, 42),
        ("bytes=0-0", 0, 0),
    ] {
        let part = server.get(WASM).header("range", range).await.has_status(206);
        let part = part.has_header("content-range", &format!("bytes {first}-{last}/43"));
        assert_eq!(part.body, whole[first..=last], "{range}");
    }
    let tag = format!("\"{DOUBLE_BLOB}\"");
    let request = || server.get(WASM).header("range", "bytes=0-3");
    request().header("if-range", &tag).await.has_status(206);
    let changed = request().header("if-range", "\"other\"").await.has_status(200);
    assert_eq!(changed.body, whole);
    for ignored in ["bytes=0-1,3-4", "items=0-1", "bytes=x-y"] {
        let response = server.get(WASM).header("range", ignored).await.has_status(200);
        assert_eq!(response.body, whole, "{ignored}");
    }
}

#[tokio::test]
async fn the_text_gives_the_same_bytes() {
    let server = server().await;
    let text = server.get("/v1/modules/utils/wat").await.has_status(200);
    let text = text.has_header("content-type", "text/wat; charset=utf-8");
    assert!(text.text().contains("i32.mul"), "{}", text.text());
    let again = server.put("/v1/modules/again").wat(text.text().to_owned()).await.created();
    assert_eq!(again["digest"], DOUBLE_DIGEST);
    let known = server.get("/v1/modules/utils/wat").header("if-none-match", "*").await;
    known.has_status(304);
}

#[tokio::test]
async fn what_is_not_there_or_not_acceptable_is_a_problem() {
    let server = server().await;
    for form in ["wasm", "wat"] {
        let unknown = server.get(&format!("/v1/modules/nobody/{form}")).await;
        unknown.problem(404, "unknown-module").says(&["nobody"]);
        let request = server.get(&format!("/v1/modules/utils/{form}"));
        request.header("accept", "text/html").await.problem(406, "not-acceptable");
    }
    server.get("/v1/modules/utils/html").await.problem(404, "not-found");
}
