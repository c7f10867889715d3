//! The task that owns the swarm: it takes commands and events one at a time and waits for nothing
//! else. What a peer asks for is answered in tasks of their own, as many as there are places.

mod answering;
mod events;
mod looking_up;
mod reached;
mod relaying;
mod twins;
mod upkeep;
mod visitors;

pub(super) use self::looking_up::LookUp;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::futures::StreamExt;
use libp2p::kad::QueryId;
use libp2p::request_response::{InboundRequestId, OutboundRequestId};
use libp2p::swarm::{Config, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, Swarm};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use self::answering::{Answer, Ask};
use self::reached::Reached;
use self::relaying::Relays;
use self::twins::Twins;
use self::visitors::Visitors;
use super::behaviour::{Behaviour, BehaviourEvent, Protocols};
use super::config::NodeConfig;
use super::error::{AskError, NodeError, OpenError};
use super::inward::Inward;
use super::ledger::{Ledger, Place};
use super::peers::{Members, Peers};
use super::redial::{Redial, peer_of, without_peer};
use super::status::Refusals;
use super::{Service, Shared, transport};
use crate::Key;
use crate::protocol::{Request, Response};

/// How often there is a look at what is due.
const TICK: Duration = Duration::from_millis(250);

/// How long listening may take to begin.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connections may take to close when the node shuts down.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection is kept on which nothing but pings goes: long, for the network is those who
/// are connected.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// What the handle asks of the task.
pub(super) enum Command {
    Ask { peer: PeerId, request: Request, reply: oneshot::Sender<Result<Response, AskError>> },
    Open { peer: PeerId, reply: oneshot::Sender<Result<Stream, OpenError>> },
    LookUp(LookUp),
    Withdraw(Key),
    ChargeForged { peer: PeerId, records: usize },
    ShutDown(oneshot::Sender<()>),
}

/// The task's state.
pub(super) struct Driver {
    swarm: Swarm<Behaviour>,
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    protocols: Protocols,
    wanted_peers: usize,
    inbound_connections: usize,
    visit: Duration,
    asks_at_once: usize,
    /// Whether relays are of use.
    on_the_internet: bool,
    /// Whether this node is one.
    relaying: bool,
    listeners: Vec<ListenerId>,
    ledger: Ledger,
    members: Members,
    redial: Redial,
    inward: Inward,
    relays: Relays,
    reached: Reached,
    twins: Twins,
    visitors: Visitors,
    refusals: Refusals,
    /// Bounded by [`answering::MAX_ASKS`].
    asks: HashMap<OutboundRequestId, Ask>,
    /// How many of `asks` are to each peer.
    asks_of: HashMap<PeerId, usize>,
    /// Bounded by [`super::LOOK_UPS_AT_ONCE`], which the handle keeps to.
    look_ups: HashMap<QueryId, LookUp>,
    /// Bounded by the places in `ledger`, as are `transfers`.
    answers: JoinSet<Answer>,
    /// The places of answers that were made and are not taken yet.
    sending: HashMap<InboundRequestId, Place>,
    transfers: JoinSet<()>,
    /// Whether a round-trip time has changed since the live peers were published.
    measured: bool,
    /// When peers were last looked for, and how many were live then.
    explored: (Instant, usize),
}

impl Driver {
    /// Makes the swarm, and has it listen.
    pub(super) async fn start(
        config: NodeConfig,
        service: Arc<dyn Service>,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, NodeError> {
        let protocols = Protocols::of(&config.network);
        let inward = Inward::default();
        let (transport, relay_client) = transport::build(&config, &shared.traffic, &inward)?;
        let behaviour = Behaviour::new(&config, &protocols, relay_client);
        let local = shared.peer_id;
        let settings = Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
        let mut driver = Self {
            swarm: Swarm::new(transport, behaviour, local, settings),
            service,
            shared,
            commands,
            protocols,
            wanted_peers: config.bounds.wanted_peers,
            inbound_connections: config.bounds.inbound_connections as usize,
            visit: config.bounds.visit,
            asks_at_once: config.bounds.asks_at_once,
            on_the_internet: !config.local_only_mode,
            relaying: false,
            listeners: Vec::new(),
            ledger: Ledger::new(config.bounds),
            members: Members::default(),
            redial: Redial::new(&local),
            inward,
            relays: Relays::default(),
            reached: Reached::default(),
            twins: Twins::default(),
            visitors: Visitors::default(),
            refusals: Refusals::default(),
            asks: HashMap::new(),
            asks_of: HashMap::new(),
            look_ups: HashMap::new(),
            answers: JoinSet::new(),
            sending: HashMap::new(),
            transfers: JoinSet::new(),
            measured: false,
            explored: (Instant::now(), 0),
        };
        driver.expect_peers(config.peers, config.known);
        driver.listen(config.listen).await?;
        driver.publish_status();
        Ok(driver)
    }

    fn expect_peers(&mut self, peers: Vec<Multiaddr>, known: Vec<(PeerId, Vec<Multiaddr>)>) {
        let now = Instant::now();
        for address in peers {
            if let Some(peer) = peer_of(&address) {
                self.swarm.behaviour_mut().limits.bypass_peer_id(&peer);
            }
            self.inward.note(&address);
            self.redial.configure(address, now);
        }
        for (peer, addresses) in known {
            let addresses: Vec<_> = addresses.into_iter().map(without_peer).collect();
            addresses.iter().for_each(|address| self.inward.note(address));
            self.redial.remember(peer, &addresses, now);
        }
    }

    /// Listens, and waits until there is an address for each that is wanted.
    async fn listen(&mut self, addresses: Vec<Multiaddr>) -> Result<(), NodeError> {
        let mut beginning = HashMap::new();
        for address in addresses {
            let listener = self
                .swarm
                .listen_on(address.clone())
                .map_err(|source| NodeError::Listen { address: address.clone(), source })?;
            self.listeners.push(listener);
            beginning.insert(listener, address);
        }
        let deadline = time::Instant::now() + LISTEN_TIMEOUT;
        while let Some(address) = beginning.values().next().cloned() {
            let not_listening = || NodeError::NotListening { address: address.clone() };
            let event = time::timeout_at(deadline, self.swarm.select_next_some())
                .await
                .map_err(|_| not_listening())?;
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    beginning.remove(listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, .. } => {
                    if let Some(address) = beginning.remove(listener_id) {
                        return Err(NodeError::NotListening { address });
                    }
                }
                _ => {}
            }
            self.on_event(event);
        }
        Ok(())
    }

    /// Runs until it is asked to shut down, or until nobody has a handle any more.
    pub(super) async fn run(mut self) {
        let mut ticks = time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::ShutDown(done)) => {
                        self.close().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.on_command(command),
                    None => return self.close().await,
                },
                Some(answer) = self.answers.join_next() => self.on_answer(answer),
                Some(_) = self.transfers.join_next() => {}
                _ = ticks.tick() => self.on_tick(),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Ask { peer, request, reply } => self.ask(peer, request, reply),
            Command::Open { peer, reply } => self.swarm.behaviour_mut().transfer.open(peer, reply),
            Command::LookUp(look_up) => self.look_up(look_up),
            Command::Withdraw(key) => self.withdraw(&key),
            Command::ChargeForged { peer, records } => self.charge_forged(peer, records),
            // `run` does not come back from it.
            Command::ShutDown(_) => {}
        }
    }

    /// Stops what is being done for others, and closes all connections.
    async fn close(&mut self) {
        self.answers.shutdown().await;
        self.transfers.shutdown().await;
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener);
        }
        for peer in self.members.ids() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let deadline = time::Instant::now() + CLOSE_TIMEOUT;
        while !self.members.is_empty() {
            match time::timeout_at(deadline, self.swarm.select_next_some()).await {
                Ok(event) => self.on_event(event),
                Err(_) => return,
            }
        }
    }

    /// Lets everybody know who is live now.
    fn publish_peers(&mut self) {
        let peers = Arc::new(self.members.live().clone());
        self.shared.peers.send_replace(Arc::clone(&peers));
        self.measured = false;
    }

    /// As [`Self::publish_peers`], and tells the service.
    fn peers_changed(&mut self) {
        self.publish_peers();
        let peers: Arc<Peers> = Arc::clone(&self.shared.peers.borrow());
        self.service.changed(&peers);
    }
}
