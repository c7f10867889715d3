//! How guest code is entered: on a stack of its own, or on that of its caller.
//!
//! A guest that has its own stack can be left in the middle and gone on with by another thread. That
//! costs about a third of a short call. On its caller's stack it can only be ended: what is seen of a
//! call is its outcome alone, so one that takes too long is begun again.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::{Extern, Func, Instance, InstancePre, Module, Store, Val};

use crate::store::{self, State};

/// A way to enter guest code. Only [`OnOwnStack`]'s futures may be pending.
pub(crate) trait Entry {
    /// A store that is entered this way, whose first slice begins now.
    fn store(engine: &wasmtime::Engine, state: State) -> Store<State>;

    fn instantiate(
        store: &mut Store<State>,
        module: &InstancePre<State>,
    ) -> impl Future<Output = wasmtime::Result<Instance>> + Send;

    fn link(
        store: &mut Store<State>,
        module: &Module,
        imports: &[Extern],
    ) -> impl Future<Output = wasmtime::Result<Instance>> + Send;

    fn call(
        store: &mut Store<State>,
        function: Func,
        params: &[Val],
        results: &mut [Val],
    ) -> impl Future<Output = wasmtime::Result<()>> + Send;
}

/// Guest code has a stack of its own.
pub(crate) enum OnOwnStack {}

impl Entry for OnOwnStack {
    fn store(engine: &wasmtime::Engine, state: State) -> Store<State> {
        store::new(engine, state)
    }

    fn instantiate(
        store: &mut Store<State>,
        module: &InstancePre<State>,
    ) -> impl Future<Output = wasmtime::Result<Instance>> + Send {
        module.instantiate_async(store)
    }

    fn link(
        store: &mut Store<State>,
        module: &Module,
        imports: &[Extern],
    ) -> impl Future<Output = wasmtime::Result<Instance>> + Send {
        Instance::new_async(store, module, imports)
    }

    async fn call(
        store: &mut Store<State>,
        function: Func,
        params: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        function.call_async(store, params, results).await
    }
}

/// Guest code runs on the stack of whoever polls, for one slice at most.
pub(crate) enum OnCallersStack {}

impl Entry for OnCallersStack {
    fn store(engine: &wasmtime::Engine, state: State) -> Store<State> {
        store::of_one_slice(engine, state)
    }

    async fn instantiate(
        store: &mut Store<State>,
        module: &InstancePre<State>,
    ) -> wasmtime::Result<Instance> {
        module.instantiate(store)
    }

    async fn link(
        store: &mut Store<State>,
        module: &Module,
        imports: &[Extern],
    ) -> wasmtime::Result<Instance> {
        Instance::new(store, module, imports)
    }

    async fn call(
        store: &mut Store<State>,
        function: Func,
        params: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        function.call(store, params, results)
    }
}

impl OnCallersStack {
    /// Whether the caller's stack has room for so many bytes.
    pub(crate) fn has_room(bytes: usize) -> bool {
        stacker::remaining_stack().is_some_and(|left| left >= bytes)
    }
}

/// The output of a future that does not wait; `None` if it does.
pub(crate) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
