//! The store of a session, and what is done in it.

mod exports;
mod rest;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use wasmtime::{Extern, Func, Instance, RootScope, Store, Val};

pub use exports::MemoryBounds;

use super::link::{self, Source};
use super::share::{Mappings, Needs};
use super::{LinkedProgram, ModuleId, NamedInstance, NewInstance, SessionError, SessionLink};
use super::{SessionShare, SessionValue, value};
use crate::access::{Access, AccessError, MemoryReads, Reach, ReadRoom};
use crate::call::CallError;
use crate::config::SessionLimits;
use crate::failure;
use crate::limiter::{Held, Limiter};
use crate::outcome::{Failure, Usage, shorten};
use crate::program::{Instantiate, Node};
use crate::store::{self, SessionIsOver, State};
use crate::value::placeholder;
use crate::{Trap, Value};

/// How the guest's part of some work in a session ended.
#[derive(Debug)]
pub struct SessionOutcome<T> {
    /// What came of it, or why nothing did. What a frame's `node` says means nothing here.
    pub result: Result<T, Failure>,
    /// The modules of the backtrace's frames, in their order.
    pub modules: Vec<ModuleId>,
    /// What it used; `None` when it ended before any guest code could run.
    pub usage: Option<Usage>,
    /// What was read from memories, if anything was to be.
    pub memory: Option<Box<MemoryReads>>,
}

/// The store of a session.
pub(super) struct Live {
    store: Store<State>,
    limits: SessionLimits,
    /// Every module that has an instance.
    modules: Vec<(wasmtime::Module, ModuleId)>,
    instances: usize,
    memories: usize,
    mappings: Mappings,
    /// Made when the session [rests](Self::rest) for the first time.
    leave_stack: Option<Func>,
    /// What of these is counted for instances that are not made: while some are, and after that was
    /// given up.
    unmade: Needs,
}

/// An instance that is being made, and what there was before.
struct Begun {
    held: Held,
    needs: Needs,
}

impl Live {
    pub(super) fn new(store: Store<State>, limits: SessionLimits, share: &SessionShare) -> Self {
        let (modules, mappings) = (Vec::new(), Mappings::new(share));
        let (leave_stack, unmade) = (None, Needs::default());
        Self { store, limits, modules, instances: 0, memories: 0, mappings, leave_stack, unmade }
    }

    /// Begins some work in the store.
    pub(super) fn begin(&mut self, timeout: std::time::Duration) {
        self.give_back_unmade();
        store::begin(&mut self.store, timeout);
    }

    pub(super) fn limiter(&self) -> &Limiter {
        self.store.data().limiter()
    }

    pub(super) fn timed_out(&self) -> bool {
        self.store.data().timed_out()
    }

    pub(super) async fn instantiate(
        &mut self,
        names: &RwLock<HashMap<Box<str>, Arc<NamedInstance>>>,
        new: NewInstance,
    ) -> Result<SessionOutcome<()>, SessionError> {
        let known = |name: &str| {
            let names = names.read().unwrap_or_else(PoisonError::into_inner);
            names.get(name).map(|instance| instance.instance)
        };
        if known(&new.name).is_some() {
            return Err(SessionError::NameTaken(new.name));
        }
        // An instance that is half made is not to be given up where a memory is made.
        self.store.data_mut().limiter_mut().keep_going();
        let sources = link::resolve(&new.module, &new.links, &known, &mut self.store)?;
        self.count(&new)?;
        let counted = self.unmade.instances;
        let made = self.make(&new, sources).await;
        // No guest code runs before the first is made.
        let ran = self.unmade.instances < counted;
        self.give_back_unmade();
        let result = made.map(|instance| {
            let NewInstance { name, module, id, .. } = new;
            let instance = Arc::new(NamedInstance { instance, id, module });
            let mut names = names.write().unwrap_or_else(PoisonError::into_inner);
            names.insert(name.into(), instance);
        });
        self.outcome(result, ran)
    }

    /// Counts what a new instance takes, those of what it links to included, before any is made.
    fn count(&mut self, new: &NewInstance) -> Result<(), SessionError> {
        let mut needs = Needs::default();
        needs.add(new.module.root(), &self.modules);
        let mut seen = HashSet::new();
        for linked in linked(new) {
            for (node, id) in linked.program.nodes.iter().zip(&linked.nodes) {
                if seen.insert(*id) {
                    needs.add(&node.module, &self.modules);
                }
            }
        }
        let maximum = self.limits.instances;
        let checked = |what, asked| match asked <= maximum {
            true => Ok(asked),
            false => Err(SessionError::TooMany { what, asked, maximum }),
        };
        let instances = checked("instances", self.instances + needs.instances)?;
        let memories = checked("memories", self.memories + needs.memories)?;
        let limiter = self.store.data_mut().limiter_mut();
        limiter.take_overhead(needs.bytes()).map_err(|_| SessionError::Overloaded)?;
        if self.mappings.take(needs.modules, needs.memories).is_err() {
            limiter.give_overhead(needs.bytes());
            return Err(SessionError::Overloaded);
        }
        (self.instances, self.memories) = (instances, memories);
        self.unmade = needs;
        Ok(())
    }

    /// Gives back what is counted for instances that were not made.
    fn give_back_unmade(&mut self) {
        let unmade = std::mem::take(&mut self.unmade);
        self.instances -= unmade.instances;
        self.memories -= unmade.memories;
        self.mappings.give(unmade.modules, unmade.memories);
        self.store.data_mut().limiter_mut().give_overhead(unmade.bytes());
    }

    /// An instance is about to be made, which counts unless it is known that it never was.
    fn begin_instance(&mut self, module: &wasmtime::Module, id: ModuleId) -> Begun {
        let mut needs = Needs::default();
        needs.add(module, &self.modules);
        self.unmade = self.unmade.minus(needs);
        self.know(module, id);
        Begun { held: self.limiter().held(), needs }
    }

    fn end_instance(&mut self, Begun { held, needs }: Begun, error: Option<&wasmtime::Error>) {
        if error.is_some_and(failure::is_of_allocation) {
            self.store.data_mut().limiter_mut().restore(held);
            // The store keeps the module all the same.
            self.unmade = self.unmade.plus(needs.without_modules());
        }
    }

    /// Makes the instances of what is linked, dependencies first, each once; then the new one.
    async fn make(
        &mut self,
        new: &NewInstance,
        sources: Vec<Source>,
    ) -> wasmtime::Result<Instance> {
        let mut made: HashMap<ModuleId, Instance> = HashMap::new();
        for linked in linked(new) {
            let mut nodes: Vec<Instance> = Vec::with_capacity(linked.nodes.len());
            for (node, id) in linked.program.nodes.iter().zip(&linked.nodes) {
                let instance = match made.get(id) {
                    Some(instance) => *instance,
                    None => {
                        let begun = self.begin_instance(&node.module, *id);
                        let instance = self.make_node(node, &nodes).await;
                        self.end_instance(begun, instance.as_ref().err());
                        instance?
                    }
                };
                made.insert(*id, instance);
                nodes.push(instance);
            }
        }
        let imports = sources
            .into_iter()
            .map(|source| match source {
                Source::Live(export) => Ok(export),
                Source::Later(id, export) => made
                    .get(&id)
                    .and_then(|instance| instance.get_module_export(&mut self.store, &export))
                    .ok_or_else(missing),
            })
            .collect::<wasmtime::Result<Vec<Extern>>>()?;
        let module = new.module.root();
        let begun = self.begin_instance(module, new.id);
        let instance = Instance::new_async(&mut self.store, module, &imports).await;
        self.end_instance(begun, instance.as_ref().err());
        instance
    }

    async fn make_node(&mut self, node: &Node, earlier: &[Instance]) -> wasmtime::Result<Instance> {
        match &node.instantiate {
            Instantiate::Alone(pre) => pre.instantiate_async(&mut self.store).await,
            Instantiate::Linked(sources) => {
                let imports = sources
                    .iter()
                    .map(|source| {
                        earlier[source.instance]
                            .get_module_export(&mut self.store, &source.export)
                            .ok_or_else(missing)
                    })
                    .collect::<wasmtime::Result<Vec<Extern>>>()?;
                Instance::new_async(&mut self.store, &node.module, &imports).await
            }
        }
    }

    /// Notes a module, so that backtraces can name it.
    fn know(&mut self, module: &wasmtime::Module, id: ModuleId) {
        if !self.modules.iter().any(|(known, _)| wasmtime::Module::same(known, module)) {
            self.modules.push((module.clone(), id));
        }
    }

    pub(super) async fn call(
        &mut self,
        instance: Instance,
        name: &str,
        params: &[SessionValue],
        access: Option<(Box<Access>, ReadRoom)>,
    ) -> Result<SessionOutcome<Vec<SessionValue>>, SessionError> {
        let Some((access, room)) = access else {
            let (results, ran) = self.call_with(instance, name, params, &[]).await?;
            return self.outcome(results.map(|(results, _)| results), ran);
        };
        let reach = Reach { root: Some(instance), host: None };
        let mut put = integers(params);
        if let Err(error) = access.begin(&mut self.store, reach, &mut put).await {
            // If what was to be put in does not fit, there is nothing to look at.
            let refused = matches!(error.downcast_ref(), Some(AccessError::Range(_)));
            let mut outcome = self.outcome(Err(error), !access.params.is_empty())?;
            if !refused {
                let read = access.end(&mut self.store, reach, None, &room).await;
                outcome.memory = read.map(Box::new);
            }
            return Ok(outcome);
        }
        let put: Vec<(usize, Val)> = access
            .params
            .iter()
            .flat_map(|param| [param.index, param.index + 1])
            .filter_map(|index| Some((index, *put.get(index)?)))
            .collect();
        let (results, ran) = self.call_with(instance, name, params, &put).await?;
        let raw = results.as_ref().ok().map(|(_, raw)| &**raw);
        let memory = access.end(&mut self.store, reach, raw, &room).await;
        let mut outcome = self.outcome(results.map(|(results, _)| results), ran)?;
        outcome.memory = memory.map(Box::new);
        Ok(outcome)
    }

    /// Calls a function, with `put` in the place of some of the parameters. Gives its results in both
    /// forms, of which the references of the second are not rooted any more; and whether it ran.
    async fn call_with(
        &mut self,
        instance: Instance,
        name: &str,
        params: &[SessionValue],
        put: &[(usize, Val)],
    ) -> Result<(wasmtime::Result<(Vec<SessionValue>, Vec<Val>)>, bool), SessionError> {
        // References are rooted for this call only, so that what guests drop can be collected.
        let mut scope = RootScope::new(&mut self.store);
        let function = instance.get_func(&mut scope, name);
        let function = function.ok_or_else(|| unknown("function", name))?;
        let ty = function.ty(&scope);
        let mut given = Vec::with_capacity(params.len());
        if params.len() != ty.params().len() {
            return Err(SessionError::Values);
        }
        for (param, ty) in params.iter().zip(ty.params()) {
            match value::to_wasmtime(param, &ty, &mut scope).await {
                Ok(Some(param)) => given.push(param),
                Ok(None) => return Err(SessionError::Values),
                Err(error) => return Ok((Err(error), false)),
            }
        }
        for (index, value) in put {
            given[*index] = *value;
        }
        let mut results: Vec<Val> = ty.results().map(|ty| placeholder(&ty)).collect();
        let called = function.call_async(&mut scope, &given, &mut results).await;
        let results = called.and_then(|()| {
            let values = results.iter().map(|result| value::from_wasmtime(result, &mut scope));
            Ok((values.collect::<wasmtime::Result<_>>()?, results))
        });
        Ok((results, true))
    }

    /// What a guest's result, or its failure, means to the caller.
    fn outcome<T>(
        &self,
        result: wasmtime::Result<T>,
        ran: bool,
    ) -> Result<SessionOutcome<T>, SessionError> {
        let (state, limiter) = (self.store.data(), self.limiter());
        let usage = Usage {
            wall: state.elapsed(),
            fuel: None,
            memory_bytes: limiter.peak_memory() as u64,
            growth_refused: limiter.refused(),
        };
        let result = match result {
            Ok(value) => Ok(value),
            Err(error) => {
                if let Some(SessionIsOver(why)) = error.downcast_ref() {
                    return Err(SessionError::Ended(*why));
                }
                let failure = failure::of(error, state, |module| self.place_of(module));
                Err(failure.map_err(|error| match error {
                    CallError::Overloaded => SessionError::Overloaded,
                    CallError::Exhausted { wall } => SessionError::Exhausted { wall },
                    CallError::Parameters => SessionError::Values,
                    CallError::Access(invalid) => SessionError::Access(invalid),
                    CallError::Engine(error) => SessionError::Engine(error),
                })?)
            }
        };
        let modules = self.modules_of(result.as_ref().err());
        Ok(SessionOutcome { result, modules, usage: ran.then_some(usage), memory: None })
    }

    fn place_of(&self, module: &wasmtime::Module) -> usize {
        let found =
            self.modules.iter().position(|(known, _)| wasmtime::Module::same(known, module));
        // Only noted modules are in the store.
        found.unwrap_or(self.modules.len())
    }

    fn modules_of(&self, failure: Option<&Failure>) -> Vec<ModuleId> {
        let trap: Option<&Trap> = failure.and_then(Failure::trap);
        let frames = trap.map_or(&[][..], |trap| &trap.backtrace);
        let module = |place: usize| self.modules.get(place).map(|(_, id)| *id);
        frames.iter().filter_map(|frame| module(frame.node)).collect()
    }
}

/// The programs that a new instance links to.
fn linked(new: &NewInstance) -> impl Iterator<Item = &LinkedProgram> {
    new.links.values().filter_map(|link| match link {
        SessionLink::Instance(_) => None,
        SessionLink::Program(linked) => Some(linked),
    })
}

/// Parameters as they are before bytes are put in their places: only integers matter then.
fn integers(params: &[SessionValue]) -> Vec<Val> {
    let integer = |param: &SessionValue| match param {
        SessionValue::Plain(Value::I64(_)) => Val::I64(0),
        _ => Val::I32(0),
    };
    params.iter().map(integer).collect()
}

fn missing() -> wasmtime::Error {
    wasmtime::format_err!("a linked export is missing")
}

fn unknown(kind: &'static str, name: &str) -> SessionError {
    SessionError::UnknownExport { name: shorten(name), kind }
}
