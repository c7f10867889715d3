//! Asking several providers for the parts of one thing.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;
use std::{io, mem};

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use libp2p::PeerId;
use tokio::time::sleep_until;
use tracing::debug;
use wasm_exec_registry::BoxFuture;

use super::lane::{Answer, Lane};
use super::{Fetcher, MAX_LANES, MAX_LANES_OF_ONE, MAX_PROVIDERS, Peers};
use crate::transfer::conversation::Failure;
use crate::transfer::job::Job;
use crate::transfer::schedule::Schedule;

/// How often in a row a provider may be silent or go away before it is not asked any more.
const MAX_STRIKES: u32 = 3;

/// Why a download ended before everything was there.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nobody is left to be asked.
    NoProvider,
    /// What came could not be kept.
    Local(io::Error),
}

/// A download. It does nothing while it is not polled, and dropping it drops its streams.
pub(super) struct Download<'a, P: Peers, J> {
    fetcher: &'a Fetcher<P>,
    job: Arc<J>,
    schedule: Schedule,
    /// Who gets a lane next. Those that failed come last, those that are given up not at all.
    turns: VecDeque<PeerId>,
    idle: Vec<Lane<P::Stream>>,
    asking: FuturesUnordered<Abortable<BoxFuture<'a, Answer<P::Stream>>>>,
    strikes: HashMap<PeerId, u32>,
}

impl<'a, P: Peers, J: Job> Download<'a, P, J> {
    pub(super) fn new(
        fetcher: &'a Fetcher<P>,
        job: &Arc<J>,
        missing: Vec<usize>,
        providers: &[PeerId],
    ) -> Self {
        let lanes_of_one = missing.len().min(MAX_LANES_OF_ONE);
        Self {
            fetcher,
            job: Arc::clone(job),
            schedule: Schedule::new(missing, fetcher.timing.patience),
            turns: honest(fetcher, providers).repeat(lanes_of_one).into(),
            idle: Vec::new(),
            asking: FuturesUnordered::new(),
            strikes: HashMap::new(),
        }
    }

    /// Fetches all that is missing.
    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        let done = self.fetch().await;
        for lane in self.idle {
            self.fetcher.rest(lane);
        }
        done
    }

    async fn fetch(&mut self) -> Result<(), Stopped> {
        while !self.schedule.is_done() {
            self.fill_lanes();
            self.ask_idle();
            if self.asking.is_empty() {
                return Err(Stopped::NoProvider);
            }
            let overtaking = self.next_overtaking();
            let answer = tokio::select! {
                answer = self.asking.next() => answer,
                () = until(overtaking) => None,
            };
            // What was given up has nothing to say.
            if let Some(Ok(answer)) = answer {
                self.settle(answer)?;
            }
        }
        Ok(())
    }

    fn fill_lanes(&mut self) {
        while self.idle.len() + self.asking.len() < MAX_LANES {
            let Some(peer) = self.turns.pop_front() else { break };
            self.idle.push(self.fetcher.lane(peer));
        }
    }

    /// Asks on each idle lane for what is to be asked for there.
    fn ask_idle(&mut self) {
        let now = Instant::now();
        for lane in mem::take(&mut self.idle) {
            let Some(part) = self.schedule.take(lane.peer, now) else {
                self.idle.push(lane);
                continue;
            };
            let (abort, registration) = AbortHandle::new_pair();
            self.schedule.ask(part, lane.peer, now, abort);
            let asking: BoxFuture<'a, _> =
                Box::pin(self.fetcher.ask(lane, part, Arc::clone(&self.job)));
            self.asking.push(Abortable::new(asking, registration));
        }
    }

    /// When an idle lane will have something to be asked for.
    fn next_overtaking(&self) -> Option<Instant> {
        let idle = self.idle.iter();
        idle.filter_map(|lane| Some(self.schedule.next_overtaking(lane.peer)?.0)).min()
    }

    fn settle(&mut self, answer: Answer<P::Stream>) -> Result<(), Stopped> {
        let Answer { lane, part, outcome } = answer;
        let peer = lane.peer;
        if let Err(failure) = outcome {
            self.schedule.failed(part, peer);
            return self.settle_failure(lane, failure);
        }
        self.strikes.remove(&peer);
        self.turns.extend(self.schedule.came(part, peer, Instant::now()));
        self.idle.push(lane);
        Ok(())
    }

    fn settle_failure(&mut self, lane: Lane<P::Stream>, failure: Failure) -> Result<(), Stopped> {
        let peer = lane.peer;
        debug!(%peer, ?failure, "a provider did not send what it was asked for");
        match failure {
            Failure::Lost(_) => {
                let strikes = self.strikes.entry(peer).or_default();
                *strikes += 1;
                if *strikes < MAX_STRIKES {
                    self.turns.push_back(peer);
                }
            }
            Failure::NotHere => {
                self.idle.push(lane);
                self.leave(peer);
            }
            Failure::Fault(fault) => {
                self.leave(peer);
                self.schedule.give_up(peer);
                self.fetcher.drop_dishonest(peer, fault);
            }
            Failure::Local(error) => return Err(Stopped::Local(error)),
        }
        Ok(())
    }

    /// Asks nothing more of a peer.
    fn leave(&mut self, peer: PeerId) {
        self.turns.retain(|other| *other != peer);
        for lane in self.idle.extract_if(.., |lane| lane.peer == peer) {
            self.fetcher.rest(lane);
        }
    }
}

/// The providers to be asked, each once.
fn honest<P: Peers>(fetcher: &Fetcher<P>, providers: &[PeerId]) -> Vec<PeerId> {
    let mut honest = Vec::new();
    for peer in providers.iter().take(MAX_PROVIDERS) {
        if !honest.contains(peer) && fetcher.is_honest(*peer) {
            honest.push(*peer);
        }
    }
    honest
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}
