//! Walls between nodes: they cannot dial each other, and there is one that relays for them.

use super::support::{Honest, eventually};
use crate::node::{NodeConfig, Transport};

/// A node that everybody can dial, and two that it relays for.
async fn parted(change: impl Fn(&mut NodeConfig)) -> [Honest; 3] {
    let over_tcp = |node: &mut NodeConfig| {
        node.local_only_mode = false;
        node.transport = Transport::Network;
        node.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    };
    let walled = |node: &mut NodeConfig| {
        over_tcp(node);
        node.transport = Transport::Walled;
        change(node);
    };
    let relay = Honest::set_up(Vec::new(), over_tcp).await;
    let one = Honest::set_up(relay.addresses(), walled).await;
    let other = Honest::set_up(relay.addresses(), walled).await;
    // Each is a peer of the other's, though only through the relay.
    for node in [&one, &other] {
        node.until_peers(2).await;
    }
    [relay, one, other]
}

/// Whether a node has a peer that it reaches through a relay alone.
fn is_relayed(node: &Honest) -> bool {
    node.shared().node().is_some_and(|node| node.peers().iter().any(|peer| peer.relayed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_registered_behind_a_wall_is_callable_behind_another() {
    let [relay, one, other] = parted(|node| node.listen.clear()).await;
    assert!(is_relayed(&one) && is_relayed(&other));
    one.register("utils", "double").await;
    // Whoever cannot be sent content is not asked to hold it.
    assert_eq!(one.replicas("utils"), 1);
    assert_eq!(relay.status().blobs.count, 1);
    other.until_loads(&one.canonical("utils"), b"double").await;
    // What nobody between them has stays where it is, whatever the relay would let through.
    let digest = one.register("", "triple").await.to_string();
    assert_eq!(other.load(&digest).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_node_behind_a_wall_has_is_fetched_through_it() {
    let [_relay, one, other] = parted(|_| {}).await;
    eventually("they have found a direct way", async || {
        (!is_relayed(&one) && !is_relayed(&other)).then_some(())
    })
    .await;
    let wasm = vec![7; 3 << 20];
    let digest = one.register("", wasm.clone()).await.to_string();
    other.until_loads(&digest, &wasm).await;
}
