//! Giving back the stack of a session that nobody calls.
//!
//! A store keeps the stack of its last call for the next one, whatever of it was written, and Wasmtime
//! has no function that gives it back. What it does not keep is the stack of a call that a panic of the
//! host's ends: it is unmapped while the panic passes. So an idle session makes a call of a host
//! function that does nothing but to unwind, which is caught where the call was made.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use wasmtime::Func;

use super::Live;

/// What the host function unwinds with.
struct StackLeft;

/// Leaves the stack that it is called on. The panic hook is not told, as nothing is wrong.
fn leave_stack() {
    resume_unwind(Box::new(StackLeft));
}

impl Live {
    /// Unmaps the stack that the last call ran on; the next one maps a new one.
    ///
    /// # Panics
    ///
    /// When Wasmtime does.
    pub(in super::super) fn rest(&mut self) {
        let leave = match self.leave_stack {
            Some(leave) => leave,
            None => *self.leave_stack.insert(Func::wrap(&mut self.store, leave_stack)),
        };
        let left = catch_unwind(AssertUnwindSafe(|| {
            let mut calling = pin!(leave.call_async(&mut self.store, &[], &mut []));
            // The function waits for nothing, so this is all of the call.
            let _ended = calling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }));
        if let Err(panic) = left
            && !panic.is::<StackLeft>()
        {
            resume_unwind(panic);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use crate::{
        ArtifactStore, Engine, EngineConfig, Failure, ModuleId, NewInstance, Profile, Session,
        SessionLimits, SessionValue, Value,
    };

    /// Unlike that of other tests, so that its mappings are found among all of the process.
    const STACK: usize = (512 << 10) + (36 << 10);

    const NESTED: &str = r#"(module
      (global $calls (mut i32) (i32.const 0))
      (func $nest (export "nest") (param i32) (result i32)
        (if (local.get 0) (then (drop (call $nest (i32.sub (local.get 0) (i32.const 1))))))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (global.get $calls)))"#;

    async fn session() -> Session {
        let config =
            EngineConfig { concurrent_calls: 1, stack_bytes: STACK, ..EngineConfig::default() };
        let engine = Arc::new(Engine::new(config, ArtifactStore::in_memory(1 << 20)).unwrap());
        let limits = SessionLimits { memory_bytes: 1 << 20, instances: 1 };
        let session = engine.session(limits, None).unwrap();
        let wasm = Arc::new(crate::text::parse(NESTED).unwrap());
        let module = engine.compile(wasm, Profile::Session, None).await.unwrap();
        let (name, id) = ("it".to_owned(), ModuleId([0; 32]));
        let module = Arc::new(engine.single(module));
        let new = NewInstance { name, module, id, links: [].into() };
        let made = session.instantiate(new, Duration::from_secs(60)).await.unwrap();
        made.result.unwrap();
        session
    }

    async fn nest(session: &Session, depth: i32) -> Result<Vec<SessionValue>, Failure> {
        let it = session.instance("it").unwrap();
        let params = vec![SessionValue::Plain(Value::I32(depth))];
        let called = session.call(&it, "nest", params, None, Duration::from_secs(60)).await;
        called.unwrap().result
    }

    /// How many stacks there are besides that of the pool, which has one for an ordinary call.
    fn stacks() -> usize {
        let size = STACK + (256 << 10);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let is_stack = |line: &&str| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |digits| usize::from_str_radix(digits, 16).unwrap();
            range.is_some_and(|(start, end)| number(end) - number(start) == size)
        };
        maps.lines().filter(is_stack).count() - 1
    }

    #[tokio::test]
    async fn a_session_that_rests_has_no_stack_and_goes_on() {
        let session = session().await;
        let mut calls = 0;
        for _ in 0..3 {
            calls += 11;
            assert_eq!(nest(&session, 10).await, Ok(vec![SessionValue::Plain(Value::I32(calls))]));
            assert!(matches!(nest(&session, i32::MAX).await, Err(Failure::StackOverflow(_))));
            assert_eq!(stacks(), 1);
            session.rest();
            let started = Instant::now();
            while stacks() > 0 {
                assert!(started.elapsed() < Duration::from_secs(60), "the stack stays");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        session.rest();
        drop(session);
    }
}
