//! Compiling in worker processes: the same results, and limits that hold.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::guests::{DOUBLE, UNRULY, adding};
use crate::support::kernel;
use crate::support::server::{PROGRAM, Server, workers};

#[tokio::test]
async fn all_that_the_kernel_has_confines_workers() {
    let server = Server::with_workers(|_| {}).await;
    let readiness = server.get("/readyz").await.ok(json!({ "compiler": { "place": "workers" } }));
    assert_eq!(readiness["compiler"]["confinement"], json!(kernel::layers()), "{readiness}");
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
    let (workers, in_process) = (Server::with_workers(|_| {}).await, Server::start().await);
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
    let server = Server::with_workers(|setup| setup.engine.concurrent_compilations = 1).await;
    for number in 0..50 {
        let path = format!("/v1/modules/module{number}");
        server.put(&path).wat(adding(10, number)).await.created();
        let call = server.post(&format!("{path}/functions/f")).json(json!({ "params": [1] }));
        call.await.ok(json!({ "results": [10 + number] }));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_ends_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    // A path of its own tells its processes from those of the other tests.
    let program = directory.path().join("program");
    std::os::unix::fs::symlink(PROGRAM, &program).unwrap();
    let server = Server::with_workers(|setup| setup.engine.compiler = workers(&program)).await;
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
