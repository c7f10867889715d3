//! Requests: ours to peers, and peers' to this node.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::core::upgrade::NegotiationError;
use libp2p::request_response::{
    Event, InboundFailure, InboundRequestId, Message, OutboundFailure, OutboundRequestId,
    ResponseChannel,
};
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time;

use super::Driver;
use crate::node::codec::Arrival;
use crate::node::error::AskError;
use crate::node::ledger::{Place, Verdict};
use crate::node::requests::answer_timeout;
use crate::node::streams::Opened;
use crate::protocol::{Refusal, Request, Response};

/// The most requests of this node that wait for answers.
pub(super) const MAX_ASKS: usize = 4096;

/// A request of this node that waits for its answer.
pub(super) struct Ask {
    peer: PeerId,
    reply: oneshot::Sender<Result<Response, AskError>>,
}

/// An answer of this node that is to be sent.
pub(super) struct Answer {
    id: InboundRequestId,
    /// Given back once the answer was taken, or nobody is there any more to take it.
    place: Place,
    channel: ResponseChannel<Response>,
    response: Response,
    late: bool,
}

impl Driver {
    pub(super) fn ask(
        &mut self,
        peer: PeerId,
        request: Request,
        reply: oneshot::Sender<Result<Response, AskError>>,
    ) {
        let waiting = self.asks_of.entry(peer).or_default();
        if *waiting >= self.asks_at_once || self.asks.len() >= MAX_ASKS {
            self.refusals.asks += 1;
            let _ = reply.send(Err(AskError::TooMany));
            return;
        }
        *waiting += 1;
        let id = self.swarm.behaviour_mut().store.send_request(&peer, request.into());
        self.asks.insert(id, Ask { peer, reply });
    }

    fn answered(&mut self, id: OutboundRequestId, answer: Result<Response, AskError>) {
        let Some(ask) = self.asks.remove(&id) else { return };
        if let Some(waiting) = self.asks_of.get_mut(&ask.peer) {
            *waiting -= 1;
            if *waiting == 0 {
                self.asks_of.remove(&ask.peer);
            }
        }
        let _ = ask.reply.send(answer);
    }

    pub(super) fn on_store_event(&mut self, event: Event<Arrival, Response>) {
        match event {
            Event::Message {
                peer,
                message: Message::Request { request_id, request, channel },
                ..
            } => {
                self.on_arrival(peer, request_id, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                self.answered(request_id, Ok(response));
            }
            Event::OutboundFailure { request_id, error, .. } => {
                let error = why(&error);
                if error == AskError::Malformed {
                    self.refusals.malformed += 1;
                }
                self.answered(request_id, Err(error));
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                self.sending.remove(&request_id);
                if !matches!(error, InboundFailure::ConnectionClosed) {
                    tracing::debug!(%peer, %error, "an answer was not taken");
                }
            }
            Event::ResponseSent { request_id, .. } => {
                self.sending.remove(&request_id);
            }
        }
    }

    /// Has a peer's request answered, or refuses it.
    fn on_arrival(
        &mut self,
        peer: PeerId,
        id: InboundRequestId,
        arrival: Arrival,
        channel: ResponseChannel<Response>,
    ) {
        let now = Instant::now();
        let Some(request) = arrival.request else {
            self.refusals.malformed += 1;
            self.charge_nonsense(peer, arrival.bytes, now);
            self.send(channel, Response::Refused(Refusal::Invalid));
            return;
        };
        match self.ledger.charge(peer, 1, arrival.bytes, now) {
            Verdict::Serve => self.answer(peer, id, request, channel, now),
            Verdict::Refuse => {
                self.refusals.over_rate += 1;
                self.send(channel, Response::Refused(Refusal::Busy));
            }
            Verdict::Ban => self.ban(peer, now),
        }
    }

    pub(super) fn charge_forged(&mut self, peer: PeerId, records: usize) {
        self.refusals.forged += records as u64;
        self.charge_nonsense(peer, 0, Instant::now());
    }

    fn charge_nonsense(&mut self, peer: PeerId, bytes: u64, now: Instant) {
        let price = self.ledger.price_of_nonsense();
        if self.ledger.charge(peer, price, bytes, now) == Verdict::Ban {
            self.ban(peer, now);
        }
    }

    fn answer(
        &mut self,
        peer: PeerId,
        id: InboundRequestId,
        request: Request,
        channel: ResponseChannel<Response>,
        now: Instant,
    ) {
        let Some(place) = self.ledger.request_place(peer, now) else {
            self.refusals.requests += 1;
            self.send(channel, Response::Refused(Refusal::Busy));
            return;
        };
        let service = self.service.clone();
        self.answers.spawn(async move {
            let timeout = answer_timeout(&request);
            let answer = time::timeout(timeout, service.answer(peer, request)).await;
            let late = answer.is_err();
            let response = answer.unwrap_or(Response::Refused(Refusal::Busy));
            Answer { id, place, channel, response, late }
        });
    }

    pub(super) fn on_answer(&mut self, answer: Result<Answer, JoinError>) {
        match answer {
            Ok(Answer { id, place, channel, response, late }) => {
                self.refusals.late_answers += u64::from(late);
                self.sending.insert(id, place);
                if !self.send(channel, response) {
                    self.sending.remove(&id);
                }
            }
            Err(error) => tracing::error!(%error, "answering a request failed"),
        }
    }

    /// Sends an answer, unless nobody is there any more to take it; says whether somebody is.
    fn send(&mut self, channel: ResponseChannel<Response>, response: Response) -> bool {
        self.swarm.behaviour_mut().store.send_response(channel, response).is_ok()
    }

    /// Has a transfer stream served, or drops it.
    pub(super) fn on_stream(&mut self, opened: Opened) {
        let Opened { peer, stream } = opened;
        let now = Instant::now();
        match self.ledger.charge(peer, 1, 0, now) {
            Verdict::Serve => {}
            Verdict::Refuse => {
                self.refusals.over_rate += 1;
                return;
            }
            Verdict::Ban => return self.ban(peer, now),
        }
        let Some((place, pace)) = self.ledger.stream_place(peer, now) else {
            self.refusals.streams += 1;
            return;
        };
        let service = self.service.clone();
        self.transfers.spawn(async move {
            service.serve(peer, stream, pace).await;
            drop(place);
        });
    }

    /// Closes all connections of `peer`, and lets it not in for a while.
    pub(super) fn ban(&mut self, peer: PeerId, now: Instant) {
        if self.ledger.is_banned(&peer) {
            return;
        }
        tracing::info!(%peer, "banned for a while: it goes on beyond its bounds");
        self.refusals.bans += 1;
        self.redial.forget(&peer, now);
        let bans = &mut self.swarm.behaviour_mut().bans;
        bans.block_peer(peer);
        if let Some(first) = self.ledger.ban(peer, now) {
            bans.unblock_peer(first);
        }
    }
}

/// What a failure of libp2p means for whoever asked.
fn why(failure: &OutboundFailure) -> AskError {
    match failure {
        OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed => AskError::Unreachable,
        OutboundFailure::Timeout => AskError::TimedOut,
        OutboundFailure::UnsupportedProtocols => AskError::Unsupported,
        OutboundFailure::Io(error) if is_refused_protocol(error) => AskError::Unsupported,
        OutboundFailure::Io(error) => match error.kind() {
            std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::Unsupported
            | std::io::ErrorKind::Other => AskError::Malformed,
            _ => AskError::Unreachable,
        },
    }
}

/// Whether the peer does not speak the protocol, which turns out when its answer is read.
fn is_refused_protocol(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<NegotiationError>())
}
