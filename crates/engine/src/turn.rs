//! Calls that follow each other, and what they share so that each costs less.

use std::sync::Arc;

use crate::access::Access;
use crate::admission::{Patience, Place};
use crate::call::CallError;
use crate::calling::{Asked, Clock, Needs, Rare, poll_once};
use crate::config::{CallLimits, ClientKey, Profile};
use crate::outcome::Outcome;
use crate::program::{Function, Program};
use crate::ticker::Ticking;
use crate::value::Value;
use crate::{Engine, Running};

/// What calls share that are made one after the other: a place among the calls that run, and the
/// clock that interrupts them. It is taken with the first call, and kept until [`end`](Self::end).
///
/// Whoever has a turn waits for places for as long as it takes, outside of the queue that is bounded
/// and whose calls are refused after a while. So all turns together have few places, and each is to
/// be ended soon and before anything else is waited for.
#[derive(Debug, Default)]
pub struct Turn {
    client: Option<ClientKey>,
    held: Option<Arc<Held>>,
}

/// What is shared. A call that goes on in the background keeps it.
#[derive(Debug)]
struct Held {
    profile: Profile,
    _ticking: Ticking,
    _place: Place,
    /// One of those that all turns have together.
    _turn: Place,
}

impl Turn {
    /// For calls of a client.
    pub fn of_client(client: Option<ClientKey>) -> Self {
        Self { client, held: None }
    }

    /// Gives back the place, for others to go first. The next call takes one again.
    pub fn end(&mut self) {
        self.held = None;
    }

    fn held(&self, profile: Profile) -> Option<Arc<Held>> {
        self.held.as_ref().filter(|held| held.profile == profile).cloned()
    }
}

impl Engine {
    /// The same as [`call`](Self::call), in a turn. Each call has fresh instances, limits and a
    /// timeout of its own.
    ///
    /// A call that does not end within its first slice, that is expected not to, or that takes much
    /// memory, ends the turn and has a place for itself.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call), but that places are waited for.
    pub async fn call_in(
        &self,
        turn: &mut Turn,
        program: &Arc<Program>,
        function: &Function,
        params: &[Value],
        limits: CallLimits,
        access: Option<Box<Access>>,
    ) -> Result<Outcome, CallError> {
        let running = self.running_for(program)?;
        let needs = Needs::of(program, function, access.as_deref()).of_client(turn.client);
        let asked = Asked { program, function, params, limits, access };
        if needs.long || running.asks(needs.slots) {
            turn.end();
            return self.call_alone(asked, needs).await;
        }
        let held = match turn.held(program.profile) {
            Some(held) => held,
            None => self.begin(turn, running, program.profile).await?,
        };
        let mut call = self.prepare(asked)?;
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
            drop(held);
            ran
        });
        if !here && let Some(ran) = poll_once(run.as_mut()).await {
            function.pace.was_short();
            return ran.outcome;
        }
        // The call has it now, and no other call is to begin on its place.
        turn.end();
        self.go_on(run, &function.pace, needs, Patience::Endless).await
    }

    /// Makes a call that has a place for itself.
    #[cold]
    fn call_alone<'a>(
        &'a self,
        asked: Asked<'a>,
        needs: Needs,
    ) -> Rare<'a, Result<Outcome, CallError>> {
        Box::pin(async move {
            let _turn = self.turns.enter_with(1, Patience::Endless).await?;
            self.call_as(asked, needs, Patience::Endless).await
        })
    }

    /// Takes what calls of a turn share. Rare, since that is once for many calls.
    #[cold]
    fn begin<'a>(
        &'a self,
        turn: &'a mut Turn,
        running: &'a Running,
        profile: Profile,
    ) -> Rare<'a, Result<Arc<Held>, CallError>> {
        // Before it waits, since what it holds is of the other profile.
        turn.end();
        Box::pin(async move {
            let of_turns = self.turns.enter_with(1, Patience::Endless).await?;
            let place = self.calls.enter_with(1, Patience::Endless).await?;
            let ticking = running.ticker.keep_ticking();
            let held = Held { profile, _ticking: ticking, _place: place, _turn: of_turns };
            let held = Arc::new(held);
            turn.held = Some(Arc::clone(&held));
            Ok(held)
        })
    }
}
