//! A node of the network: the libp2p swarm in a task of its own, and a handle to it.
//!
//! It finds peers and keeps connected to them, carries requests and transfer streams both ways, and
//! holds everybody to their bounds ([`PeerBounds`]). What requests mean is the [`Service`]'s affair.
//!
//! Peers find each other by configured and remembered addresses, by multicast DNS, and by Kademlia
//! look-ups, and tell each other their addresses by identify. All who are found are dialled until
//! [`PeerBounds::wanted_peers`] are live, and connections are kept while both sides are there. When
//! all places are taken, whoever comes later may stay for a little while, to be told of other peers,
//! or is turned away, except configured peers; nobody who has a place is dropped for somebody else.

mod behaviour;
mod book;
mod codec;
mod config;
#[cfg(feature = "delay")]
mod delayed;
mod driver;
mod error;
mod inward;
mod ledger;
mod peers;
mod provided;
mod redial;
mod requests;
mod status;
mod streams;
#[cfg(test)]
mod tests;
mod traffic;
mod transport;
#[cfg(test)]
mod walled;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use libp2p::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time;

pub(crate) use self::config::{
    NodeConfig, PeerBounds, REQUEST_BYTES_PER_SECOND, REQUESTS_PER_SECOND, Transport,
};
pub use self::error::NodeError;
pub(crate) use self::error::{AskError, OpenError};
#[cfg(test)]
pub(crate) use self::peers::Direction;
pub(crate) use self::peers::{Peer, Peers};
pub(crate) use self::status::{NodeStatus, Refusals};

use self::driver::{Command, Driver, LookUp};
use self::requests::answer_timeout;
use self::traffic::Traffic;
use crate::Key;
use crate::pace::Pace;
use crate::protocol::{Request, Response};

/// Commands that wait for the node's task. Who has one more waits until it can be left.
const WAITING_COMMANDS: usize = 256;

/// Look-ups at a time. Further ones wait for their turn.
const LOOK_UPS_AT_ONCE: usize = 32;

/// How long a peer may take to open a transfer stream, with dialling it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node does for its peers.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers a request. Dropped after 60 s for [`Request::Store`] and 5 s for others, and when
    /// the node shuts down.
    fn answer(&self, peer: PeerId, request: Request) -> BoxFuture<'_, Response>;

    /// Serves a transfer stream that a peer has opened, each request on it when the peer's pace has a
    /// turn. The stream's place is free again when the future ends, so it has to end when the peer
    /// does nothing.
    fn serve(&self, peer: PeerId, stream: libp2p::Stream, pace: Pace) -> BoxFuture<'_, ()>;

    /// Peers came or went, or have said something new about themselves. It must not block: the
    /// node's task waits for it.
    fn changed(&self, peers: &Peers);
}

/// A handle to a node, cheap to clone. The node runs until it is shut down or the last handle is
/// dropped.
#[derive(Clone)]
pub(crate) struct Node {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    look_ups: Arc<Semaphore>,
}

/// What the task lets everybody see.
struct Shared {
    peer_id: PeerId,
    peers: watch::Sender<Arc<Peers>>,
    status: Mutex<NodeStatus>,
    traffic: Arc<Traffic>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, NodeStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Starts a node. It listens when this returns; peers come in their own time.
    pub(crate) async fn start(
        config: NodeConfig,
        service: Arc<dyn Service>,
    ) -> Result<Self, NodeError> {
        let peer_id = config.keypair.public().to_peer_id();
        let shared = Arc::new(Shared {
            peer_id,
            peers: watch::Sender::default(),
            status: Mutex::new(NodeStatus::default()),
            traffic: Arc::default(),
        });
        let (commands, receiver) = mpsc::channel(WAITING_COMMANDS);
        let driver = Driver::start(config, service, Arc::clone(&shared), receiver).await?;
        tokio::spawn(driver.run());
        Ok(Self { shared, commands, look_ups: Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE)) })
    }

    /// Who this node is.
    #[cfg(test)]
    pub(crate) fn peer_id(&self) -> PeerId {
        self.shared.peer_id
    }

    /// Asks `peer`, which is dialled if there is no connection and an address is known, and waits
    /// for the answer: 60 s for [`Request::Store`], 5 s for others.
    pub(crate) async fn ask(&self, peer: PeerId, request: Request) -> Result<Response, AskError> {
        let timeout = answer_timeout(&request);
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let command = Command::Ask { peer, request, reply };
            self.commands.send(command).await.map_err(|_| AskError::ShutDown)?;
            answer.await.unwrap_or(Err(AskError::ShutDown))
        };
        time::timeout(timeout, asking).await.unwrap_or(Err(AskError::TimedOut))
    }

    /// Opens a transfer stream to `peer`, which is dialled if there is no connection.
    pub(crate) async fn open(&self, peer: PeerId) -> Result<libp2p::Stream, OpenError> {
        let (reply, stream) = oneshot::channel();
        let opening = async {
            let command = Command::Open { peer, reply };
            self.commands.send(command).await.map_err(|_| OpenError::ShutDown)?;
            // A handler is dropped with its connection.
            stream.await.unwrap_or(Err(OpenError::Unreachable))
        };
        time::timeout(OPEN_TIMEOUT, opening).await.unwrap_or(Err(OpenError::TimedOut))
    }

    /// The peers that are closest to `key`, up to 20, the closest first, by asking the network.
    /// This node is not among them.
    ///
    /// Kademlia hashes what it looks up, so this goes by the distance of [`Key::hashed`] to
    /// [`Key::of_peer`]; whoever places something where look-ups lead has to do so, too.
    pub(crate) async fn closest(&self, key: Key) -> Vec<PeerId> {
        let (reply, found) = oneshot::channel();
        self.look_up(|place| LookUp::Closest { key, reply, _place: place }).await;
        found.await.unwrap_or_default()
    }

    /// Puts this node on record as a provider of `key`, with the peers closest to it, until the
    /// node ends or takes it back. The record is renewed by itself.
    pub(crate) async fn provide(&self, key: Key) {
        let (reply, done) = oneshot::channel();
        self.look_up(|place| LookUp::Provide { key, reply, _place: place }).await;
        let _ = done.await;
    }

    /// Takes this node off the record as a provider of `key`, which it renews no more. Others who keep
    /// it do so until it runs out, in three hours at most.
    pub(crate) async fn withdraw(&self, key: Key) {
        let _ = self.commands.send(Command::Withdraw(key)).await;
    }

    /// Peers that are on record as providers of `key`, at most 64 in no order. Nobody has verified
    /// that they are.
    pub(crate) async fn providers(&self, key: Key) -> Vec<PeerId> {
        let (reply, found) = oneshot::channel();
        let none = HashSet::new();
        self.look_up(|place| LookUp::Providers { key, reply, found: none, _place: place }).await;
        found.await.unwrap_or_default()
    }

    async fn look_up(&self, look_up: impl FnOnce(OwnedSemaphorePermit) -> LookUp) {
        // Nobody closes the semaphore; who finds the task gone finds the reply gone, too.
        if let Ok(place) = Arc::clone(&self.look_ups).acquire_owned().await {
            let _ = self.commands.send(Command::LookUp(look_up(place))).await;
        }
    }

    /// Charges `peer` for a message with so many forged records, as for one that makes no sense.
    pub(crate) async fn charge_forged(&self, peer: PeerId, records: usize) {
        let _ = self.commands.send(Command::ChargeForged { peer, records }).await;
    }

    /// The live peers: those who are connected and speak this network's protocols.
    pub(crate) fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.shared.peers.borrow())
    }

    /// What the node is doing, as of a quarter of a second ago at most.
    pub(crate) fn status(&self) -> NodeStatus {
        self.shared.status().clone()
    }

    /// Stops serving, closes all connections and ends the task. Returns when it has ended.
    pub(crate) async fn shut_down(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::ShutDown(done)).await.is_ok() {
            let _ = ended.await;
        }
        self.commands.closed().await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("peer_id", &self.shared.peer_id).finish_non_exhaustive()
    }
}
