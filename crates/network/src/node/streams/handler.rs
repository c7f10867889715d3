//! The transfer streams of one connection.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
};
use libp2p::{Stream, StreamProtocol};

use super::{MAX_OPENING, OpenError, Reply};

/// The most streams that a peer has opened and that are not handed on yet. They are handed on as
/// fast as the node's task runs, so only a flood exceeds this, and loses what exceeds it.
const MAX_ARRIVED: usize = 16;

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Reply, Stream>;

/// Opens and takes the transfer streams of one connection.
pub(in crate::node) struct Handler {
    protocol: StreamProtocol,
    relayed: bool,
    wanted: VecDeque<Reply>,
    arrived: VecDeque<Stream>,
    /// Streams that are being negotiated.
    opening: usize,
    waker: Option<Waker>,
}

impl Handler {
    pub(super) fn new(protocol: StreamProtocol, relayed: bool) -> Self {
        Self {
            protocol,
            relayed,
            wanted: VecDeque::new(),
            arrived: VecDeque::new(),
            opening: 0,
            waker: None,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take(&mut self, stream: Stream) {
        if !self.relayed && self.arrived.len() < MAX_ARRIVED {
            self.arrived.push_back(stream);
            self.wake();
        }
    }

    fn opened(&mut self, reply: Reply, result: Result<Stream, OpenError>) {
        self.opening -= 1;
        let _ = reply.send(result);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Reply;
    type ToBehaviour = Stream;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(stream) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream));
        }
        if let Some(reply) = self.wanted.pop_front() {
            self.opening += 1;
            let upgrade = ReadyUpgrade::new(self.protocol.clone());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(upgrade, reply),
            });
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, reply: Reply) {
        if self.wanted.len() + self.opening >= MAX_OPENING {
            let _ = reply.send(Err(OpenError::TooMany));
            return;
        }
        self.wanted.push_back(reply);
        self.wake();
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                info: (),
            }) => self.take(stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: reply,
            }) => self.opened(reply, Ok(stream)),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: reply, error }) => {
                self.opened(reply, Err(why(&error)));
            }
            _ => {}
        }
    }
}

fn why<E>(error: &StreamUpgradeError<E>) -> OpenError {
    match error {
        StreamUpgradeError::Timeout => OpenError::TimedOut,
        StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
        StreamUpgradeError::Apply(_) | StreamUpgradeError::Io(_) => OpenError::Unreachable,
    }
}
