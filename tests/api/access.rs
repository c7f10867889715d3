//! Who is answered: hosts of this machine, and no web pages of others.

use reqwest::Method;
use serde_json::json;

use crate::support::eventually;
use crate::support::guests::{DOUBLE, DOUBLE_HEX};
use crate::support::server::Server;

#[tokio::test]
async fn only_hosts_of_this_machine_are_answered_for() {
    let server = Server::start().await;
    let port = server.address().port();
    for host in [
        "localhost",
        &format!("localhost:{port}"),
        "LOCALHOST:80",
        "127.0.0.1",
        "127.1.2.3:1",
        "[::1]",
        "[::1]:4000",
        "console.localhost",
    ] {
        server.get("/healthz").header("host", host).await.has_status(200);
    }
    for host in [
        "rebound.example",
        "localhost.rebound.example:4000",
        "127.0.0.1.rebound.example",
        "192.168.0.1",
        "[fe80::1]",
        "0.0.0.0",
    ] {
        for path in ["/healthz", "/", "/v1/modules/utils", "/nothing"] {
            let refused = server.get(path).header("host", host).await;
            refused.problem(403, "forbidden").says(&["host"]);
        }
    }
}

#[tokio::test]
async fn a_foreign_host_changes_nothing() {
    let server = Server::start().await;
    let put = server.put("/v1/modules/utils").header("host", "rebound.example").wat(DOUBLE).await;
    put.problem(403, "forbidden");
    let body = json!({ "module_name": "utils", "wasm_hex": DOUBLE_HEX });
    let register = server.post("/register").header("host", "rebound.example").json(body).await;
    register.problem(403, "forbidden");
    server.get("/v1/modules/utils").await.problem(404, "unknown-module");
    let body = json!({ "wat": DOUBLE, "function": "double", "params": [1] });
    for path in ["/v1/call", "/", "/execute"] {
        let call = server.post(path).header("host", "rebound.example").json(body.clone()).await;
        call.problem(403, "forbidden");
    }
}

#[tokio::test]
async fn a_host_that_the_operator_names_is_answered_for() {
    let server = Server::with(|setup| setup.server.hosts = vec!["wasm.example.org".into()]).await;
    for host in ["wasm.example.org", "WASM.example.org:8080", "localhost"] {
        server.get("/healthz").header("host", host).await.has_status(200);
    }
    let other = server.get("/healthz").header("host", "other.example.org").await;
    other.problem(403, "forbidden");
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let server = Server::start().await;
    for head in [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    ] {
        let mut connection = server.connect().await;
        connection.send(head).await;
        connection.response().await.problem(400, "invalid-request").says(&["Host"]);
    }
    // An absolute target is what counts, whatever the header says.
    for (target, status) in [("http://localhost/healthz", 200), ("http://rebound.example/", 403)] {
        let mut connection = server.connect().await;
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        connection.response().await.has_status(status);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_told_nothing() {
    let server = Server::start().await;
    let port = server.address().port();
    let own = format!("http://127.0.0.1:{port}");
    let put = server.put("/v1/modules/utils").header("origin", &own).wat(DOUBLE).await;
    put.created();
    for origin in [
        "https://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        &format!("http://localhost:{port}"),
        "null",
        "file://",
    ] {
        for request in [
            server.get("/v1/modules/utils"),
            server.post("/v1/modules/utils/functions/double").json(json!({ "params": [2] })),
            server.post("/").body(json!({ "wat": DOUBLE, "function_name": "double" }).to_string()),
            server.delete("/v1/modules/utils"),
            server.request(Method::OPTIONS, "/v1/call"),
        ] {
            let response = request.header("origin", origin).await;
            assert_eq!(response.header("access-control-allow-origin"), None);
            response.problem(403, "forbidden").says(&["origin"]);
        }
    }
    server.get("/v1/modules/utils").await.ok(json!({ "name": "utils" }));
}

#[tokio::test]
async fn an_origin_that_the_operator_names_may_use_the_server() {
    const ORIGIN: &str = "https://console.example.org";
    let server = Server::with(|setup| setup.server.origins = vec![ORIGIN.into()]).await;
    let put = server.put("/v1/modules/utils").header("origin", ORIGIN).wat(DOUBLE).await;
    put.created();
    for foreign in ["https://evil.example", "https://console.example.org:8443"] {
        let refused = server.get("/v1/modules/utils").header("origin", foreign).await;
        refused.problem(403, "forbidden");
    }
}

#[tokio::test]
async fn without_a_word_from_the_operator_there_is_no_cors() {
    let server = Server::start().await;
    for response in [
        server.get("/healthz").await,
        server.request(Method::OPTIONS, "/v1/call").await,
        server.get("/nothing").await,
    ] {
        for header in response.headers.keys() {
            assert!(!header.as_str().starts_with("access-control-"), "{header}");
        }
    }
}

#[tokio::test]
async fn a_page_that_the_operator_names_can_read_the_answers() {
    const ORIGIN: &str = "https://console.example.org";
    let server = Server::with(|setup| setup.server.origins = vec![ORIGIN.into()]).await;
    let preflight = server
        .request(Method::OPTIONS, "/v1/call")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .await;
    assert!(preflight.status.is_success(), "{preflight:?}");
    let preflight = preflight.has_header("access-control-allow-origin", ORIGIN);
    assert!(preflight.header("access-control-allow-methods").is_some_and(|m| m.contains("POST")));
    let response = server.get("/v1/modules").header("origin", ORIGIN).await;
    response.has_header("access-control-allow-origin", ORIGIN);
}

#[tokio::test]
async fn a_page_can_read_why_it_is_refused_as_well() {
    const ORIGIN: &str = "https://console.example.org";
    let server = Server::with(|setup| {
        setup.server.origins = vec![ORIGIN.into()];
        setup.server.client.loopback = true;
        setup.server.client.requests_per_second = 1;
    })
    .await;
    let refused = eventually("it is too much", async || {
        let response = server.get("/v1/limits").header("origin", ORIGIN).await;
        (response.status == 429).then_some(response)
    })
    .await;
    refused.has_header("access-control-allow-origin", ORIGIN).problem(429, "rate-limited");
}
