//! One call: a fresh store, the graph's instances, the function, the outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use wasmtime::{Extern, Instance, Store, Val};

use crate::access::{Access, AccessError, InvalidAccess, MemoryReads, ReadRoom};
use crate::admission::Full;
use crate::config::CallLimits;
use crate::entry::{Entry, OnCallersStack, OnOwnStack, at_once};
use crate::failure;
use crate::limiter::{GuestMemory, Limiter};
use crate::outcome::{Failure, Outcome, Usage};
use crate::program::{Function, Instantiate, Program};
use crate::store::State;
use crate::value::{self, Value};

/// Parameters and results that fit without an allocation of their own.
pub type Values = SmallVec<[Value; 4]>;

/// Why a call has no outcome; never the guest's doing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// As many calls as may run, run, and as many as may wait, wait.
    #[error("too many calls at once")]
    Overloaded,
    /// The call was ended because all guests together have as much memory as they may.
    #[error("all guests together have as much memory as they may")]
    Exhausted {
        /// How long it had run.
        wall: Duration,
    },
    /// A parameter has another type than the function's, or there are too many or too few.
    #[error("the parameters are not those of the function")]
    Parameters,
    /// What is wanted of memories is not possible.
    #[error(transparent)]
    Access(#[from] InvalidAccess),
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[source] wasmtime::Error),
}

impl From<Full> for CallError {
    fn from(_: Full) -> Self {
        Self::Overloaded
    }
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
    /// What is done with memories besides; mostly nothing.
    access: Option<Box<(Access, ReadRoom)>>,
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
        Ok(Self { program, export, params, results, limits, table_elements, guests, access: None })
    }

    /// Puts bytes into memories before, and takes some out after.
    pub(crate) fn access(
        &mut self,
        function: &Function,
        access: Access,
        room: &ReadRoom,
    ) -> Result<(), InvalidAccess> {
        access.check(&self.program, function.params(), function.results())?;
        self.access = Some(Box::new((access, room.clone())));
        Ok(())
    }

    /// Runs the call to its end. The future yields at the end of each slice.
    pub(crate) async fn run(&mut self, engine: &wasmtime::Engine, started: Instant) -> Ran {
        match self.store::<OnOwnStack>(engine, started) {
            Ok(mut store) => {
                let outcome = self.run_in::<OnOwnStack>(&mut store).await;
                Ran { outcome, interrupted: store.data().interrupted() }
            }
            Err(error) => Ran { outcome: Err(error), interrupted: false },
        }
    }

    /// Runs the call to its end on the stack of the calling thread. `None` if it takes more than one
    /// slice, or does something with memories besides, which may wait; it is to be [run](Self::run)
    /// then, from its beginning.
    pub(crate) fn run_here(
        &mut self,
        engine: &wasmtime::Engine,
        started: Instant,
    ) -> Option<Result<Outcome, CallError>> {
        let mut store = match self.store::<OnCallersStack>(engine, started) {
            Ok(store) => store,
            Err(error) => return Some(Err(error)),
        };
        let outcome = at_once(self.run_in::<OnCallersStack>(&mut store))?;
        (!store.data().interrupted()).then_some(outcome)
    }

    async fn run_in<E: Entry>(&mut self, store: &mut Store<State>) -> Result<Outcome, CallError> {
        let mut instances = Instances::new();
        let result = self.guest::<E>(store, &mut instances).await;
        let memory = match self.access {
            None => None,
            Some(_) => {
                let read = self.read_memory(store, &instances, result.as_ref().err());
                Box::pin(read).await.map(Box::new)
            }
        };
        let limiter = store.data().limiter();
        let usage = Usage {
            wall: store.data().elapsed(),
            fuel: self.limits.fuel.map(|fuel| fuel.saturating_sub(store.get_fuel().unwrap_or(0))),
            memory_bytes: limiter.peak_memory() as u64,
            growth_refused: limiter.refused(),
        };
        let result = match result {
            Ok(values) => Ok(values),
            Err(error) => Err(failure::of(error, store.data(), |module| self.node_of(module))?),
        };
        // Only an initial memory that does not fit ends a call before any guest code runs.
        let ran = instances.len() > self.program.host_instances()
            || !matches!(result, Err(Failure::MemoryLimit { trap: None, .. }));
        let usage = ran.then_some(usage);
        Ok(Outcome { result, usage, memory })
    }

    /// Takes out of memories what is wanted, whether the function returned or not. If what was to be
    /// put in does not fit, the call was never begun, and there is nothing to look at.
    async fn read_memory(
        &self,
        store: &mut Store<State>,
        instances: &Instances,
        error: Option<&wasmtime::Error>,
    ) -> Option<MemoryReads> {
        let (access, room) = self.access.as_deref()?;
        let refused = error.and_then(|error| error.downcast_ref::<AccessError>());
        if let Some(AccessError::Range(_)) = refused {
            return None;
        }
        let results = if error.is_none() { Some(&*self.results) } else { None };
        access.end(store, self.program.reach(instances), results, room).await
    }

    fn store<E: Entry>(
        &self,
        engine: &wasmtime::Engine,
        started: Instant,
    ) -> Result<Store<State>, CallError> {
        let (memory, guests) = (self.limits.memory_bytes, Arc::clone(&self.guests));
        let limiter = Limiter::new(memory, self.table_elements, guests, self.program.large);
        let mut store = E::store(engine, State::new(limiter, started, self.limits.timeout));
        if let Some(fuel) = self.limits.fuel {
            store.set_fuel(fuel).map_err(CallError::Engine)?;
        }
        Ok(store)
    }

    async fn guest<E: Entry>(
        &mut self,
        store: &mut Store<State>,
        instances: &mut Instances,
    ) -> wasmtime::Result<Vec<Value>> {
        if let Some(host) = &self.program.host {
            // Boxed, since it is rare and the future of a call is moved.
            instances.push(Box::pin(E::instantiate(store, &host.pre)).await?);
        }
        for node in &self.program.nodes {
            let instance = match &node.instantiate {
                Instantiate::Alone(pre) => E::instantiate(store, pre).await,
                Instantiate::Linked(sources) => {
                    let imports: Vec<Extern> = sources
                        .iter()
                        .map(|source| {
                            instances[source.instance]
                                .get_module_export(&mut *store, &source.export)
                                .ok_or_else(|| wasmtime::format_err!("a linked export is missing"))
                        })
                        .collect::<wasmtime::Result<_>>()?;
                    E::link(store, &node.module, &imports).await
                }
            };
            instances.push(instance?);
        }
        let root = instances.last().copied();
        let function = root
            .and_then(|root| root.get_module_export(&mut *store, &self.export))
            .and_then(Extern::into_func)
            .ok_or_else(|| wasmtime::format_err!("the function's export is missing"))?;
        if let Some((access, _)) = self.access.as_deref() {
            let reach = self.program.reach(instances);
            Box::pin(access.begin(&mut *store, reach, &mut self.params)).await?;
        }
        E::call(store, function, &self.params, &mut self.results).await?;
        self.results.iter().map(|result| value::from_wasmtime(result, &mut *store)).collect()
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
