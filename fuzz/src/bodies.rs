//! Requests' bodies, on every route that reads one: each is answered, and what is refused is a
//! problem of a known code.

use serde_json::Value;
use wasm_exec_server::Code;

use crate::connection::{self, Answer, Request};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// What a path begins with that is one of a session's, which has the instance `it`.
const SESSION: &str = "{session}";

/// Methods, paths and content types of requests that have a body.
const ROUTES: [(&str, &str, &str); 19] = [
    ("POST", "/", JSON),
    ("POST", "/register", JSON),
    ("POST", "/execute", JSON),
    ("POST", "/v1/call", JSON),
    ("POST", "/v1/modules/utils/functions/double", JSON),
    ("POST", "/v1/modules", JSON),
    ("PUT", "/v1/modules/fuzzed", JSON),
    ("POST", "/v1/modules", "application/wasm"),
    ("PUT", "/v1/modules/fuzzed", "text/wat"),
    ("POST", "/v1/modules?link=utils=utils", "application/wasm"),
    ("POST", "/v1/modules/utils/functions/double/batch", "application/x-ndjson"),
    ("POST", "/v1/sessions", JSON),
    ("POST", "{session}/instances", JSON),
    ("POST", "{session}/call", JSON),
    ("POST", "{session}/instances/it/functions/keep", JSON),
    ("PUT", "{session}/instances/it/globals/n", JSON),
    ("PUT", "{session}/instances/it/globals?name=kept", JSON),
    ("PUT", "{session}/instances/it/memories/memory?offset=65520", BYTES),
    ("PUT", "{session}/instances/it/memories?name=memory", BYTES),
];

/// The first byte chooses the route, the others are the body.
pub(crate) fn check(data: &[u8]) {
    let Some((route, body)) = data.split_first() else { return };
    let (method, path, content_type) = ROUTES[usize::from(*route) % ROUTES.len()];
    let request = Request { method, path, content_type, body };
    if let Some(rest) = path.strip_prefix(SESSION) {
        let session = Session::with_instance();
        let path = format!("{}{rest}", session.0);
        check_answer(&connection::send(Request { path: &path, ..request }));
        return;
    }
    let answer = connection::send(request);
    check_answer(&answer);
    if path.ends_with("/batch") && answer.status == 200 {
        check_lines(&answer.body);
    }
    if path == "/v1/sessions" && answer.status == 201 {
        drop(Session::made(&answer));
    }
}

/// A session for one input alone, so that what this does to it does not concern the next. Its path;
/// dropping it ends it.
#[derive(Debug)]
struct Session(String);

impl Session {
    /// A new one with the instance `it`.
    fn with_instance() -> Self {
        let request =
            Request { method: "POST", path: "/v1/sessions", content_type: JSON, body: b"" };
        let session = Self::made(&connection::send(request));
        let path = format!("{}/instances", session.0);
        let body = br#"{"name": "it", "module": "state"}"#;
        let answer = connection::send(Request { path: &path, body, ..request });
        assert_eq!(answer.status, 201, "{}", answer.body.escape_ascii());
        session
    }

    /// The one that an answer says was made.
    fn made(answer: &Answer) -> Self {
        assert_eq!(answer.status, 201, "{}", answer.body.escape_ascii());
        let session: Value = serde_json::from_slice(&answer.body).expect("it is described in JSON");
        Self(format!("/v1/sessions/{}", session["id"].as_str().expect("it has an id")))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What broke a law may have broken the connection.
        if !std::thread::panicking() {
            let path = &self.0;
            // It may have ended by itself.
            connection::send(Request { method: "DELETE", path, content_type: JSON, body: b"" });
        }
    }
}

/// A success, or a problem whose code has this status.
fn check_answer(answer: &Answer) {
    if (200..300).contains(&answer.status) {
        return;
    }
    let problem: Value = serde_json::from_slice(&answer.body).expect("a problem is JSON");
    assert_eq!(check_problem(&problem).status().as_u16(), answer.status, "{problem}");
}

/// The answers to a batch: each line is one.
fn check_lines(body: &[u8]) {
    for (number, line) in body.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let answer: Value = serde_json::from_slice(line).expect("an answer is JSON");
        assert_eq!(answer["line"], number, "{answer}");
        if answer["outcome"] != "ok" {
            check_problem(&answer);
        }
    }
}

/// The code of a problem. Nothing is the server's own fault.
fn check_problem(problem: &Value) -> Code {
    let code = problem["code"].as_str().and_then(Code::parse).expect("its code is known");
    assert_ne!(code, Code::Internal, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    code
}
