//! One of the streams of a fetch.

use std::sync::Arc;
use std::{io, mem};

use libp2p::PeerId;
use tokio::time::timeout;

use super::{Fetcher, Peers};
use crate::transfer::conversation::{Conversation, Failure};
use crate::transfer::job::{self, Job};

/// A provider, and the stream to it where one is open.
#[derive(Debug)]
pub(super) struct Lane<S> {
    pub(super) peer: PeerId,
    pub(super) conversation: Option<Conversation<S>>,
}

/// What became of asking for a part.
#[derive(Debug)]
pub(super) struct Answer<S> {
    pub(super) lane: Lane<S>,
    pub(super) part: usize,
    pub(super) outcome: Result<(), Failure>,
}

impl<P: Peers> Fetcher<P> {
    /// Has a part fetched on a lane, verified and kept.
    pub(super) async fn ask<J: Job>(
        &self,
        mut lane: Lane<P::Stream>,
        part: usize,
        job: Arc<J>,
    ) -> Answer<P::Stream> {
        let fetching = timeout(self.timing.part, self.fetch_part(&mut lane, part, job));
        let outcome = fetching.await.unwrap_or_else(|elapsed| Err(Failure::Lost(elapsed.into())));
        Answer { lane, part, outcome }
    }

    async fn fetch_part<J: Job>(
        &self,
        lane: &mut Lane<P::Stream>,
        part: usize,
        job: Arc<J>,
    ) -> Result<(), Failure> {
        self.converse(lane, part, &*job).await?;
        let Some(conversation) = &mut lane.conversation else { return Ok(()) };
        let mut room = mem::take(&mut conversation.room);
        let keeping = tokio::task::spawn_blocking(move || (job.keep(part, &mut room), room));
        let (kept, room) = keeping.await.map_err(job::broken)?;
        conversation.room = room;
        kept
    }

    /// Asks on the lane's stream. Where that has ended since it was used last, as providers do after a
    /// while or a number of requests, on a new one.
    async fn converse<J: Job>(
        &self,
        lane: &mut Lane<P::Stream>,
        part: usize,
        job: &J,
    ) -> Result<(), Failure> {
        let ask = |conversation: Conversation<_>| {
            conversation.ask(job.request(part), job.lengths(part), self.timing.stall)
        };
        if let Some(used) = lane.conversation.take() {
            match ask(used).await {
                (None, Err(Failure::Lost(error))) if error.kind() != io::ErrorKind::TimedOut => {}
                (conversation, sent) => {
                    lane.conversation = conversation;
                    return sent;
                }
            }
        }
        let opening = timeout(self.timing.open, self.peers.open(lane.peer));
        let stream = opening.await.map_err(io::Error::from)??;
        let (conversation, sent) = ask(Conversation::new(stream)).await;
        lane.conversation = conversation;
        sent
    }
}
