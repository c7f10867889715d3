//! One call: a fresh store, the graph's instances, the function, the outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use wasmtime::{
    Extern, GcHeapOutOfMemory, Instance, PoolConcurrencyLimitError, Store, ThrownException,
    UpdateDeadline, Val, WasmBacktrace,
};

use crate::config::CallLimits;
use crate::limiter::{Exhausted, GuestMemory, Limiter};
use crate::outcome::{Failure, Frame, Outcome, Trap, TrapKind, Usage, shorten};
use crate::program::{Function, Instantiate, Program};
use crate::value::{self, Value};

/// How long a call may run on the thread that serves its request: the first tick may come at once,
/// so two ticks are between two and four milliseconds.
const FIRST_SLICE_TICKS: u64 = 2;

/// How long a call runs in the background before it lets the next one run.
const SLICE_TICKS: u64 = 1;

/// Parameters and results that fit without an allocation of their own.
pub type Values = SmallVec<[Value; 4]>;

/// What a store knows of its call.
#[derive(Debug)]
pub(crate) struct State {
    limiter: Limiter,
    /// Whether a slice of the call has ended before the call.
    interrupted: bool,
    started: Instant,
    timeout: Duration,
}

/// The call's time is up. Raised by the epoch's callback, found again in the error it becomes.
#[derive(Debug, thiserror::Error)]
#[error("the call's time is up")]
struct TimeIsUp;

/// Why a call could not be made at all; never the guest's doing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// As many calls as may run, run, and as many as may wait, wait; or all guests together have as
    /// much memory as they may.
    #[error("too many calls at once")]
    Overloaded,
    /// A parameter has another type than the function's, or there are too many or too few.
    #[error("the parameters are not those of the function")]
    Parameters,
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[source] wasmtime::Error),
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Result<Outcome, CallError>,
    /// Whether it needed more than its first slice.
    pub(crate) interrupted: bool,
}

/// Everything one call needs, so that it can move to another thread.
pub(crate) struct Call {
    pub(crate) program: Arc<Program>,
    pub(crate) export: wasmtime::ModuleExport,
    pub(crate) params: SmallVec<[Val; 2]>,
    pub(crate) results: SmallVec<[Val; 2]>,
    pub(crate) limits: CallLimits,
    pub(crate) table_elements: usize,
    pub(crate) guests: Arc<GuestMemory>,
}

impl Call {
    pub(crate) fn new(
        program: Arc<Program>,
        function: &Function,
        params: &[Value],
        limits: CallLimits,
        table_elements: usize,
        guests: Arc<GuestMemory>,
    ) -> Result<Self, CallError> {
        if params.len() != function.param_types.len() {
            return Err(CallError::Parameters);
        }
        let params = params
            .iter()
            .zip(&function.param_types)
            .map(|(value, ty)| value::to_wasmtime(*value, ty))
            .collect::<Option<_>>()
            .ok_or(CallError::Parameters)?;
        let results = function.result_types.iter().map(value::placeholder).collect();
        let export = function.export;
        Ok(Self { program, export, params, results, limits, table_elements, guests })
    }

    /// Runs the call to its end. The future yields at the end of each slice.
    pub(crate) async fn run(self, engine: &wasmtime::Engine, started: Instant) -> Ran {
        match self.store(engine, started) {
            Ok(mut store) => {
                let outcome = self.run_in(&mut store, started).await;
                Ran { outcome, interrupted: store.data().interrupted }
            }
            Err(error) => Ran { outcome: Err(error), interrupted: false },
        }
    }

    async fn run_in(
        mut self,
        store: &mut Store<State>,
        started: Instant,
    ) -> Result<Outcome, CallError> {
        let mut instances = Instances::new();
        let result = self.guest(store, &mut instances).await;
        let limiter = &store.data().limiter;
        let usage = Usage {
            wall: started.elapsed(),
            fuel: self.limits.fuel.map(|fuel| fuel.saturating_sub(store.get_fuel().unwrap_or(0))),
            memory_bytes: limiter.peak_memory() as u64,
            growth_refused: limiter.refused(),
        };
        let result = match result {
            Ok(values) => Ok(values),
            Err(error) => Err(self.failure(error, limiter)?),
        };
        // Only an initial memory that does not fit ends a call before any guest code runs.
        let ran = !instances.is_empty()
            || !matches!(result, Err(Failure::MemoryLimit { trap: None, .. }));
        let usage = ran.then_some(usage);
        Ok(Outcome { result, usage })
    }

    fn store(
        &self,
        engine: &wasmtime::Engine,
        started: Instant,
    ) -> Result<Store<State>, CallError> {
        let (memory, guests) = (self.limits.memory_bytes, Arc::clone(&self.guests));
        let limiter = Limiter::new(memory, self.table_elements, guests, self.program.large);
        let state = State { limiter, interrupted: false, started, timeout: self.limits.timeout };
        let mut store = Store::new(engine, state);
        store.limiter_async(|state| &mut state.limiter);
        if let Some(fuel) = self.limits.fuel {
            store.set_fuel(fuel).map_err(CallError::Engine)?;
        }
        // Before instantiation, because start functions loop too.
        store.set_epoch_deadline(FIRST_SLICE_TICKS);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            state.interrupted = true;
            if state.started.elapsed() >= state.timeout {
                return Err(TimeIsUp.into());
            }
            Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, Box::pin(tokio::task::yield_now())))
        });
        Ok(store)
    }

    async fn guest(
        &mut self,
        store: &mut Store<State>,
        instances: &mut Instances,
    ) -> wasmtime::Result<Vec<Value>> {
        for node in &self.program.nodes {
            let instance = match &node.instantiate {
                Instantiate::Alone(pre) => pre.instantiate_async(&mut *store).await,
                Instantiate::Linked(sources) => {
                    let imports: Vec<Extern> = sources
                        .iter()
                        .map(|source| {
                            instances[source.node]
                                .get_module_export(&mut *store, &source.export)
                                .ok_or_else(|| wasmtime::format_err!("a linked export is missing"))
                        })
                        .collect::<wasmtime::Result<_>>()?;
                    Instance::new_async(&mut *store, &node.module, &imports).await
                }
            };
            instances.push(instance?);
        }
        let root = instances.last().copied();
        let function = root
            .and_then(|root| root.get_module_export(&mut *store, &self.export))
            .and_then(Extern::into_func)
            .ok_or_else(|| wasmtime::format_err!("the function's export is missing"))?;
        function.call_async(&mut *store, &self.params, &mut self.results).await?;
        self.results.iter().map(|result| value::from_wasmtime(result, &mut *store)).collect()
    }

    /// What an error of Wasmtime means to the caller.
    fn failure(&self, error: wasmtime::Error, limiter: &Limiter) -> Result<Failure, CallError> {
        if error.is::<TimeIsUp>() {
            return Ok(Failure::Timeout);
        }
        if error.is::<PoolConcurrencyLimitError>() || error.is::<Exhausted>() {
            return Err(CallError::Overloaded);
        }
        let cause = error.downcast_ref::<wasmtime::Trap>();
        if cause == Some(&wasmtime::Trap::OutOfFuel) {
            return Ok(Failure::FuelExhausted);
        }
        let trap = self.trap(&error);
        if limiter.refused() {
            return Ok(Failure::MemoryLimit { detail: limiter.refusal(), trap });
        }
        if cause == Some(&wasmtime::Trap::AllocationTooLarge) {
            let detail = "an allocation on the garbage-collected heap is too large".into();
            return Ok(Failure::MemoryLimit { detail, trap });
        }
        if error.is::<GcHeapOutOfMemory<()>>() {
            // Wasmtime collects garbage and tries again instead of passing on why growing failed.
            if limiter.exhausted() {
                return Err(CallError::Overloaded);
            }
            let detail = "the garbage-collected heap is exhausted".into();
            return Ok(Failure::MemoryLimit { detail, trap });
        }
        match trap {
            Some(trap) if trap.kind == TrapKind::StackOverflow => Ok(Failure::StackOverflow(trap)),
            Some(trap) => Ok(Failure::Trap(trap)),
            None => Err(CallError::Engine(error)),
        }
    }

    fn trap(&self, error: &wasmtime::Error) -> Option<Trap> {
        let kind = match error.downcast_ref::<wasmtime::Trap>() {
            Some(trap) => TrapKind::from(*trap),
            None if error.is::<ThrownException>() => TrapKind::Exception,
            None => return None,
        };
        let backtrace = match error.downcast_ref::<WasmBacktrace>() {
            Some(backtrace) => backtrace
                .frames()
                .iter()
                .take(Trap::MAX_FRAMES)
                .map(|frame| Frame {
                    node: self.node_of(frame.module()),
                    function: frame.func_name().map(shorten),
                    index: frame.func_index(),
                    offset: frame.module_offset(),
                })
                .collect(),
            None => Vec::new(),
        };
        Some(Trap { kind, backtrace })
    }

    fn node_of(&self, module: &wasmtime::Module) -> usize {
        let nodes = &self.program.nodes;
        let found = nodes.iter().position(|node| wasmtime::Module::same(&node.module, module));
        // Only the graph's own modules are in the store.
        found.unwrap_or(nodes.len() - 1)
    }
}

/// Most graphs are a single module; the future that holds this is copied, so it is kept small.
type Instances = SmallVec<[Instance; 2]>;
