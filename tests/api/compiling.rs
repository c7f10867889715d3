//! Compiling in worker processes: the same results, and limits that hold.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wasm_exec_engine::{CompilerPlace, EngineConfig, WorkerCommand};

use crate::support::guests::{DOUBLE, UNRULY, adding, bomb};
use crate::support::response::Response;
use crate::support::server::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wasm-exec-api");

fn workers(program: impl Into<PathBuf>) -> CompilerPlace {
    let args = vec!["compile-worker".into()];
    CompilerPlace::Workers(WorkerCommand { program: program.into(), args })
}

/// A server that compiles as the binary's does, two modules at once, and whatever it is sent: so that
/// bombs get as far as the compiler.
async fn with_workers(change: impl FnOnce(&mut EngineConfig)) -> Server {
    Server::with(|setup| {
        setup.engine.compiler = workers(PROGRAM);
        setup.engine.concurrent_compilations = 2;
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

/// One function that takes gigabytes.
fn large_bomb() -> String {
    bomb(1, 3000, 1000)
}

/// Many functions that take little each, but minutes together.
fn long_bomb() -> String {
    bomb(300, 300, 300)
}

#[tokio::test]
async fn a_worker_says_what_confines_it() {
    let server = with_workers(|_| {}).await;
    let readiness = server.get("/readyz").await.ok(json!({ "compiler": { "place": "workers" } }));
    let layers = readiness["compiler"]["confinement"].as_array().unwrap();
    assert!(layers.contains(&json!("limits")), "{readiness}");
}

#[tokio::test]
async fn results_are_the_same_wherever_a_module_was_compiled() {
    let calls = [
        (DOUBLE.to_owned(), "double", json!({ "params": [21] })),
        (DOUBLE.to_owned(), "double", json!({ "params": [21], "limits": { "fuel": 1000 } })),
        // So large that several threads compile it.
        (adding(40_000, 7), "f", json!({ "params": [3] })),
        (adding(40_000, 7), "f", json!({ "params": [3], "limits": { "fuel": 100_000 } })),
        (UNRULY.to_owned(), "trap", json!({})),
        (UNRULY.to_owned(), "recurse", json!({})),
        (UNRULY.to_owned(), "grow", json!({ "params": [1] })),
        ("(module (func (export \"f\") (result i32)))".to_owned(), "f", json!({})),
        ("(module (memory 65536) (func (export \"f\")))".to_owned(), "f", json!({})),
    ];
    let (workers, in_process) = (with_workers(|_| {}).await, Server::start().await);
    for (wat, function, call) in calls {
        let mut body = call;
        body["wat"] = json!(wat);
        body["function"] = json!(function);
        let answer = async |server: &Server| -> Value {
            let mut answer = server.post("/v1/call").json(body.clone()).await.value();
            answer["request_id"].take();
            answer["usage"]["wall_us"].take();
            answer
        };
        assert_eq!(answer(&workers).await, answer(&in_process).await, "{function}");
    }
}

#[tokio::test]
async fn one_worker_compiles_many_modules() {
    let server = with_workers(|engine| engine.concurrent_compilations = 1).await;
    for number in 0..50 {
        let path = format!("/v1/modules/module{number}");
        server.put(&path).wat(adding(10, number)).await.created();
        let call = server.post(&format!("{path}/functions/f")).json(json!({ "params": [1] }));
        call.await.ok(json!({ "results": [10 + number] }));
    }
}

#[tokio::test]
async fn a_module_that_takes_too_much_processor_time_is_refused_alone() {
    let server = with_workers(|engine| engine.compile_cpu = Duration::from_secs(1)).await;
    let bomb = begin(&server, long_bomb());
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let problem = bomb.await.unwrap().problem(422, "compile-limit").says(&["1 s", "processor"]);
    problem.has(json!({ "limit": "compile_cpu_ms", "maximum": 1000 }));
    server.put("/v1/modules/after").wat(adding(1, 1)).await.created();
}

#[tokio::test]
async fn a_module_that_takes_too_much_memory_is_refused_alone() {
    let server = with_workers(|engine| engine.compile_memory_bytes = 96 << 20).await;
    let bomb = begin(&server, large_bomb());
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let problem = bomb.await.unwrap().problem(422, "compile-limit").says(&["memory"]);
    problem.has(json!({ "limit": "compile_memory_bytes", "maximum": 96 << 20 }));
    server.put("/v1/modules/after").wat(adding(1, 1)).await.created();
}

#[tokio::test]
async fn a_module_that_takes_too_long_leaves_its_place_at_once() {
    let server = with_workers(|engine| {
        engine.concurrent_compilations = 1;
        engine.compile_timeout = Duration::from_millis(500);
    })
    .await;
    for _ in 0..2 {
        let bomb = server.put("/v1/modules/bomb").wat(long_bomb());
        let problem = bomb.await.problem(422, "compile-limit");
        problem.has(json!({ "limit": "compile_timeout_ms", "maximum": 500 }));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_ends_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    // A path of its own tells its processes from those of the other tests.
    let program = directory.path().join("program");
    std::os::unix::fs::symlink(PROGRAM, &program).unwrap();
    let server = with_workers(|engine| engine.compiler = workers(&program)).await;
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let is_worker = |process: &PathBuf| {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        command.starts_with(program.as_os_str().as_encoded_bytes())
    };
    let started: Vec<_> = processes.filter(is_worker).collect();
    assert_eq!(started.len(), 1, "{started:?}");
    server.stop().await;
    // A zombie would still be there.
    assert!(!started[0].exists(), "{started:?}");
}
