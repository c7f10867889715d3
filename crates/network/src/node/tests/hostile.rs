//! Peers that do what they must not, and whom it hurts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, Transport as _, identify, noise, yamux};
use tokio::sync::{mpsc, oneshot};

use super::support::{Deeds, address, asks, config, eventually, pair, question, start, start_with};
use crate::node::behaviour::Protocols;
use crate::node::streams::{self, Reply};
use crate::node::{AskError, Node, NodeConfig, PeerBounds};
use crate::protocol::{MAX_REQUEST_BYTES, Receipt, Refusal, Request, Response};

/// An address that leads to whoever uses it.
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/4001";

/// A peer that looks like one of the network and says what it wants on the store protocol.
struct Hostile {
    peer_id: PeerId,
    target: PeerId,
    wanted: mpsc::Sender<Reply>,
}

#[derive(NetworkBehaviour)]
struct Disguise {
    identify: identify::Behaviour,
    store: streams::Behaviour,
}

impl Hostile {
    /// One that connects to `target`, as often as it is disconnected.
    fn start(target: &Node) -> Self {
        let keypair = Keypair::generate_ed25519();
        let peer_id = keypair.public().to_peer_id();
        let protocols = Protocols::of(&config().network);
        let transport = MemoryTransport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let behaviour = Disguise {
            identify: identify::Behaviour::new(identify::Config::new(
                "hostile".into(),
                keypair.public(),
            )),
            store: streams::Behaviour::new(protocols.store),
        };
        let settings = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(3600));
        let mut swarm = Swarm::new(transport, behaviour, peer_id, settings);
        // It says that it is also where this machine is.
        swarm.add_external_address(LOOPBACK.parse().unwrap());
        let (wanted, requests) = mpsc::channel(1);
        tokio::spawn(Self::run(swarm, address(target), target.peer_id(), requests));
        Self { peer_id, target: target.peer_id(), wanted }
    }

    async fn run(
        mut swarm: Swarm<Disguise>,
        at: Multiaddr,
        target: PeerId,
        mut wanted: mpsc::Receiver<Reply>,
    ) {
        swarm.dial(at.clone()).unwrap();
        loop {
            tokio::select! {
                event = swarm.select_next_some() => {
                    if let SwarmEvent::ConnectionClosed { .. } = event {
                        let _ = swarm.dial(at.clone());
                    }
                }
                reply = wanted.recv() => match reply {
                    Some(reply) => swarm.behaviour_mut().store.open(target, reply),
                    None => return,
                },
            }
        }
    }

    /// A stream on the store protocol, while it is let in.
    async fn open(&self) -> Option<Stream> {
        let (reply, stream) = oneshot::channel();
        self.wanted.send(reply).await.unwrap();
        stream.await.ok()?.ok()
    }

    /// Sends `bytes` as a request, and returns how many come back.
    async fn say(&self, bytes: &[u8]) -> Option<usize> {
        let mut stream = self.open().await?;
        stream.write_all(bytes).await.ok()?;
        stream.close().await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()
    }

    async fn is_let_in_by(&self, node: &Node) {
        eventually("it is let in", || node.peers().contains(&self.peer_id)).await;
        assert_eq!(node.peer_id(), self.target);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_lead_here_are_not_believed_of_peers_elsewhere() {
    let node = start(config()).await;
    let hostile = Hostile::start(&node);
    hostile.is_let_in_by(&node).await;
    let peers = node.peers();
    let addresses = &peers.get(&hostile.peer_id).unwrap().addresses;
    assert!(!addresses.contains(&LOOPBACK.parse().unwrap()), "{addresses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_refused_and_going_on_with_it_is_a_ban() {
    let [node, friend] = pair(config(), config()).await;
    let hostile = Hostile::start(&node);
    hostile.is_let_in_by(&node).await;

    assert!(hostile.say(b"nonsense").await > Some(0), "it is told that this is refused");
    eventually("it is counted", || node.status().refusals.malformed == 1).await;
    asks(&friend, &node).await;

    eventually_banned(&node, &hostile, b"nonsense").await;
    assert!(hostile.open().await.is_none(), "it is not let in again");
    eventually("its attempts are counted", || node.status().refusals.connections > 0).await;
    asks(&friend, &node).await;
    asks(&node, &friend).await;
    assert_eq!(node.status().banned_peers, 1);
}

/// Says `bytes` until it is banned.
async fn eventually_banned(node: &Node, hostile: &Hostile, bytes: &[u8]) {
    for _ in 0..1000 {
        if node.status().refusals.bans > 0 {
            break;
        }
        hostile.say(bytes).await;
    }
    eventually("it is banned", || {
        node.status().refusals.bans == 1 && !node.peers().contains(&hostile.peer_id)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_too_long_is_not_read_to_its_end() {
    let [node, friend] = pair(config(), config()).await;
    let hostile = Hostile::start(&node);
    hostile.is_let_in_by(&node).await;

    let mut stream = hostile.open().await.unwrap();
    let piece = vec![b'['; 64 << 10];
    let mut sent = 0;
    let endless = async {
        while stream.write_all(&piece).await.is_ok() {
            sent += piece.len() as u64;
        }
        // It is not told when to stop: it waits for room that never comes.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = endless => {}
        () = eventually("it is counted", || node.status().refusals.malformed == 1) => {}
    }
    assert!(sent < 100 * MAX_REQUEST_BYTES, "the node goes on reading");
    asks(&friend, &node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_never_end_take_nothing_from_others() {
    let [node, friend] = pair(config(), config()).await;
    let hostile = Hostile::start(&node);
    hostile.is_let_in_by(&node).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut stream = hostile.open().await.unwrap();
        let _ = stream.write_all(&[0x80]).await;
        let _ = stream.flush().await;
        held.push(stream);
    }
    asks(&friend, &node).await;
    eventually("the node has stopped waiting", || node.status().refusals.malformed >= 30).await;
    asks(&friend, &node).await;
}

/// An answer takes its place until it is taken, so whoever does not read them soon gets no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_take_the_places_of_who_asked_alone() {
    // `Find` of nothing, in CBOR.
    const FIND: &[u8] = b"\xa1\x64Find\x80";
    let bounds = PeerBounds { requests_at_once: 4, ..PeerBounds::default() };
    let [node, friend] = pair(NodeConfig { bounds, ..config() }, config()).await;
    let hostile = Hostile::start(&node);
    hostile.is_let_in_by(&node).await;
    let mut unread = Vec::new();
    for _ in 0..5 {
        let mut stream = hostile.open().await.unwrap();
        stream.write_all(FIND).await.unwrap();
        stream.close().await.unwrap();
        unread.push(stream);
    }
    eventually("one is refused", || node.status().refusals.requests == 1).await;
    asks(&friend, &node).await;
    drop(unread);
    // Its places come back when it gives up.
    for _ in 0..1000 {
        if hostile.say(FIND).await > Some(1 << 19) {
            return;
        }
        // Slowly enough to stay within its rate.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is not answered again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_refused_then_the_peer_is_banned() {
    let bounds = PeerBounds {
        requests_per_second: 1,
        request_burst: 20,
        patience: 1,
        ban: Duration::from_secs(5),
        ..PeerBounds::default()
    };
    let node = start(NodeConfig { bounds, ..config() }).await;
    let peers = vec![address(&node)];
    let [flooding, friend] = [
        start(NodeConfig { peers: peers.clone(), ..config() }).await,
        start(NodeConfig { peers, ..config() }).await,
    ];
    eventually("they have met", || node.peers().len() == 2).await;

    let (request, response) = question(1);
    let mut refused = 0;
    let error = loop {
        match flooding.ask(node.peer_id(), request.clone()).await {
            Ok(Response::Refused(Refusal::Busy)) => refused += 1,
            Ok(answer) => assert_eq!(answer, response),
            Err(error) => break error,
        }
    };
    assert!(refused > 0);
    assert!(matches!(error, AskError::Unreachable | AskError::Malformed), "{error}");
    eventually("it is banned", || node.peers().len() == 1).await;
    eventually("it is counted", || node.status().refusals.over_rate > 0).await;
    asks(&friend, &node).await;
    eventually("it is let in again", || node.peers().len() == 2).await;
    asks(&flooding, &node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_answers_hold_up_nobody_and_are_bounded() {
    let deeds = Arc::new(Deeds::default());
    let bounds = PeerBounds { requests_at_once: 4, ..PeerBounds::default() };
    let node = start_with(NodeConfig { bounds, ..config() }, Arc::clone(&deeds)).await;
    let peers = vec![address(&node)];
    let [busy, friend] = [
        start(NodeConfig { peers: peers.clone(), ..config() }).await,
        start(NodeConfig { peers, ..config() }).await,
    ];
    eventually("they have met", || node.peers().len() == 2).await;

    let store = || busy.ask(node.peer_id(), Request::Store(Bytes::from_static(b"record")));
    let stores = async { join_all((0..6).map(|_| store())).await };
    let others = async {
        eventually("four are being answered, two are refused", || {
            deeds.storing.load(Ordering::SeqCst) == 4 && node.status().refusals.requests == 2
        })
        .await;
        asks(&friend, &node).await;
        asks(&node, &busy).await;
        deeds.stores.add_permits(4);
    };
    let (answers, ()) = tokio::join!(stores, others);
    let stored = Ok(Response::Receipt(Receipt::Stored));
    assert_eq!(answers.iter().filter(|answer| **answer == stored).count(), 4);
    let refused = Ok(Response::Refused(Refusal::Busy));
    assert_eq!(answers.iter().filter(|answer| **answer == refused).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_not_asked_more_than_may_wait() {
    let deeds = Arc::new(Deeds::default());
    let node = start_with(config(), Arc::clone(&deeds)).await;
    let bounds = PeerBounds { asks_at_once: 2, ..PeerBounds::default() };
    let asking = start(NodeConfig { peers: vec![address(&node)], bounds, ..config() }).await;
    eventually("they have met", || asking.peers().len() == 1).await;
    let ask = || asking.ask(node.peer_id(), Request::Store(Bytes::new()));
    let third = async {
        eventually("two are being answered", || deeds.storing.load(Ordering::SeqCst) == 2).await;
        assert_eq!(ask().await, Err(AskError::TooMany));
        deeds.stores.add_permits(2);
    };
    let (first, second, ()) = tokio::join!(ask(), ask(), third);
    let stored = Ok(Response::Receipt(Receipt::Stored));
    assert_eq!([first, second], [stored.clone(), stored]);
}
