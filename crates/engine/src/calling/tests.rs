//! What is always short runs on its caller's stack, and what then is not is begun again.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Asked, Needs};
use crate::{
    ArtifactStore, CallLimits, Engine, EngineConfig, Failure, Function, GraphNode, Outcome,
    Profile, Program, Value, text,
};

/// Functions whose parameter says how long they take, how much they grow, how deep they nest.
/// Whatever they do, it is the instance's first call.
const BY_PARAMETER: &str = r#"(module
  (memory 1)
  (global $calls (mut i32) (i32.const 0))
  (func (export "spin") (param i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (loop $again
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (i32.ne (local.get 0) (i32.const 0))))
    (global.get $calls))
  (func (export "grow") (param i32) (result i32)
    (drop (memory.grow (local.get 0)))
    (memory.size))
  (func $nest (export "nest") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (call $nest (i32.sub (local.get 0) (i32.const 1))) (i32.const 1)))
      (else (i32.const 0)))))"#;

/// Long enough for whatever ends.
const LIMITS: CallLimits =
    CallLimits { timeout: Duration::from_secs(60), memory_bytes: 32 << 20, fuel: None };

/// Of 64 KiB.
const PAGES_OF_16_MIB: i32 = 256;

struct Guest {
    engine: Arc<Engine>,
    program: Arc<Program>,
}

impl Guest {
    async fn new() -> Self {
        let config = EngineConfig { concurrent_calls: 2, ..EngineConfig::default() };
        let engine = Arc::new(Engine::new(config, ArtifactStore::in_memory(1 << 20)).unwrap());
        let wasm = Arc::new(text::parse(BY_PARAMETER).unwrap());
        let module = engine.compile(wasm, Profile::Fast, None).await.unwrap();
        let program = engine.link(vec![GraphNode { module, links: Vec::new() }]).unwrap();
        Self { engine, program: Arc::new(program) }
    }

    fn function(&self, name: &str) -> &Function {
        self.program.function(name).unwrap()
    }

    async fn call(&self, name: &str, param: i32) -> Outcome {
        let function = self.function(name);
        let params = [Value::I32(param)];
        self.engine.call(&self.program, function, &params, LIMITS).await.unwrap()
    }

    async fn result(&self, name: &str, param: i32) -> i32 {
        match self.call(name, param).await.result.as_deref() {
            Ok([Value::I32(result)]) => *result,
            other => panic!("{name}({param}) gave {other:?}"),
        }
    }

    /// Calls a function until it is as good as known to be short. A call that the machine did not give
    /// its time counts as long.
    async fn make_quick(&self, name: &str) {
        while !Needs::of(&self.program, self.function(name), None).quick {
            self.result(name, 1).await;
        }
    }

    /// Runs a call on this thread's stack, whatever its function is taken for.
    fn run_here(&self, name: &str, param: i32, limits: CallLimits) -> Option<Outcome> {
        let asked = Asked {
            program: &self.program,
            function: self.function(name),
            params: &[Value::I32(param)],
            limits,
            access: None,
        };
        let running = self.engine.running_for(&self.program).unwrap();
        let _ticking = running.ticker.keep_ticking();
        let mut call = self.engine.prepare(asked).unwrap();
        call.run_here(&running.engine, Instant::now()).map(Result::unwrap)
    }
}

#[tokio::test]
async fn what_ends_within_a_slice_has_its_outcome_at_once() {
    let guest = Guest::new().await;
    // The machine may take the time of a slice, but hardly of so many.
    let mut tries = (0..1000).map(|_| guest.run_here("nest", 3, LIMITS));
    let outcome = tries.find_map(|outcome| outcome).unwrap();
    assert_eq!(outcome.result, Ok(vec![Value::I32(3)]));
    assert_eq!(outcome.usage.unwrap().memory_bytes, 64 << 10);

    let mut tries = (0..1000).map(|_| guest.run_here("nest", -1, LIMITS));
    let outcome = tries.find_map(|outcome| outcome).unwrap();
    assert!(matches!(outcome.result, Err(Failure::StackOverflow(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_takes_longer_than_a_slice_has_none() {
    let guest = Guest::new().await;
    assert!(guest.run_here("spin", 0, LIMITS).is_none(), "it counts down through all of 32 bits");
    assert!(guest.run_here("grow", PAGES_OF_16_MIB, LIMITS).is_none(), "it is touched elsewhere");
    assert_eq!(guest.engine.guests.used(), 0, "what the ended call had is given back");

    let short = CallLimits { timeout: Duration::from_millis(1), ..LIMITS };
    let outcome = guest.run_here("spin", 0, short).unwrap();
    assert_eq!(outcome.result, Err(Failure::Timeout), "no need to begin it again");
}

#[tokio::test]
async fn a_function_is_quick_until_a_call_is_not_and_that_is_begun_again() {
    let guest = Guest::new().await;
    for long in [100_000_000, 200_000_000] {
        guest.make_quick("spin").await;
        let outcome = guest.call("spin", long).await;
        assert_eq!(outcome.result, Ok(vec![Value::I32(1)]));
        assert!(!Needs::of(&guest.program, guest.function("spin"), None).quick);
    }
    guest.make_quick("grow").await;
    let outcome = guest.call("grow", PAGES_OF_16_MIB).await;
    assert_eq!(outcome.result, Ok(vec![Value::I32(PAGES_OF_16_MIB + 1)]));
    let usage = outcome.usage.unwrap();
    assert_eq!((usage.memory_bytes, usage.growth_refused), ((16 << 20) + (64 << 10), false));
    assert!(!Needs::of(&guest.program, guest.function("grow"), None).quick);

    guest.make_quick("nest").await;
    let outcome = guest.call("nest", -1).await;
    assert!(matches!(outcome.result, Err(Failure::StackOverflow(_))), "{outcome:?}");
}

#[test]
fn a_thread_whose_stack_is_small_runs_quick_functions_too() {
    let small = thread::Builder::new().stack_size(512 << 10);
    let called = small.spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guest = Arc::new(runtime.block_on(Guest::new()));
        runtime.block_on(guest.make_quick("nest"));
        assert!(!guest.engine.has_stack());
        let outcome = runtime.block_on(guest.call("nest", -1));
        assert!(matches!(outcome.result, Err(Failure::StackOverflow(_))), "{outcome:?}");
        assert_eq!(runtime.block_on(guest.result("nest", 7)), 7);
    });
    called.unwrap().join().unwrap();
}
