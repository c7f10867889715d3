//! What a call costs in process: fresh instances, the function, the outcome.
//!
//! `cargo bench -p wasm-exec-engine`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use wasm_exec_engine::{
    ArtifactStore, CallLimits, Engine, EngineConfig, GraphNode, Module, Profile, Program, Value,
    text,
};

/// No memory, no table: what is left is the engine's own cost.
const DOUBLE: &str = r#"(module
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))"#;

/// Like what a compiler emits: 17 pages of memory, a table, a data segment, two pages dirtied.
const MEM17: &str = r#"(module
  (memory (export "memory") 17)
  (table 8 funcref)
  (elem (i32.const 1) func $double)
  (global $sp (mut i32) (i32.const 1048576))
  (data (i32.const 1048576) "some initialized data, as every compiler's output has")
  (func $double (export "double") (param i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1048500) (local.get 0))
    (i32.mul (local.get 0) (i32.const 2))))"#;

/// Two modules, one linked to the other.
const TWICE: &str = r#"(module
  (import "utils" "double" (func $double (param i32) (result i32)))
  (func (export "double") (param i32) (result i32) (call $double (local.get 0))))"#;

/// The host provides the memory that it imports.
const HOST_MEMORY: &str = r#"(module
  (import "env" "memory" (memory 17))
  (func (export "double") (param i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1048500) (local.get 0))
    (i32.mul (local.get 0) (i32.const 2))))"#;

const LIMITS: CallLimits =
    CallLimits { timeout: Duration::from_secs(1), memory_bytes: 64 << 20, fuel: None };

struct Bench {
    runtime: tokio::runtime::Runtime,
    engine: Arc<Engine>,
}

impl Bench {
    fn module(&self, wat: &str, limits: &CallLimits) -> Module {
        let wasm = text::parse(wat).expect("it is valid");
        let compiled = self.engine.compile(Arc::new(wasm), Profile::of(limits), None);
        self.runtime.block_on(compiled).expect("it compiles")
    }

    fn program(&self, graph: Vec<GraphNode>) -> Arc<Program> {
        Arc::new(self.engine.link(graph).expect("it links"))
    }

    fn alone(&self, wat: &str, limits: &CallLimits) -> Arc<Program> {
        self.program(vec![GraphNode { module: self.module(wat, limits), links: Vec::new() }])
    }

    fn measure(
        &self,
        criterion: &mut Criterion,
        name: &str,
        program: &Arc<Program>,
        limits: CallLimits,
    ) {
        let function = program.function("double").expect("it is exported");
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&self.runtime).iter(async || {
                let params = [Value::I32(black_box(2))];
                let outcome = self.engine.call(program, function, &params, limits).await;
                black_box(outcome.expect("it runs").result.expect("it does not trap"))
            });
        });
    }
}

fn calls(criterion: &mut Criterion) {
    let config = EngineConfig::default();
    let engine = Engine::new(config, ArtifactStore::in_memory(1 << 20)).expect("it starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("it starts");
    let bench = Bench { runtime, engine: Arc::new(engine) };
    bench.measure(criterion, "no memory", &bench.alone(DOUBLE, &LIMITS), LIMITS);
    bench.measure(criterion, "mem17", &bench.alone(MEM17, &LIMITS), LIMITS);
    bench.measure(criterion, "host memory", &bench.alone(HOST_MEMORY, &LIMITS), LIMITS);
    let linked = bench.program(vec![
        GraphNode { module: bench.module(DOUBLE, &LIMITS), links: Vec::new() },
        GraphNode { module: bench.module(TWICE, &LIMITS), links: vec![("utils".into(), 0)] },
    ]);
    bench.measure(criterion, "two modules", &linked, LIMITS);
    let metered = CallLimits { fuel: Some(1_000_000), ..LIMITS };
    bench.measure(criterion, "no memory, metered", &bench.alone(DOUBLE, &metered), metered);
}

criterion_group!(benches, calls);
criterion_main!(benches);
