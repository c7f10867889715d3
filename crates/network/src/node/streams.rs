//! Transfer streams: opened to peers and taken from them, on direct connections alone.
//!
//! The protocol's name is all that libp2p negotiates; what is said on a stream is up to whoever has
//! it. (The crate `libp2p-stream` does much the same, but it picks any connection of a peer, keeps
//! something of every connection for ever, and has one place for the new streams of all peers.)

mod handler;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::sync::oneshot;

use self::handler::Handler;
use super::error::OpenError;
use super::peers::is_relayed;

/// The most streams that wait to be opened to one peer.
const MAX_OPENING: usize = 32;

/// Where a stream is wanted.
pub(super) type Reply = oneshot::Sender<Result<Stream, OpenError>>;

/// A stream that a peer has opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    pub(super) stream: Stream,
}

type Action = ToSwarm<Opened, Reply>;

/// Opens and takes transfer streams.
pub(super) struct Behaviour {
    protocol: StreamProtocol,
    /// The direct connections of each peer.
    direct: HashMap<PeerId, Vec<ConnectionId>>,
    /// How many relayed connections each peer has.
    relayed: HashMap<PeerId, usize>,
    /// Who waits for a connection.
    waiting: HashMap<PeerId, Vec<Reply>>,
    actions: VecDeque<Action>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub(super) fn new(protocol: StreamProtocol) -> Self {
        Self {
            protocol,
            direct: HashMap::new(),
            relayed: HashMap::new(),
            waiting: HashMap::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Opens a stream to `peer`, which is dialled if there is no connection.
    pub(super) fn open(&mut self, peer: PeerId, reply: Reply) {
        if let Some(&connection) = self.direct.get(&peer).and_then(|all| all.first()) {
            self.ask_handler(peer, connection, reply);
        } else if self.relayed.contains_key(&peer) {
            let _ = reply.send(Err(OpenError::Relayed));
        } else {
            self.wait(peer, reply);
        }
    }

    fn wait(&mut self, peer: PeerId, reply: Reply) {
        let waiting = self.waiting.entry(peer).or_default();
        waiting.retain(|reply| !reply.is_closed());
        if waiting.len() >= MAX_OPENING {
            let _ = reply.send(Err(OpenError::TooMany));
            return;
        }
        waiting.push(reply);
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let opts = DialOpts::peer_id(peer).condition(condition).build();
        self.act(ToSwarm::Dial { opts });
    }

    fn ask_handler(&mut self, peer_id: PeerId, connection: ConnectionId, reply: Reply) {
        let handler = NotifyHandler::One(connection);
        self.act(ToSwarm::NotifyHandler { peer_id, handler, event: reply });
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn established(&mut self, event: ConnectionEstablished<'_>) {
        let peer = event.peer_id;
        let waiting = self.waiting.remove(&peer).unwrap_or_default();
        if event.endpoint.is_relayed() {
            *self.relayed.entry(peer).or_default() += 1;
            refuse(waiting, OpenError::Relayed);
            return;
        }
        self.direct.entry(peer).or_default().push(event.connection_id);
        for reply in waiting {
            self.ask_handler(peer, event.connection_id, reply);
        }
    }

    fn closed(&mut self, event: ConnectionClosed<'_>) {
        if event.endpoint.is_relayed() {
            if let Entry::Occupied(mut relayed) = self.relayed.entry(event.peer_id) {
                *relayed.get_mut() -= 1;
                if *relayed.get() == 0 {
                    relayed.remove();
                }
            }
        } else if let Entry::Occupied(mut direct) = self.direct.entry(event.peer_id) {
            direct.get_mut().retain(|id| *id != event.connection_id);
            if direct.get().is_empty() {
                direct.remove();
            }
        }
    }

    fn failed(&mut self, event: DialFailure<'_>) {
        // Somebody else dials the peer already, who will fail or not.
        if matches!(event.error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        if let Some(peer) = event.peer_id {
            refuse(self.waiting.remove(&peer).unwrap_or_default(), OpenError::Unreachable);
        }
    }

    /// `relay` is the address of a connection that says whether there is one.
    fn handler(&self, relay: &Multiaddr) -> Handler {
        Handler::new(self.protocol.clone(), is_relayed(relay))
    }
}

fn refuse(waiting: Vec<Reply>, error: OpenError) {
    for reply in waiting {
        let _ = reply.send(Err(error));
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Of who comes through a relay, the remote address says nothing but who it is.
        Ok(self.handler(local))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(remote))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.established(event),
            FromSwarm::ConnectionClosed(event) => self.closed(event),
            FromSwarm::DialFailure(event) => self.failed(event),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _: ConnectionId,
        stream: THandlerOutEvent<Self>,
    ) {
        self.act(ToSwarm::GenerateEvent(Opened { peer, stream }));
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
