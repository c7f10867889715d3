//! The engine, the use cases and the server that targets are run against, made once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use tokio::runtime::Runtime;
use wasm_exec::{Exec, Limits, Links, Setting, Source};
use wasm_exec_engine::{ArtifactStore, Engine, EngineConfig};
use wasm_exec_registry::{RedbBackend, Registry};
use wasm_exec_server::{Server, ServerConfig};

const CACHE_BYTES: usize = 1 << 20;

/// What requests name.
const UTILS: &str = r#"(module (func (export "double") (param i32) (result i32)
    (i32.mul (local.get 0) (i32.const 2))))"#;

/// What sessions have instances of.
const STATE: &str = r#"(module
    (memory (export "memory") 1)
    (global (export "n") (mut i64) (i64.const 0))
    (global $kept (export "kept") (mut externref) (ref.null extern))
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "keep") (param externref i32 i32) (result externref i32)
        (global.get $kept)
        (global.set $kept (local.get 0))
        (local.get 2)))"#;

/// Where everything runs.
pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("threads can be started"));

fn config() -> EngineConfig {
    EngineConfig {
        memory_maximum: 16 << 20,
        concurrent_calls: 4,
        concurrent_compilations: 2,
        ..EngineConfig::default()
    }
}

/// What checks modules.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let artifacts = ArtifactStore::in_memory(CACHE_BYTES as u64);
    Engine::new(config(), artifacts).expect("the engine starts")
});

/// Use cases whose calls are short, with the modules `utils` and `state`.
pub(crate) static EXEC: LazyLock<Exec> = LazyLock::new(|| {
    let artifacts = ArtifactStore::in_memory(CACHE_BYTES as u64);
    let engine = Engine::new(config(), artifacts).expect("the engine starts");
    let backend = RedbBackend::in_memory(CACHE_BYTES).expect("memory is there");
    let limits = Limits {
        timeout_ms: Setting { default: 50, maximum: 50 },
        memory_bytes: Setting { default: 1 << 20, maximum: 1 << 20 },
        // Few programs, so that their memory is not what is measured.
        ready_programs: 16,
        ..Limits::default()
    };
    let exec = Exec::new(engine, Registry::new(Arc::new(backend)), limits);
    RUNTIME.block_on(async {
        for (name, text) in [("utils", UTILS), ("state", STATE)] {
            let wasm = exec.decode(Source::Wat(text)).await.expect("it is text");
            let registered = exec.register(Some(name), wasm, Links::none(), None).await;
            registered.expect("it is a module");
        }
    });
    exec
});

/// Where a server of [`EXEC`] listens.
pub(crate) static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let config = ServerConfig { listen, ..ServerConfig::default() };
    let server = RUNTIME.block_on(Server::bind(config, EXEC.clone())).expect("it can listen");
    let address = server.addresses()[0];
    RUNTIME.spawn(server.run(std::future::pending()));
    address
});
