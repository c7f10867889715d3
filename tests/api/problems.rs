//! `/problems`: every code is explained, and every code is one that a client can meet.

use std::time::Duration;

use serde_json::{Value, json};
use wasm_exec_server::Code;

use crate::support::guests::{DOUBLE, TRIPLE, TWICE_HEX, UNRULY, answering, bytes};
use crate::support::response::Response;
use crate::support::server::Server;
use crate::{keys, network, scheduling, sessions, shutdown, storage, wasm};

#[tokio::test]
async fn every_code_is_explained() {
    let server = Server::start().await;
    let all = server.get("/problems").await.ok(json!({}));
    let all = all["problems"].as_array().unwrap();
    let codes: Vec<_> = all.iter().map(|problem| problem["code"].as_str().unwrap()).collect();
    let expected: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes, expected);
    for problem in all {
        let path = format!("/problems/{}", problem["code"].as_str().unwrap());
        server.get(&path).await.answers(problem.clone());
        assert!(problem["description"].as_str().unwrap().ends_with('.'), "{problem}");
        assert!(problem["title"].is_string() && problem["status"].is_u64(), "{problem}");
    }
    server.get("/problems/nothing").await.problem(404, "not-found").says(&["/problems"]);
}

/// Makes a server answer with this code. No wildcard: a new code has to be shown to exist.
async fn provoke(server: &Server, code: Code) -> Response {
    let put =
        |name: &str, wat: &str| server.put(&format!("/v1/modules/{name}")).wat(wat.to_owned());
    let call = |function: &str, limits: Value| {
        let path = format!("/v1/modules/unruly/functions/{function}");
        server.post(&path).json(json!({ "limits": limits }))
    };
    match code {
        Code::InvalidRequest => server.post("/v1/call").json_text("{").await,
        Code::Unauthenticated => keys::asking_without_a_key().await,
        Code::Forbidden => server.get("/").header("host", "rebound.example").await,
        Code::UnknownModule => server.get("/v1/modules/nobody").await,
        Code::UnknownFunction => call("nothing", json!({})).await,
        Code::UnknownSession => server.get("/v1/sessions/nobody").await,
        Code::UnknownInstance => sessions::calling_an_instance_that_is_not_there(server).await,
        Code::UnknownExport => {
            let memory = json!({ "read": [{ "memory": "nothing", "offset": 0, "length": 1 }] });
            let path = "/v1/modules/unruly/functions/fine";
            server.post(path).json(json!({ "memory": memory })).await
        }
        Code::NotFound => server.get("/nothing").await,
        Code::MethodNotAllowed => server.delete("/healthz").await,
        Code::NotAcceptable => server.get("/v1/limits").header("accept", "image/png").await,
        Code::RequestTimeout => sending_too_slowly().await,
        Code::NameTaken => put("utils", TRIPLE).await,
        Code::NameConflict => network::asking_for_a_name_of_two_owners().await,
        Code::InUse => {
            let utils = server.get("/v1/modules/utils").await.value();
            server.delete(&format!("/v1/modules/{}", utils["digest"].as_str().unwrap())).await
        }
        Code::SessionEnded => sessions::asking_for_a_session_that_has_ended(server).await,
        Code::TooLarge => put("large", &" ".repeat((32 << 20) + 1)).await,
        Code::UnsupportedMediaType => server.post("/v1/call").content("text/plain", "{}").await,
        Code::InvalidWasm => server.post("/v1/modules").wasm("").await,
        Code::InvalidWat => put("broken", "(module").await,
        Code::UnsupportedFeature => {
            server.post("/v1/modules").wasm(bytes("0061736d0d000100")).await
        }
        Code::CompileLimit => wasm::compiling_for_too_long().await,
        Code::LinkError => server.put("/v1/modules/twice").wasm(bytes(TWICE_HEX)).await,
        Code::InvalidParams => server.post("/v1/modules/utils/functions/double").await,
        Code::InvalidMemoryRange => {
            let memory = json!({ "write": [{ "offset": 65_536, "utf8": "a" }] });
            let path = "/v1/modules/unruly/functions/fine";
            server.post(path).json(json!({ "memory": memory })).await
        }
        Code::NoAllocator => {
            let wat = r#"(module (memory (export "memory") 1)
                (func (export "f") (param i32 i32)))"#;
            let params = json!([{ "utf8": "a" }]);
            let body = json!({ "wat": wat, "function": "f", "params": params });
            server.post("/v1/call").json(body).await
        }
        Code::InvalidName => put("a%2Fb", DOUBLE).await,
        Code::LimitTooHigh => call("fine", json!({ "timeout_ms": 60_001 })).await,
        Code::Trap => call("trap", json!({})).await,
        Code::Timeout => call("loop", json!({ "timeout_ms": 1 })).await,
        Code::FuelExhausted => call("loop", json!({ "fuel": 1 })).await,
        Code::MemoryLimit => call("fine", json!({ "memory_bytes": 0 })).await,
        Code::StackOverflow => call("recurse", json!({})).await,
        Code::OutputLimit => {
            let body = json!({
                "wat": answering(1), "function": "answer", "limits": { "output_bytes": 2 },
            });
            server.post("/v1/call").json(body).await
        }
        Code::RateLimited => keys::requests_beyond_the_rate().await,
        Code::QuotaExceeded => keys::calling_beyond_the_quota().await,
        Code::Overloaded => scheduling::calling_when_every_place_is_taken().await,
        Code::ShuttingDown => shutdown::asking_a_server_that_shuts_down().await,
        Code::NotReplicated => network::registering_where_nobody_takes_a_copy().await,
        Code::LookupTimeout => network::asking_for_what_nobody_answers().await,
        Code::Internal => storage::reading_damaged_content().await,
        Code::StorageFull => storage::registering_on_a_full_disk().await,
    }
}

/// Sends half a body, and nothing more for as long as the server waits for the rest.
async fn sending_too_slowly() -> Response {
    let server = Server::with(|setup| setup.server.body_timeout = Duration::from_millis(100)).await;
    let mut connection = server.connect().await;
    connection
        .send(
            "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 1000\r\n\r\n{\"wat\":",
        )
        .await;
    connection.response().await
}

#[tokio::test]
async fn every_code_can_be_met() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    for code in Code::ALL {
        let response = provoke(&server, *code).await;
        let problem = response.problem(code.status().as_u16(), code.as_str());
        assert_eq!(problem.body["title"], code.title());
        let retry = problem.headers.get("retry-after").is_some();
        assert_eq!(retry, matches!(code.status().as_u16(), 429 | 503), "{code:?}");
    }
}
