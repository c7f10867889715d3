//! What is about the server: index, health, metrics, OpenAPI, request ids, and wrong requests.

use std::future::IntoFuture;

use reqwest::Method;
use serde_json::json;

use crate::support::eventually;
use crate::support::guests::{DOUBLE, UNRULY};
use crate::support::server::Server;

#[tokio::test]
async fn the_index_leads_to_everything_and_each_link_works() {
    let server = Server::start().await;
    let index = server.get("/").await.ok(json!({ "name": "wasm-exec-api" }));
    assert!(index["version"].is_string());
    for (name, link) in index["links"].as_object().unwrap() {
        let response = server.get(link.as_str().unwrap()).await;
        let expected = if name == "call" { 405 } else { 200 };
        response.has_status(expected);
    }
    server.get("/").header("accept", "application/json").await.has_status(200);
    server.get("/").header("accept", "text/*, */*;q=0.1").await.has_status(200);
}

#[tokio::test]
async fn it_is_alive_and_ready() {
    let server = Server::start().await;
    server.get("/healthz").await.answers(json!({ "status": "ok" }));
    let compiler = json!({ "place": "in-process", "confinement": [] });
    server.get("/readyz").await.answers(json!({ "status": "ok", "compiler": compiler }));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_outcome() {
    let server = Server::start().await;
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    for _ in 0..3 {
        server.post("/v1/modules/unruly/functions/fine").await.ok(json!({}));
    }
    server.post("/v1/modules/unruly/functions/trap").await.problem(422, "trap");
    server.post("/v1/modules/unruly/functions/nobody").await.problem(404, "unknown-function");
    server.post("/execute").body("{").await.problem(400, "invalid-request");
    let metrics = server.get("/metrics").await.has_status(200);
    let content_type = metrics.header("content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let lines: Vec<&str> = metrics.text().lines().collect();
    let count = |route: &str, outcome: &str| {
        let labels = format!(r#"wasm_exec_requests_total{{route="{route}",outcome="{outcome}"}} "#);
        lines.iter().find_map(|line| line.strip_prefix(&labels)).unwrap_or("none").to_owned()
    };
    assert_eq!(count("call_function", "ok"), "3");
    assert_eq!(count("call_function", "trap"), "1");
    assert_eq!(count("call_function", "unknown-function"), "1");
    assert_eq!(count("execute_module", "invalid-request"), "1");
    assert_eq!(count("modules", "ok"), "1");
    let durations = r#"wasm_exec_request_duration_seconds_count{route="call_function"} 5"#;
    assert!(lines.contains(&durations), "{}", metrics.text());
    assert!(lines.iter().any(|line| line.starts_with("wasm_exec_connections ")));
    assert!(lines.contains(&"wasm_exec_ready_programs 1"), "{}", metrics.text());
    assert_eq!(lines.last(), Some(&"# EOF"));
}

#[tokio::test]
async fn what_is_in_use_is_shown() {
    let server = Server::start().await;
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    let shows = async |line: &str| {
        let metrics = server.get("/metrics").await.has_status(200);
        metrics.text().lines().any(|shown| shown == line).then_some(())
    };
    let call = server.post("/v1/modules/unruly/functions/loop");
    let call = call.json(json!({ "limits": { "timeout_ms": 60_000 } })).into_future();
    let call = tokio::spawn(call);
    eventually("a call runs", async || shows("wasm_exec_running_calls 1").await).await;
    call.abort();
    eventually("no call runs", async || shows("wasm_exec_running_calls 0").await).await;
    for name in [
        "waiting_calls",
        "running_compilations",
        "waiting_compilations",
        "guest_memory_bytes",
        "body_bytes",
        "answer_bytes",
    ] {
        shows(&format!("wasm_exec_{name} 0")).await.unwrap_or_else(|| panic!("{name}"));
    }
}

#[tokio::test]
async fn the_openapi_document_is_what_it_was() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.ok(json!({ "openapi": "3.1.0" }));
    insta::assert_json_snapshot!("openapi", document);
}

#[tokio::test]
async fn the_openapi_document_has_every_route() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await.ok(json!({}));
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "m").replace("{module}", "m").replace("{code}", "trap");
        let path = path.replace("{function}", "f");
        let other = server.request(Method::PATCH, &path).await.problem(405, "method-not-allowed");
        let operations: Vec<_> = operations.as_object().unwrap().keys().cloned().collect();
        // HEAD comes with GET.
        let allowed: Vec<String> =
            allow(&other.headers).into_iter().filter(|method| *method != "head").collect();
        for operation in &operations {
            assert!(allowed.contains(operation), "{path}: {allowed:?} lacks {operation}");
        }
    }
}

/// The methods of `Allow`, in lower case.
fn allow(headers: &reqwest::header::HeaderMap) -> Vec<String> {
    let allow = headers.get("allow").expect("Allow is there").to_str().unwrap();
    allow.split(',').map(|method| method.trim().to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn a_path_that_is_nothing_is_not_found() {
    let server = Server::start().await;
    for path in ["/nothing", "/v1", "/v1/", "/v2/modules", "/register/", "/v1/modules/m/", "//"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let response = server.request(method, path).await.problem(404, "not-found");
            response.says(&[path]);
        }
    }
    let long = format!("/{}", "x".repeat(5000));
    let problem = server.get(&long).await.problem(404, "not-found");
    assert!(problem.detail().len() < 500, "{}", problem.detail());
}

#[tokio::test]
async fn a_method_that_a_path_lacks_is_told_with_those_it_has() {
    let server = Server::start().await;
    for (path, methods) in [
        ("/", "get head post"),
        ("/register", "post"),
        ("/execute", "post"),
        ("/v1/call", "post"),
        ("/v1/limits", "get head"),
        ("/v1/network", "get head"),
        ("/v1/modules", "get head post"),
        ("/v1/modules/m", "delete get head put"),
        ("/v1/modules/m/wasm", "get head"),
        ("/v1/modules/m/wat", "get head"),
        ("/v1/modules/m/functions/f", "post"),
        ("/healthz", "get head"),
        ("/readyz", "get head"),
        ("/metrics", "get head"),
        ("/openapi.json", "get head"),
        ("/problems", "get head"),
        ("/problems/trap", "get head"),
    ] {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "QUERY"] {
            if methods.contains(&method.to_ascii_lowercase()) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let refused = server.request(method.clone(), path).await;
            let problem = refused.problem(405, "method-not-allowed").says(&[method.as_str()]);
            let mut allowed = allow(&problem.headers);
            allowed.sort_unstable();
            assert_eq!(allowed.join(" "), methods, "{path}");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let server = Server::start().await;
    for path in ["/", "/healthz", "/v1/limits", "/v1/modules"] {
        let get = server.get(path).await.has_status(200);
        let head = server.request(Method::HEAD, path).await.has_status(200);
        assert_eq!(head.body, "");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
    server.request(Method::HEAD, "/v1/modules/nobody").await.has_status(404);
}

#[tokio::test]
async fn an_answer_that_accept_excludes_is_refused() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    for path in
        ["/", "/v1/limits", "/v1/modules", "/v1/modules/utils", "/problems", "/openapi.json"]
    {
        for accept in ["text/html", "image/*", "application/json;q=0", "application/xml, text/*"] {
            let refused = server.get(path).header("accept", accept).await;
            refused.problem(406, "not-acceptable").says(&["application/json"]);
        }
        for accept in ["application/json", "application/*", "*/*", "text/html, */*;q=0.1"] {
            server.get(path).header("accept", accept).await.has_status(200);
        }
    }
    let call = server.post("/v1/modules/utils/functions/double").header("accept", "text/html");
    call.json(json!({ "params": [2] })).await.problem(406, "not-acceptable");
    // Nothing is done for an answer that nobody takes.
    let put = server.put("/v1/modules/other").header("accept", "text/html").wat(DOUBLE).await;
    put.problem(406, "not-acceptable");
    server.get("/v1/modules/other").await.problem(404, "unknown-module");
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::start().await;
    let mut seen = std::collections::HashSet::new();
    for path in ["/healthz", "/nothing", "/v1/modules/nobody", "/metrics", "/"] {
        let response = server.get(path).await;
        let id = response.header("x-request-id").unwrap().to_owned();
        assert!(seen.insert(id), "{path}");
    }
    for given in ["abc-123", "A", &"x".repeat(128)] {
        let response = server.get("/nothing").header("x-request-id", given).await;
        response.has_header("x-request-id", given);
    }
    for unusable in ["", "a b", "ä", &"x".repeat(129)] {
        let response = server.get("/nothing").header("x-request-id", unusable).await;
        let id = response.header("x-request-id").unwrap();
        assert_ne!(id, unusable);
        assert!(seen.insert(id.to_owned()));
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for _ in 0..3 {
        connection.send(get("/healthz")).await;
        connection.response().await.has_status(200);
        // A problem is no reason to close it.
        connection.send(get("/nothing")).await;
        connection.response().await.problem(404, "not-found");
    }
    // Several at once are answered in their order.
    connection.send([get("/healthz"), get("/nothing"), get("/v1/modules/m")].concat()).await;
    connection.response().await.has_status(200);
    connection.response().await.problem(404, "not-found");
    connection.response().await.problem(404, "unknown-module");
}
