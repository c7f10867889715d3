//! Nodes that nobody can dial, and one that relays for them.

use std::time::Duration;

use libp2p::multiaddr::Protocol;
use tokio::time;

use super::support::{address, asks, eventually, on_loopback, question, start};
use crate::node::{Node, NodeConfig, OpenError, Transport};

/// How long AutoNAT is waited for before another node tries, and how many do.
const TRY: Duration = Duration::from_secs(15);
const MAX_TRIES: usize = 8;

/// A node of the internet, as far as loopback is one.
fn somewhere() -> NodeConfig {
    NodeConfig { local_only_mode: false, ..on_loopback("/ip4/127.0.0.1/tcp/0") }
}

/// One that nobody reaches who has not been dialled by it, with a relay.
fn behind_a_wall(relay: &Node) -> NodeConfig {
    NodeConfig { transport: Transport::Walled, peers: vec![address(relay)], ..somewhere() }
}

/// One that nobody reaches at all.
fn unreachable(relay: &Node) -> NodeConfig {
    NodeConfig { listen: Vec::new(), ..behind_a_wall(relay) }
}

async fn is_reached_through(node: &Node, relay: &Node) {
    eventually("it is reached through the relay", || {
        let status = node.status();
        let external = &status.external_addresses;
        let through = |address: &libp2p::Multiaddr| {
            let parts: Vec<_> = address.iter().collect();
            parts.contains(&Protocol::P2p(relay.peer_id())) && parts.contains(&Protocol::P2pCircuit)
        };
        !external.is_empty() && external.iter().all(through)
    })
    .await;
}

fn knows_that_it_is_reached(node: &Node) -> bool {
    let status = node.status();
    status.addresses.iter().all(|address| status.external_addresses.contains(address))
}

fn is_direct(one: &Node, other: &Node) -> bool {
    one.peers().get(&other.peer_id()).is_some_and(|peer| !peer.relayed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_know_whether_they_are_reached() {
    let first = start(somewhere()).await;
    let hidden = start(behind_a_wall(&first)).await;
    let second = start(NodeConfig { peers: vec![address(&first)], ..somewhere() }).await;
    // By who has dialled it.
    eventually("the first one knows", || knows_that_it_is_reached(&first)).await;
    is_reached_through(&hidden, &first).await;
    // By AutoNAT, which tries once; that may be too short where much else is done.
    let mut others = vec![second];
    while !others.iter().any(knows_that_it_is_reached) {
        assert!(others.len() < MAX_TRIES, "nobody knows");
        time::sleep(TRY).await;
        others.push(start(NodeConfig { peers: vec![address(&first)], ..somewhere() }).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_behind_walls_meet_at_a_relay_and_find_a_way_through() {
    let relay = start(somewhere()).await;
    let [one, other] = [start(behind_a_wall(&relay)).await, start(behind_a_wall(&relay)).await];
    for node in [&one, &other] {
        is_reached_through(node, &relay).await;
    }
    eventually("there is a direct way", || is_direct(&one, &other) && is_direct(&other, &one))
        .await;
    asks(&one, &other).await;
    assert!(one.open(other.peer_id()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_way_through_questions_are_relayed_and_content_is_not() {
    let relay = start(somewhere()).await;
    let [one, other] = [start(unreachable(&relay)).await, start(unreachable(&relay)).await];
    for node in [&one, &other] {
        is_reached_through(node, &relay).await;
    }
    eventually("they have met", || one.peers().contains(&other.peer_id())).await;
    let (request, response) = question(1);
    let answer = one.ask(other.peer_id(), request).await;
    assert!(matches!(&answer, Ok(answer) if *answer == response), "{answer:?}");
    assert!(!is_direct(&one, &other));
    assert_eq!(one.open(other.peer_id()).await.err(), Some(OpenError::Relayed));
}
