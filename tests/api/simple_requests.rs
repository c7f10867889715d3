//! Calls that arrive whole, which are answered without a general HTTP server, are answered as any
//! others.

use reqwest::header::HeaderMap;
use serde_json::json;

use crate::support::connection::Connection;
use crate::support::eventually;
use crate::support::guests::{DOUBLE, UNRULY};
use crate::support::response::Response;
use crate::support::server::Server;

/// A module with a memory of four pages, of which much can be read.
const MEMORY: &str = r#"(module (memory (export "memory") 4) (func (export "nothing")))"#;

/// A module whose memory is more than the kernel takes of an answer that nobody reads.
const LARGE_MEMORY: &str = r#"(module (memory (export "memory") 256) (func (export "nothing")))"#;

/// How much of it is read, which is 14 MiB in base64.
const LARGE_READ: usize = (11 << 20) - (1 << 19);

/// What no connection's first request may be, so that those after it are not taken for simple.
const OTHER: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

const JSON: &str = "Content-Type: application/json\r\n";

/// A foreign origin whose pages may use the server.
const ORIGIN: &str = "https://console.example.org";

async fn server() -> Server {
    let server = Server::with(|setup| setup.server.origins = vec![ORIGIN.to_owned()]).await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    server.put("/v1/modules/memory").wat(MEMORY).await.created();
    server.put("/v1/modules/large").wat(LARGE_MEMORY).await.created();
    server
}

/// A request with these further header lines, each with its end.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A call with these parameters.
fn call(params: &str) -> String {
    post("/v1/modules/utils/functions/double", JSON, &format!(r#"{{"params":{params}}}"#))
}

/// A connection whose requests are not taken for simple.
async fn general(server: &Server) -> Connection {
    let mut connection = server.connect().await;
    connection.send(OTHER).await;
    connection.response().await.has_status(200);
    connection
}

async fn asked(mut connection: Connection, request: &str) -> Response {
    connection.send(request).await;
    connection.response().await
}

#[tokio::test]
async fn the_same_is_answered() {
    let server = server().await;
    let double = "/v1/modules/utils/functions/double";
    let execute = r#"{"module_name":"utils","function_name":"double","params":[2]}"#;
    let read = r#"{"memory":{"read":[{"offset":0,"length":200000}]}}"#;
    let inline = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
    for request in [
        call("[2]"),
        call("[]"),
        post(double, "", r#"{"params":[2]}"#),
        call("[2"),
        call(r#"["\u00e9"]"#),
        post("/execute", "", execute),
        post("/execute?a=b", "Content-Type: application/x-www-form-urlencoded\r\n", execute),
        post("/execute", "Connection: keep-alive\r\nAccept: text/html\r\n", execute),
        post("/v1/call", JSON, &inline),
        post("/v1/call", "Content-Type: text/plain\r\n", &inline),
        post("/v1/call", "Content-Encoding: gzip\r\n", &inline),
        post(double, "Origin: https://example.org\r\n", "{}"),
        post(double, &format!("{JSON}Origin: {ORIGIN}\r\n"), r#"{"params":[2]}"#),
        post(double, "Host: localhost\r\n", "{}"),
        post(double, "", ""),
        post("/v1/modules/%75tils/functions/double", JSON, r#"{"params":["3"]}"#),
        post("/v1/modules/nobody/functions/double", JSON, "{}"),
        post("/v1/modules/unruly/functions/loop", JSON, r#"{"limits":{"timeout_ms":20}}"#),
        post("/v1/modules/memory/functions/nothing", JSON, read),
        post("/v1/sessions/nobody/call", JSON, "{}"),
        post(double, JSON, "{}").replace("Host: localhost", "Host: example.org"),
        post(double, JSON, "{}").replace("Host: localhost\r\n", ""),
    ] {
        // Until both were answered within one second.
        let (simple, other) = eventually("two answers of one date", async || {
            let simple = asked(server.connect().await, &request).await;
            let other = asked(general(&server).await, &request).await;
            (simple.header("date")? == other.header("date")?).then_some((simple, other))
        })
        .await;
        assert_eq!(simple.status, other.status, "{request}");
        assert_eq!(without_time(simple), without_time(other), "{request}");
    }
}

/// The headers and the text around what a call took, in which two answers differ, as their lengths do
/// for it.
fn without_time(response: Response) -> (HeaderMap, String, String) {
    let text = response.text();
    let (before, after) = text.split_once(r#""wall_us":"#).unwrap_or((text, ""));
    let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let (before, after) = (before.to_owned(), after.to_owned());
    let mut headers = response.headers;
    let length = headers.remove("content-length");
    assert_eq!(length, Some(response.body.len().into()));
    (headers, before, after)
}

#[tokio::test]
async fn a_connection_can_go_from_simple_requests_to_others() {
    let server = server().await;
    let mut connection = server.connect().await;
    let answers = async |connection: &mut Connection, expected: i32| {
        connection.response().await.ok(json!({ "results": [expected] }));
    };
    for number in 1..=3 {
        connection.send(call(&format!("[{number}]"))).await;
        answers(&mut connection, 2 * number).await;
    }
    // Two at once, then one with its body after it, and another.
    connection.send(format!("{}{}", call("[4]"), call("[5]"))).await;
    answers(&mut connection, 8).await;
    answers(&mut connection, 10).await;
    let expecting = call("[6]").replace("Content-Length", "Expect: 100-continue\r\nContent-Length");
    let (head, body) = expecting.split_at(expecting.find("\r\n\r\n").unwrap() + 4);
    connection.send(head).await;
    connection.response().await.has_status(100);
    connection.send(body).await;
    answers(&mut connection, 12).await;
    connection.send(call("[7]")).await;
    answers(&mut connection, 14).await;
}

#[tokio::test]
async fn what_comes_while_a_call_runs_is_answered_after_it() {
    let server = server().await;
    let mut connection = server.connect().await;
    let limits = r#"{"limits":{"timeout_ms":300}}"#;
    connection.send(post("/v1/modules/unruly/functions/loop", JSON, limits)).await;
    until_running(&server, 1).await;
    connection.send(call("[4]")).await;
    connection.response().await.problem(422, "timeout");
    connection.response().await.ok(json!({ "results": [8] }));
}

#[tokio::test]
async fn a_connection_with_requests_does_not_become_http2() {
    let server = server().await;
    let mut connection = server.connect().await;
    connection.send(call("[1]")).await;
    connection.response().await.ok(json!({ "results": [2] }));
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    if let Some(response) = connection.next_response().await {
        response.has_status(400);
        assert!(connection.next_response().await.is_none());
    }
}

#[tokio::test]
async fn every_beginning_of_a_request_can_come_alone() {
    let server = server().await;
    let whole = call("[21]");
    for end in (0..whole.len()).step_by(7) {
        let mut connection = server.connect().await;
        let (first, rest) = whole.split_at(end);
        connection.send(first).await;
        tokio::task::yield_now().await;
        connection.send(rest).await;
        connection.response().await.ok(json!({ "results": [42] }));
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_call() {
    let server = server().await;
    let mut connection = server.connect().await;
    let limits = r#"{"limits":{"timeout_ms":60000}}"#;
    connection.send(post("/v1/modules/unruly/functions/loop", JSON, limits)).await;
    until_running(&server, 1).await;
    drop(connection);
    until_running(&server, 0).await;
}

/// Waits until so many calls run.
async fn until_running(server: &Server, calls: usize) {
    let line = format!("wasm_exec_running_calls {calls}\n");
    eventually(&line, async || server.get("/metrics").await.text().contains(&line).then_some(()))
        .await;
}

#[tokio::test]
async fn a_connection_with_simple_requests_is_closed_when_the_server_ends() {
    let mut server = server().await;
    let mut idle = server.connect().await;
    idle.send(call("[1]")).await;
    idle.response().await.ok(json!({ "results": [2] }));
    let mut busy = server.connect().await;
    let limits = r#"{"limits":{"timeout_ms":500}}"#;
    busy.send(post("/v1/modules/unruly/functions/loop", JSON, limits)).await;
    until_running(&server, 1).await;
    server.shut_down();
    assert!(idle.next_response().await.is_none());
    let response = busy.response().await.has_header("connection", "close");
    response.problem(422, "timeout");
    assert!(busy.next_response().await.is_none());
    server.ended().await;
}

/// Asks for a large answer, and waits until as much of it is sent as is taken.
async fn with_answer_not_taken(server: &Server) -> Connection {
    let mut connection = server.connect().await;
    let body = json!({
        "memory": { "read": [{ "offset": 0, "length": LARGE_READ }] },
        "limits": { "output_bytes": 16 << 20 },
    });
    let large = post("/v1/modules/large/functions/nothing", JSON, &body.to_string());
    connection.send(large).await;
    eventually("the answer waits", async || (answer_bytes(server).await > 0).then_some(())).await;
    connection
}

async fn answer_bytes(server: &Server) -> usize {
    let metrics = server.get("/metrics").await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("wasm_exec_answer_bytes "));
    line.unwrap().parse().unwrap()
}

async fn take_large_answer(connection: &mut Connection) {
    let answer = connection.response().await.has_status(200).value();
    let read = &answer["memory"]["read"][0]["base64"];
    let read = read.as_str().unwrap();
    assert_eq!(read.len(), LARGE_READ.div_ceil(3) * 4);
    assert!(read.bytes().all(|digit| digit == b'A'));
}

#[tokio::test]
async fn a_large_answer_waits_until_it_is_taken_and_nobody_for_it() {
    let server = server().await;
    let mut slow = with_answer_not_taken(&server).await;
    let mut other = server.connect().await;
    for number in 0..100 {
        other.send(call(&format!("[{number}]"))).await;
        other.response().await.ok(json!({ "results": [2 * number] }));
    }
    take_large_answer(&mut slow).await;
    slow.send(call("[1]")).await;
    slow.response().await.ok(json!({ "results": [2] }));
    assert_eq!(answer_bytes(&server).await, 0);

    drop(with_answer_not_taken(&server).await);
    eventually("its room is free", async || (answer_bytes(&server).await == 0).then_some(())).await;
}

#[tokio::test]
async fn an_answer_that_is_being_taken_when_the_server_ends_is_taken() {
    let mut server = server().await;
    let mut slow = with_answer_not_taken(&server).await;
    server.shut_down();
    take_large_answer(&mut slow).await;
    assert!(slow.next_response().await.is_none());
    server.ended().await;
}
