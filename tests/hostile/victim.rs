//! The server that is attacked, and what is true of it afterwards.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::guests::DOUBLE;
use crate::support::server::{PROGRAM, Server, Setup, workers};

/// How many modules a victim compiles at once, and so how many compile workers it has at most when
/// nothing is compiled.
const COMPILATIONS: usize = 2;

/// How many connections a victim may have when the attack is over: those that the test's own client
/// keeps.
const KEPT_CONNECTIONS: u64 = 64;

/// Tells victims' processes apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The call that everybody else makes meanwhile.
pub(crate) const LIGHT: &str = "/v1/modules/utils/functions/double";

/// `bounded` in `cargo test`, and `full` with `HOSTILE=full`, which takes as long as it takes.
pub(crate) fn size(bounded: usize, full: usize) -> usize {
    match std::env::var("HOSTILE").as_deref() {
        Ok("full") => full,
        _ => bounded,
    }
}

/// The value of a metric in the text of all.
fn metric(text: &str, name: &str) -> u64 {
    let prefix = format!("wasm_exec_{name} ");
    let mut values = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    values.next().and_then(|value| value.parse().ok()).expect("it is counted")
}

/// How often a server did not try again what had failed before.
pub(crate) async fn remembered_failures(server: &Server) -> u64 {
    let metrics = server.get("/metrics").await.has_status(200);
    metric(metrics.text(), "remembered_failures_total")
}

/// A server as the binary starts it, that has the module `utils`.
#[derive(Debug)]
pub(crate) struct Victim {
    server: Server,
    /// What its compile workers are called.
    program: PathBuf,
    _directory: TempDir,
}

impl Victim {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, set up differently.
    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let program = directory.path().join(format!("victim-{number}"));
        std::os::unix::fs::symlink(PROGRAM, &program).unwrap();
        let server = Server::with_workers(|setup| {
            setup.engine.compiler = workers(&program);
            setup.engine.concurrent_compilations = COMPILATIONS;
            change(setup);
        })
        .await;
        server.put("/v1/modules/utils").wat(DOUBLE).await.created();
        Self { server, program, _directory: directory }
    }

    /// Others are answered, and rightly.
    pub(crate) async fn answers_others(&self) {
        self.get("/healthz").await.answers(json!({ "status": "ok" }));
        self.post(LIGHT).json(json!({ "params": [21] })).await.ok(json!({ "results": [42] }));
    }

    /// Others are answered, what they register is compiled, and nothing of the attack is held.
    pub(crate) async fn is_unharmed(&self) {
        self.answers_others().await;
        let put = self.put("/v1/modules/afterwards").wat("(module (func (export \"f\")))").await;
        assert!(put.status.is_success(), "{put:?}");
        self.delete("/v1/modules/afterwards").await.no_content();
        eventually("it is idle again", async || self.is_idle().await.then_some(())).await;
    }

    async fn is_idle(&self) -> bool {
        let metrics = self.get("/metrics").await.has_status(200);
        let value = |name: &str| metric(metrics.text(), name);
        let free = [
            "running_calls",
            "waiting_calls",
            "running_compilations",
            "waiting_compilations",
            "guest_memory_bytes",
            "body_bytes",
            "answer_bytes",
        ];
        free.iter().all(|name| value(name) == 0)
            && value("connections") <= KEPT_CONNECTIONS
            && self.workers() <= COMPILATIONS
    }

    /// How many compile workers there are, those included that ended and were not waited for.
    fn workers(&self) -> usize {
        let name = self.program.file_name().unwrap().to_str().unwrap();
        let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
        let command = format!("({name})");
        let is_worker = |path: PathBuf| {
            let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
            stat.split(' ').nth(1) == Some(&command)
        };
        processes.flatten().filter(|process| is_worker(process.path())).count()
    }
}

impl Deref for Victim {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Pseudo-random numbers (xorshift64), the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound.max(1)
    }
}
