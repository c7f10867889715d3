//! Modules that get past the limits of modules, and meet those of the compiler.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use wasm_exec_engine::EngineConfig;

use crate::support::guests::{DOUBLE, adding};
use crate::support::response::Response;
use crate::support::server::Server;
use crate::victim::remembered_failures;

/// A server whose workers are sent whatever comes, two modules at once.
async fn without_a_door(change: impl FnOnce(&mut EngineConfig)) -> Server {
    Server::with_workers(|setup| {
        let limits = setup.engine.module_limits;
        setup.engine.module_limits =
            limits.iter().fold(limits, |limits, (limit, _)| limits.with(limit, u64::MAX));
        change(&mut setup.engine);
    })
    .await
}

/// Begins to register a module.
fn begin(server: &Server, wat: String) -> JoinHandle<Response> {
    let put = server.put("/v1/modules/bomb").wat(wat);
    tokio::spawn(async move { put.await })
}

/// A module that costs a compiler much: in each of its functions, a jump to one of `targets` blocks,
/// which take `values` values along.
fn bomb(functions: usize, targets: usize, values: usize) -> String {
    let results = "i32 ".repeat(values);
    let blocks = "block (type $values) ".repeat(targets);
    let constants = "i32.const 0 ".repeat(values);
    let labels: String = (0..targets).map(|label| format!("{label} ")).collect();
    let ends = "end ".repeat(targets);
    let drops = "drop ".repeat(values);
    let function = format!(
        "(func (param i32) {blocks} {constants} local.get 0 br_table {labels} {ends} {drops})"
    );
    let functions = function.repeat(functions);
    format!("(module (type $values (func (result {results}))) {functions})")
}

/// One function that takes gigabytes.
fn large_bomb() -> String {
    bomb(1, 3000, 1000)
}

/// Many functions that take little each, but minutes together.
fn long_bomb() -> String {
    bomb(300, 300, 300)
}

#[tokio::test]
async fn a_module_that_takes_too_much_processor_time_is_refused_alone() {
    let server = without_a_door(|engine| engine.compile_cpu = Duration::from_secs(1)).await;
    let bomb = begin(&server, long_bomb());
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let problem = bomb.await.unwrap().problem(422, "compile-limit").says(&["1 s", "processor"]);
    problem.has(json!({ "limit": "compile_cpu_ms", "maximum": 1000 }));
    server.put("/v1/modules/after").wat(adding(1, 1)).await.created();
}

#[tokio::test]
async fn a_module_that_takes_too_much_memory_is_refused_alone() {
    let server = without_a_door(|engine| engine.compile_memory_bytes = 96 << 20).await;
    let bomb = begin(&server, large_bomb());
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let problem = bomb.await.unwrap().problem(422, "compile-limit").says(&["memory"]);
    problem.has(json!({ "limit": "compile_memory_bytes", "maximum": 96 << 20 }));
    server.put("/v1/modules/after").wat(adding(1, 1)).await.created();
}

#[tokio::test]
async fn a_module_that_takes_too_long_leaves_its_place_at_once() {
    let server = without_a_door(|engine| {
        engine.concurrent_compilations = 1;
        engine.compile_timeout = Duration::from_millis(500);
    })
    .await;
    for tried_before in 0..2 {
        let bomb = server.put("/v1/modules/bomb").wat(long_bomb());
        let problem = bomb.await.problem(422, "compile-limit");
        problem.has(json!({ "limit": "compile_timeout_ms", "maximum": 500 }));
        assert_eq!(remembered_failures(&server).await, tried_before);
    }
}
