//! The way of a call: it is checked, gets its places, runs on the caller's thread for its first slice,
//! and goes on in the background if it takes longer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::access::Access;
use crate::admission::{Full, Patience, Place, SharedPlace};
use crate::call::{Call, CallError, Ran};
use crate::config::{CallLimits, ClientKey};
use crate::entry::OnCallersStack;
use crate::outcome::Outcome;
use crate::pace::Pace;
use crate::profile;
use crate::program::{Function, Program};
use crate::value::Value;
use crate::{Engine, Running};

/// What happens rarely on the way of a call. Boxed behind a pointer to its code, so that neither its
/// state nor its code is part of the call's own future: inlined, it took 80 KiB of stack, which
/// every call touched, page by page.
pub(crate) type Rare<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A call as it is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) program: &'a Arc<Program>,
    pub(crate) function: &'a Function,
    pub(crate) params: &'a [Value],
    pub(crate) limits: CallLimits,
    pub(crate) access: Option<Box<Access>>,
}

/// What a call needs before it can run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) slots: u32,
    pub(crate) long: bool,
    /// Whether it is as good as known to end within its first slice.
    pub(crate) quick: bool,
    /// Who can have at most half of the places for what is long; `None` can have all.
    pub(crate) client: Option<ClientKey>,
}

impl Needs {
    pub(crate) fn of(program: &Program, function: &Function, access: Option<&Access>) -> Self {
        let large = program.large || access.is_some_and(Access::is_large);
        let long = large || function.pace.is_long();
        let quick = !long && access.is_none() && function.pace.is_quick();
        Self { slots: program.slots, long, quick, client: None }
    }

    pub(crate) fn of_client(self, client: Option<ClientKey>) -> Self {
        Self { client, ..self }
    }
}

/// What a call holds while it runs.
#[derive(Debug)]
pub(crate) struct Places {
    _long: Option<SharedPlace>,
    _call: Place,
    _slots: Option<Place>,
}

/// When a call began. What it did in vain counts for it, the wait to do it again does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// What was done in vain.
    spent: Option<Duration>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), spent: None }
    }

    /// The call is to begin again, later.
    pub(crate) fn stop(&mut self) {
        self.spent = Some(self.started.elapsed());
    }

    /// When the call began that runs from now on.
    pub(crate) fn began(self) -> Instant {
        let again = self.spent.and_then(|spent| Instant::now().checked_sub(spent));
        again.unwrap_or(self.started)
    }
}

impl Engine {
    /// Calls an exported function in fresh instances of the whole graph.
    ///
    /// The call starts on the caller's thread. If it does not end within its first slice (two to
    /// four milliseconds), or takes much memory, it goes on in the background at lower priority, or
    /// begins again there. Dropping the future ends the call.
    ///
    /// # Errors
    ///
    /// When too many calls run, the parameters are not the function's, or the engine fails. What
    /// the guest does is an [`Outcome`], never an error.
    pub fn call<'a>(
        &'a self,
        program: &'a Arc<Program>,
        function: &'a Function,
        params: &'a [Value],
        limits: CallLimits,
    ) -> impl Future<Output = Result<Outcome, CallError>> + Send + 'a {
        self.call_with(program, function, params, limits, None, None)
    }

    /// The same for a client, of which all long calls together leave places to others. Puts bytes into
    /// memories before, and takes some out after.
    ///
    /// # Errors
    ///
    /// The same, and when what is wanted of memories is not possible whatever the guest does.
    pub fn call_with<'a>(
        &'a self,
        program: &'a Arc<Program>,
        function: &'a Function,
        params: &'a [Value],
        limits: CallLimits,
        access: Option<Box<Access>>,
        client: Option<ClientKey>,
    ) -> impl Future<Output = Result<Outcome, CallError>> + Send + 'a {
        // The future itself and not one around it, which would be copied along with it.
        let needs = Needs::of(program, function, access.as_deref()).of_client(client);
        let asked = Asked { program, function, params, limits, access };
        self.call_as(asked, needs, Patience::Bounded)
    }

    pub(crate) async fn call_as(
        &self,
        asked: Asked<'_>,
        needs: Needs,
        patience: Patience,
    ) -> Result<Outcome, CallError> {
        let (function, running) = (asked.function, self.running_for(asked.program)?);
        let mut call = self.prepare(asked)?;
        let places = match self.try_admit(running, needs) {
            Some(places) => places,
            None => self.admit(running, needs, patience).await?,
        };
        let ticking = running.ticker.keep_ticking();
        let mut clock = Clock::start();
        let here = self.runs_here(needs, function);
        if here {
            if let Some(outcome) = call.run_here(&running.engine, clock.began()) {
                return outcome;
            }
            clock.stop();
        }
        let engine = running.engine.clone();
        let mut run = Box::pin(async move {
            let ran = call.run(&engine, clock.began()).await;
            drop((ticking, places));
            ran
        });
        if !here
            && !needs.long
            && let Some(ran) = poll_once(run.as_mut()).await
        {
            function.pace.was_short();
            return ran.outcome;
        }
        self.go_on(run, &function.pace, needs, patience).await
    }

    /// Checks what can be checked of a call before it has a place.
    pub(crate) fn prepare(&self, asked: Asked<'_>) -> Result<Call, CallError> {
        let Asked { program, function, params, limits, access } = asked;
        let (program, guests) = (Arc::clone(program), Arc::clone(&self.guests));
        let table_elements = self.config.table_elements;
        let mut call = Call::new(program, function, params, limits, table_elements, guests)?;
        if let Some(access) = access {
            call.access(function, *access, &self.reads)?;
        }
        Ok(call)
    }

    /// Whether a call that begins now runs on the calling thread's stack.
    pub(crate) fn runs_here(&self, needs: Needs, function: &Function) -> bool {
        // Asked again, since others may have turned out to be long while this one waited for a place.
        needs.quick && function.pace.is_quick() && self.has_stack()
    }

    /// Whether the calling thread's stack has room for a guest.
    fn has_stack(&self) -> bool {
        OnCallersStack::has_room(profile::stack(&self.config))
    }

    /// Runs to its end, in the background, a call that did not end within its first slice or was known
    /// not to.
    #[cold]
    pub(crate) fn go_on<'a>(
        &'a self,
        run: Pin<Box<dyn Future<Output = Ran> + Send>>,
        pace: &'a Pace,
        needs: Needs,
        patience: Patience,
    ) -> Rare<'a, Result<Outcome, CallError>> {
        // Before anything is awaited: the caller may give up.
        pace.was_long();
        Box::pin(async move {
            let _place = match needs.long {
                true => None,
                false => Some(self.prolonged_calls.enter(needs.client, patience).await?),
            };
            let ran = self.background.spawn(run).await;
            let ran = ran.map_err(|error| CallError::Engine(wasmtime::Error::new(error)))?;
            if !ran.interrupted {
                pace.was_short();
            }
            ran.outcome
        })
    }

    /// Takes a call's places, if they are free.
    pub(crate) fn try_admit(&self, running: &Running, needs: Needs) -> Option<Places> {
        let long = if needs.long { Some(self.long_calls.try_enter(needs.client)?) } else { None };
        let call = self.calls.try_enter(1)?;
        let slots = match running.asks(needs.slots) {
            true => Some(running.slots.try_enter(needs.slots)?),
            false => None,
        };
        Some(Places { _long: long, _call: call, _slots: slots })
    }

    /// Waits for a call's places: for what the fewest calls need first, so that whoever waits holds
    /// little that others could use.
    #[cold]
    pub(crate) fn admit<'a>(
        &'a self,
        running: &'a Running,
        needs: Needs,
        patience: Patience,
    ) -> Rare<'a, Result<Places, Full>> {
        Box::pin(async move {
            let slots = match running.asks(needs.slots) {
                true => Some(running.slots.enter_with(needs.slots, patience).await?),
                false => None,
            };
            let long = match needs.long {
                true => Some(self.long_calls.enter(needs.client, patience).await?),
                false => None,
            };
            let call = self.calls.enter_with(1, patience).await?;
            Ok(Places { _long: long, _call: call, _slots: slots })
        })
    }
}

/// Polls a future a single time: its output, or `None` if it is not ready. The future can be moved
/// to another task afterwards and be polled on there.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests;
