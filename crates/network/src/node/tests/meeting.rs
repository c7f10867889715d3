//! Nodes find each other, and part.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libp2p::pnet::PreSharedKey;

use super::support::{
    Deeds, address, asks, config, eventually, finds, meet, on_loopback, pair, question, start,
    start_with,
};
use crate::Key;
use crate::node::{AskError, Direction, NodeConfig, NodeError, OpenError, PeerBounds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_ask_each_other() {
    for (one, other) in [
        (config(), config()),
        (on_loopback("/ip4/127.0.0.1/tcp/0"), on_loopback("/ip4/127.0.0.1/tcp/0")),
        (on_loopback("/ip4/127.0.0.1/udp/0/quic-v1"), on_loopback("/ip4/127.0.0.1/udp/0/quic-v1")),
    ] {
        let [one, other] = pair(one, other).await;
        asks(&one, &other).await;
        asks(&other, &one).await;

        let peers = other.peers();
        let peer = peers.get(&one.peer_id()).unwrap();
        assert_eq!(peer.direction, Direction::Outbound);
        assert!(!peer.relayed);
        assert_eq!(peer.agent, "test");
        assert!(!peer.addresses.is_empty());
        eventually("the round-trip time is known", || {
            one.peers().iter().all(|peer| peer.rtt.is_some())
        })
        .await;
        eventually("traffic is counted", || {
            let status = one.status();
            status.received_bytes > 0 && status.sent_bytes > 0 && status.routable_peers == 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_may_be_behind_routers_ask_each_other() {
    let config = || NodeConfig { local_only_mode: false, ..on_loopback("/ip4/127.0.0.1/tcp/0") };
    let [one, other] = pair(config(), config()).await;
    asks(&one, &other).await;
    asks(&other, &one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_find_each_other_from_one() {
    let first = start(config()).await;
    let mut nodes = vec![first];
    for _ in 1..50 {
        nodes.push(start(NodeConfig { peers: vec![address(&nodes[0])], ..config() }).await);
    }
    eventually("everybody has found enough", || {
        nodes.iter().all(|node| node.status().routable_peers >= 20)
    })
    .await;

    for number in 0..5 {
        let key = Key::of(&[number]);
        let asking = &nodes[usize::from(number) * 7];
        let mut all: Vec<_> = nodes
            .iter()
            .map(|node| node.peer_id())
            .filter(|peer| *peer != asking.peer_id())
            .collect();
        all.sort_by_key(|peer| key.hashed().distance(&Key::of_peer(peer)));
        finds("the closest", &all[..20], || asking.closest(key)).await;
    }

    let key = Key::of(b"provided");
    nodes[11].provide(key).await;
    nodes[12].provide(key).await;
    let mut expected = vec![nodes[11].peer_id(), nodes[12].peer_id()];
    expected.sort();
    finds("the providers", &expected, || async {
        let mut providers = nodes[40].providers(key).await;
        providers.sort();
        providers
    })
    .await;
    assert_eq!(nodes[3].providers(Key::of(b"not provided")).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_comes_back_by_what_it_remembers() {
    let coming = config();
    let [staying, node] = pair(config(), coming.clone()).await;
    let known: Vec<_> = node.peers().iter().map(|peer| (peer.id, peer.addresses.clone())).collect();
    node.shut_down().await;
    eventually("it is gone", || staying.peers().is_empty()).await;

    let node = start(NodeConfig { known, ..coming }).await;
    meet(&[&staying, &node]).await;
    asks(&node, &staying).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_peer_is_dialled_again() {
    let listening = config();
    let [one, other] = pair(listening.clone(), config()).await;
    let listen = one.status().addresses.clone();
    one.shut_down().await;
    eventually("it is gone", || other.peers().is_empty()).await;
    let again = start(NodeConfig { listen, ..listening }).await;
    meet(&[&again, &other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_two_networks_never_see_each_other_as_live() {
    let deeds = Arc::new(Deeds::default());
    let one = start_with(config(), Arc::clone(&deeds)).await;
    let stranger = start(NodeConfig {
        network: Key::of(b"another network"),
        peers: vec![address(&one)],
        ..config()
    })
    .await;
    eventually("they have met", || {
        one.status().refusals.strangers + stranger.status().refusals.strangers > 0
    })
    .await;
    eventually("they have parted", || one.status().inbound_connections == 0).await;
    assert_eq!(deeds.changes.load(Ordering::SeqCst), 0);
    assert!(stranger.peers().is_empty());
    let (request, _) = question(1);
    let asked = stranger.ask(one.peer_id(), request).await.unwrap_err();
    assert!(matches!(asked, AskError::Unsupported | AskError::Unreachable), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_network_lets_in_who_has_the_secret() {
    let private = |secret: u8, config: NodeConfig| NodeConfig {
        secret: Some(PreSharedKey::new([secret; 32])),
        ..config
    };
    for config in [config as fn() -> NodeConfig, || on_loopback("/ip4/127.0.0.1/tcp/0")] {
        let [one, other] = pair(private(1, config()), private(1, config())).await;
        asks(&one, &other).await;

        let peers = vec![address(&one)];
        let outsider = start(private(2, NodeConfig { peers: peers.clone(), ..config() })).await;
        let open = start(NodeConfig { peers, ..config() }).await;
        let (request, _) = question(1);
        for node in [&outsider, &open] {
            let asked = node.ask(one.peer_id(), request.clone()).await.unwrap_err();
            assert!(matches!(asked, AskError::Unreachable | AskError::TimedOut), "{asked}");
            assert!(node.peers().is_empty());
        }
        assert_eq!(one.peers().len(), 1);
    }
}

#[tokio::test]
async fn a_private_network_has_no_quic() {
    let config = NodeConfig {
        secret: Some(PreSharedKey::new([1; 32])),
        ..on_loopback("/ip4/127.0.0.1/udp/0/quic-v1")
    };
    let started = crate::node::Node::start(config, Arc::new(Deeds::default())).await;
    assert!(matches!(started, Err(NodeError::Listen { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_identity_is_noticed() {
    let one = config();
    let copy = NodeConfig { keypair: one.keypair.clone(), ..config() };
    let one = start(one).await;
    let mut at = address(&one);
    at.pop();
    let copy = start(NodeConfig { peers: vec![at], ..copy }).await;
    eventually("who dialled has noticed", || copy.status().same_identity > 0).await;
    assert!(one.peers().is_empty() && copy.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_when_all_places_are_taken_is_turned_away() {
    let bounds = PeerBounds { inbound_connections: 2, visitors: 0, ..PeerBounds::default() };
    let full = start(NodeConfig { bounds, ..config() }).await;
    let peers = vec![address(&full)];
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let bounds = PeerBounds { wanted_peers: 0, ..PeerBounds::default() };
        nodes.push(start(NodeConfig { peers: peers.clone(), bounds, ..config() }).await);
    }
    eventually("two are in and others are refused", || {
        full.peers().len() == 2 && full.status().refusals.connections >= 2
    })
    .await;
    assert!(full.status().inbound_connections <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_when_all_places_are_taken_is_told_of_others() {
    let visit = Duration::from_secs(3);
    let bounds = PeerBounds { inbound_connections: 2, visitors: 1, visit, ..PeerBounds::default() };
    let bounds = PeerBounds { wanted_peers: 0, ..bounds };
    let full = start(NodeConfig { bounds, ..config() }).await;
    let peers = vec![address(&full)];
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(start(NodeConfig { peers: peers.clone(), ..config() }).await);
    }
    eventually("all others have met", || nodes.iter().all(|node| node.peers().len() >= 4)).await;
    eventually("the visits are over", || full.status().inbound_connections <= 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_closes_everything() {
    let [one, other] = pair(config(), config()).await;
    one.shut_down().await;
    one.shut_down().await;
    eventually("the other has noticed", || other.peers().is_empty()).await;
    let (request, _) = question(1);
    assert_eq!(one.ask(other.peer_id(), request.clone()).await, Err(AskError::ShutDown));
    assert_eq!(one.open(other.peer_id()).await.err(), Some(OpenError::ShutDown));
    assert_eq!(one.closest(Key::of(b"")).await, []);
    assert_eq!(other.ask(one.peer_id(), request).await, Err(AskError::Unreachable));
}
