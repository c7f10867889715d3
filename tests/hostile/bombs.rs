//! Modules that are small and valid, and would take the compiler out of all proportion.

mod shapes;

use serde_json::{Value, json};

use crate::support::guests::answering;
use crate::support::hex;
use crate::support::response::Response;
use crate::support::server::Server;
use crate::victim::remembered_failures;

/// The members that make a problem of its module's.
fn verdict(response: &Response) -> Value {
    let body = response.value();
    json!([body["code"], body["detail"], body["limit"], body["found"], body["offset"]])
}

#[tokio::test]
async fn a_bomb_is_refused_at_the_door_each_time() {
    let server = Server::start().await;
    for (name, limit, wasm) in shapes::all() {
        let put = server.put("/v1/modules/bomb").wasm(wasm.clone());
        let again = put.again();
        let before = remembered_failures(&server).await;
        let refused = put.await;
        assert_eq!(remembered_failures(&server).await, before, "{name}");
        let first = verdict(&refused);
        let problem = refused.problem(422, "compile-limit").says(&["the maximum is"]);
        assert_eq!(problem.body["limit"], limit, "{name}: {}", problem.body);
        assert!(problem.body["found"].as_u64() > problem.body["maximum"].as_u64(), "{name}");
        assert_eq!(verdict(&again.await), first, "{name}");
        assert_eq!(remembered_failures(&server).await, before + 1, "{name}");
        server.get("/healthz").await.answers(json!({ "status": "ok" }));
    }
    server.get("/v1/modules/bomb").await.problem(404, "unknown-module");
    server.put("/v1/modules/fine").wat(answering(1)).await.created();
}

#[tokio::test]
async fn a_bomb_in_a_call_is_refused_as_well() {
    let server = Server::start().await;
    let wasm = hex(&shapes::loops_with_params(300, 1000, false));
    for limits in [json!({}), json!({ "fuel": 1000 })] {
        let call = json!({ "wasm_hex": wasm, "function": "f", "limits": limits });
        let before = remembered_failures(&server).await;
        for repetitions in 0..2 {
            let refused = server.post("/v1/call").json(call.clone()).await;
            let problem = refused.problem(422, "compile-limit").says(&["function 0 has"]);
            problem.has(json!({ "limit": "block_values", "function": 0 }));
            assert_eq!(remembered_failures(&server).await, before + repetitions);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_invalid_though_bombs_follow() {
    let server = Server::start().await;
    let mut wasm = shapes::loops_with_params(300, 1000, false);
    wasm.truncate(wasm.len() - 1);
    let call = json!({ "wasm_hex": hex(&wasm), "function": "f" });
    for _ in 0..2 {
        server.put("/v1/modules/bomb").wasm(wasm.clone()).await.problem(422, "invalid-wasm");
        server.post("/v1/call").json(call.clone()).await.problem(422, "invalid-wasm");
    }
}

#[tokio::test]
async fn all_who_wait_for_what_fails_are_told_the_same() {
    let server = Server::start().await;
    // Valid, and compiled, but with an import that nothing satisfies.
    let wat = r#"(module (import "nobody" "f" (func)) (func (export "g")))"#;
    let call = || server.post("/v1/call").json(json!({ "wat": wat, "function": "g" }));
    let answers = tokio::join!(call(), call(), call(), call());
    let first = verdict(&answers.0);
    assert_eq!(first[0], "link-error");
    for answer in [answers.1, answers.2, answers.3] {
        assert_eq!(verdict(&answer), first);
    }
}
