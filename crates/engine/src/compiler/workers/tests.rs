//! When workers are replaced. They are this test program, started again.

use std::fs::File;

use super::*;
use crate::run_compile_worker;

/// That a test is a worker, which the engine starts without an environment.
const IS_WORKER: &str = "IS_COMPILE_WORKER";

/// A module with nothing in it.
const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

/// This program as a worker. What its test harness says goes elsewhere, and the worker speaks where
/// descriptor 3 leads.
fn this_program() -> WorkerCommand {
    let command = format!(
        "{IS_WORKER}=1 exec \"$0\" --exact --nocapture {}::this_is_a_worker_if_it_is_told_to \
         3>&1 >/dev/null",
        // As the harness names it, without the crate.
        module_path!().split_once("::").unwrap().1
    );
    let program = std::env::current_exe().unwrap();
    let args = vec!["-c".into(), command.into(), program.into()];
    WorkerCommand { program: "/bin/sh".into(), args }
}

#[test]
fn this_is_a_worker_if_it_is_told_to() {
    if std::env::var_os(IS_WORKER).is_none() {
        return;
    }
    let answers = File::options().write(true).open("/dev/fd/3").unwrap();
    rustix::stdio::dup2_stdout(&answers).unwrap();
    drop(answers);
    run_compile_worker().unwrap();
    std::process::exit(0);
}

fn start() -> (Workers, Background) {
    let config = EngineConfig { concurrent_compilations: 1, ..EngineConfig::default() };
    let workers = Workers::start(&config, this_program()).unwrap();
    (workers, Background::start(1).unwrap())
}

/// The process that the next module is given to.
async fn next(workers: &Workers) -> u32 {
    let mut worker = workers.worker().await.unwrap();
    let id = worker.process_id();
    workers.idle.put(worker);
    id
}

#[tokio::test]
async fn a_worker_is_replaced_after_so_many_modules() {
    let (mut workers, background) = start();
    workers.modules_per_worker = 3;
    let mut processes = Vec::new();
    for _ in 0..9 {
        processes.push(next(&workers).await);
        workers.compile(&background, Profile::Fast, EMPTY).await.unwrap();
    }
    let [first, second, third] = [processes[0], processes[3], processes[6]];
    assert!(first != second && second != third && first != third, "{processes:?}");
    let expected = [first, first, first, second, second, second, third, third, third];
    assert_eq!(processes, expected);
}

#[tokio::test]
async fn a_worker_is_kept_after_a_refusal() {
    let (workers, background) = start();
    let first = next(&workers).await;
    let refused = workers.compile(&background, Profile::Fast, b"no module").await;
    assert!(matches!(refused, Err(CompileError::Compiler(_))), "{refused:?}");
    assert_eq!(next(&workers).await, first);
}
