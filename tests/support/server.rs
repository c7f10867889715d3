//! The real server in the test's own process, on a free port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reqwest::{Client, Method};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use wasm_exec::{Exec, Limits};
use wasm_exec_engine::{ArtifactStore, CompilerPlace, Engine, EngineConfig, WorkerCommand};
use wasm_exec_registry::{Backend, DataDirectory, RedbBackend, Registry};
use wasm_exec_server::ServerConfig;

use super::connection::Connection;
use super::request::Request;

/// How long anything may take before it is taken for hanging. Nothing here is fast or slow: a test
/// waits for what it wants to see, and this only turns waiting for ever into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How many servers live at once: each reserves up to 33 TiB of the 128 TiB of address space that a
/// process has, 4 GiB for each memory that its two engines could hold.
static PLACES: Semaphore = Semaphore::const_new(3);

/// Memory for a registry's cache, and for artifacts that are kept in memory, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// The binary.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_wasm-exec-api");

/// Compile workers of this program.
pub(crate) fn workers(program: impl Into<PathBuf>) -> CompilerPlace {
    let args = vec!["compile-worker".into()];
    CompilerPlace::Workers(WorkerCommand { program: program.into(), args })
}

/// How a server is set up: as the binary does by default, for fewer calls at once.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) engine: EngineConfig,
    pub(crate) limits: Limits,
    pub(crate) server: ServerConfig,
    /// Where modules are kept, if not in the embedded backend.
    pub(crate) backend: Option<Arc<dyn Backend>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            engine: EngineConfig { concurrent_calls: 16, ..EngineConfig::default() },
            limits: Limits::default(),
            server: ServerConfig {
                listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
                ..ServerConfig::default()
            },
            backend: None,
        }
    }
}

/// A running server. Dropping it ends it at once, whatever it is doing.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    client: Client,
    shutdown: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// One that keeps everything in memory.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, set up differently.
    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        Self::launch(setup, None).await
    }

    /// One that compiles as the binary's does, two modules at once, in workers that are the binary.
    pub(crate) async fn with_workers(change: impl FnOnce(&mut Setup)) -> Self {
        Self::with(|setup| {
            setup.engine.compiler = workers(PROGRAM);
            setup.engine.concurrent_compilations = 2;
            change(setup);
        })
        .await
    }

    /// One that keeps everything in a directory, for those that come after it.
    pub(crate) async fn on(directory: &Path) -> Self {
        Self::launch(Setup::default(), Some(directory.to_owned())).await
    }

    async fn launch(setup: Setup, directory: Option<PathBuf>) -> Self {
        let place = PLACES.acquire().await.expect("the semaphore is never closed");
        let (ready, address) = oneshot::channel();
        let (shutdown, shut_down) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        // A runtime of its own, so that neither the test nor the server waits for the other's tasks.
        let thread = thread::spawn(move || {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(setup, directory, ready, shut_down) => {}
                    _ = killed => {}
                }
            });
            drop((runtime, place, end));
        });
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let address = address.await.expect("the server starts");
        Self {
            address,
            client,
            shutdown: Some(shutdown),
            kill: Some(kill),
            ended: Some(ended),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub(crate) fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    pub(crate) fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.client.request(method, format!("http://{}{path}", self.address)))
    }

    /// A connection for requests that no HTTP client would send.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// The same as another client than the one that makes all other requests.
    pub(crate) async fn connect_as_other(&self) -> Connection {
        Connection::open_from(Ipv4Addr::new(127, 0, 0, 2), self.address).await
    }

    /// Begins to shut down, as a signal does.
    pub(crate) fn shut_down(&mut self) {
        self.shutdown.take();
    }

    /// Waits until a server that was told to shut down has.
    pub(crate) async fn ended(mut self) {
        let ended = self.ended.take().expect("nothing else takes it");
        // The sender is dropped, which is all that it is for.
        let _ = timeout(PATIENCE, ended).await.expect("the server ends");
        let thread = self.thread.take().expect("nothing else takes it");
        thread.join().expect("the server does not panic");
    }

    /// Shuts down and waits until that is done.
    pub(crate) async fn stop(mut self) {
        self.shut_down();
        self.ended().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill.take();
        if let Some(thread) = self.thread.take() {
            // Its panic, if there was one, is in the output already.
            let _ = thread.join();
        }
    }
}

async fn serve(
    setup: Setup,
    directory: Option<PathBuf>,
    ready: oneshot::Sender<SocketAddr>,
    shut_down: oneshot::Receiver<()>,
) {
    let directory = directory.map(|path| DataDirectory::open(path).unwrap());
    let (backend, artifacts) = match &directory {
        Some(directory) => (
            RedbBackend::open(&directory.registry_path(), CACHE_BYTES).unwrap(),
            ArtifactStore::open(directory.artifacts_path(), u64::MAX / 2).unwrap(),
        ),
        None => (
            RedbBackend::in_memory(CACHE_BYTES).unwrap(),
            ArtifactStore::in_memory(CACHE_BYTES as u64),
        ),
    };
    let engine = Engine::new(setup.engine, artifacts).unwrap();
    let backend = setup.backend.unwrap_or_else(|| Arc::new(backend));
    let exec = Exec::new(engine, Registry::new(backend), setup.limits);
    let server = wasm_exec_server::Server::bind(setup.server, exec).await.unwrap();
    // A test that ended meanwhile needs no address.
    let _ = ready.send(server.addresses()[0]);
    let ordered = async {
        // Dropping the sender is the order.
        let _ = shut_down.await;
    };
    server.run(ordered).await;
}
