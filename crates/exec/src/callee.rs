//! A function that is looked up once and called many times.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use wasm_exec_engine::{ClientKey, Profile, Turn};
use wasm_exec_registry::Digest;

use crate::call::{Answer, Called, Rare, answer, cannot_call, unknown_function};
use crate::error::Error;
use crate::exec::Exec;
use crate::limits::RequestedLimits;
use crate::memory::MemoryAccess;
use crate::programs::ReadyProgram;
use crate::values::{self, Params, Style};

/// An exported function of a registered module, looked up once. What it calls stays what it was,
/// whatever becomes of the module's name, and of the module once it was called.
#[derive(Debug)]
pub struct Callee {
    exec: Exec,
    fast: Arc<ReadyProgram>,
    /// Made when the first call comes that asks for fuel.
    metered: OnceCell<Arc<ReadyProgram>>,
    function: Box<str>,
    client: Option<ClientKey>,
}

impl Exec {
    /// Looks up a function, and makes its program ready.
    ///
    /// # Errors
    ///
    /// When there is no such module or function, or its program cannot be made ready.
    pub async fn callee(
        &self,
        module: &str,
        function: &str,
        client: Option<ClientKey>,
    ) -> Result<Callee, Error> {
        let fast = match self.ready_program(module, Profile::Fast) {
            Some(ready) => ready,
            None => {
                let digest = self.resolve(module).await?;
                self.program(digest, Profile::Fast, client).await?
            }
        };
        if fast.program.function(function).is_none() {
            return Err(unknown_function(&fast.program, function));
        }
        let (function, metered) = (function.into(), OnceCell::new());
        Ok(Callee { exec: self.clone(), fast, metered, function, client })
    }
}

impl Callee {
    /// The digest of the module.
    pub fn module(&self) -> Digest {
        self.fast.digest
    }

    /// Calls the function in fresh instances, as a part of a turn.
    ///
    /// # Errors
    ///
    /// When the call could not be made: see [`Error`]. Once the guest runs, whatever it does is an
    /// [`Answer`].
    pub async fn call(
        &self,
        turn: &mut Turn,
        params: &[&RawValue],
        memory: Option<Box<MemoryAccess<'_>>>,
        limits: &RequestedLimits,
    ) -> Result<Answer, Error> {
        let granted = self.exec.limits().grant(limits)?;
        let ready = match (granted.call.fuel, self.metered.get()) {
            (None, _) => &self.fast,
            (Some(_), Some(metered)) => metered,
            (Some(_), None) => self.load_metered(turn).await?,
        };
        let function = ready
            .program
            .function(&self.function)
            .ok_or_else(|| unknown_function(&ready.program, &self.function))?;
        let params = values::decode(params, function.params(), Style::Plain)?;
        let params = match (params, memory) {
            (Params::Plain(params), None) => params,
            (params, memory) => {
                // Bytes may take long to read and to write down.
                turn.end();
                let client = self.client;
                let called = Called { ready, function, granted, style: Style::Plain, client };
                return self.exec.call_with_memory(called, params, memory, Some(turn)).await;
            }
        };
        let (engine, limits) = (self.exec.engine(), granted.call);
        let outcome = engine.call_in(turn, &ready.program, function, &params, limits, None).await;
        let outcome = outcome.map_err(|error| cannot_call(error, function, params.len()))?;
        Ok(answer(outcome, ready, &granted, Style::Plain))
    }

    /// Makes the program of metered calls ready. It is rare and large, so it is kept out of a call's
    /// future and code.
    #[cold]
    fn load_metered<'a>(
        &'a self,
        turn: &mut Turn,
    ) -> Rare<'a, Result<&'a Arc<ReadyProgram>, Error>> {
        // Compiling takes long, and nobody is to wait for that.
        turn.end();
        let load = || self.exec.program(self.fast.digest, Profile::Metered, self.client);
        Box::pin(self.metered.get_or_try_init(load))
    }
}
