//! Many nodes: a third of them malicious, a third of them dying, and as many as fit in a process.

use std::collections::HashSet;

use futures_util::future::join_all;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use tokio::sync::Mutex;

use super::support::{Evil, Honest, SERVINGS, Wiles, content, eventually, first, forge, sign};
use crate::Key;
use crate::node::PeerBounds;
use crate::protocol::{Entry, Request, Response};
use crate::record::NameRecord;

/// Whose turn it is: these have hundreds of connections each.
static TURN: Mutex<()> = Mutex::const_new(());

/// Lies in everything: says that it holds what it is asked for, and tells of forged records and of
/// its own as if they were the ones that were asked for.
fn liar(number: usize, victims: &[PeerId]) -> Wiles {
    let keypair = Keypair::generate_ed25519();
    let mut records = vec![sign(&keypair, &first(&keypair, "honest0", content(b"evil")))];
    for (of, victim) in victims.iter().enumerate() {
        let name = format!("honest{of}");
        let record = first(&keypair, &name, content(b"evil"));
        records.push(forge(&keypair, &NameRecord { owner: *victim, sequence: 9, ..record }));
    }
    let serving = SERVINGS[number % SERVINGS.len()];
    Wiles::new(serving, move |request| match request {
        Request::Find(_) => Some(Response::Records(records.clone())),
        Request::Pages(pages) => {
            let entry = |from: &Key| {
                let key = Key::from_bytes([from.as_bytes()[0]; Key::BYTES]);
                vec![Entry { key, hash: key }]
            };
            Some(Response::Pages(pages.iter().map(entry).collect()))
        }
        _ => None,
    })
}

fn wasm(number: usize) -> String {
    format!("the module of node {number}")
}

/// Every name loads on every node.
async fn all_load(nodes: &[Honest], names: &[(String, String)]) {
    join_all(nodes.iter().map(async |node| {
        for (name, wasm) in names {
            node.until_loads(name, wasm.as_bytes()).await;
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_of_liars_forges_nothing_and_hides_nothing() {
    let _turn = TURN.lock().await;
    let nodes = Honest::network(20).await;
    let victims: Vec<_> = nodes.iter().map(Honest::id).collect();
    let all: Vec<_> = nodes.iter().collect();
    let liars = (0..10).map(|number| Evil::start(liar(number, &victims), &all));
    let liars = join_all(liars).await;
    let registering = nodes.iter().enumerate().map(async |(number, node)| {
        let name = format!("honest{number}");
        // A liar that says nothing may take as long as a copy may; it is made later.
        let _ = node.try_register(&name, wasm(number)).await;
        (node.canonical(&name), wasm(number))
    });
    let names = join_all(registering).await;
    all_load(&nodes, &names).await;
    assert!(liars.iter().all(|liar| liar.asked() > 0));
    for node in &nodes {
        let knowledge = node.shared().knowledge();
        let evil = content(b"evil").module;
        let mut owners = knowledge.index.by_module(&evil).map(|record| record.record().owner);
        assert!(owners.all(|owner| !victims.contains(&owner)));
    }
}

/// Those of the nodes, `count` of them, that can go without the last copy of anything going, too.
fn expendable(nodes: &[Honest], names: &[(String, String)], count: usize) -> HashSet<PeerId> {
    let keys: Vec<Key> = names
        .iter()
        .map(|(name, _)| {
            let (owner, label) = name.split_once(':').unwrap();
            let network = &nodes[0].shared().network;
            NameRecord::key_of(network, &owner.parse().unwrap(), &label.parse().unwrap())
        })
        .collect();
    let mut gone = HashSet::new();
    for node in nodes {
        let is_left = |key: &Key| {
            nodes.iter().any(|other| {
                let is_there = other.id() != node.id() && !gone.contains(&other.id());
                is_there && other.shared().knowledge().repair.holds(key)
            })
        };
        if gone.len() < count && keys.iter().all(is_left) {
            gone.insert(node.id());
        }
    }
    gone
}

/// Three copies do not outlive the loss of all three at once, so of each name one is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_may_die_at_once() {
    let _turn = TURN.lock().await;
    let mut nodes = Honest::network(40).await;
    let registering = nodes.iter().take(16).enumerate().map(async |(number, node)| {
        // What is not copied in time on a busy machine is copied later.
        let _ = node.try_register("utils", wasm(number)).await;
        eventually("there are copies", async || (node.replicas("utils") >= 2).then_some(())).await;
        (node.canonical("utils"), wasm(number))
    });
    let names = join_all(registering).await;
    let gone = expendable(&nodes, &names, 12);
    assert_eq!(gone.len(), 12);
    nodes.retain(|node| !gone.contains(&node.id()));
    all_load(&nodes, &names).await;
    eventually("everything has its copies again", async || {
        let whole = nodes.iter().all(|node| {
            let replication = node.status().replication;
            replication.under_replicated == 0 && replication.pending == 0
        });
        whole.then_some(())
    })
    .await;
}

/// What one of so many registers loads on all, each of them connected to so few that nobody is to
/// all who could have a copy.
async fn loads_on_all(count: usize) {
    let _turn = TURN.lock().await;
    let bounds = PeerBounds {
        connections: 24,
        inbound_connections: 16,
        wanted_peers: 8,
        ..PeerBounds::default()
    };
    let mut nodes = vec![Honest::with(Vec::new(), bounds.clone()).await];
    while nodes.len() < count {
        let through = nodes[(nodes.len() - 1) / 4].addresses();
        nodes.push(Honest::with(through, bounds.clone()).await);
    }
    let owner = &nodes[count - 1];
    owner.until_peers(2).await;
    let _ = owner.try_register("utils", "double").await;
    let names = [(owner.canonical("utils"), "double".to_owned())];
    all_load(&nodes, &names).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_many_registers_loads_on_all() {
    loads_on_all(50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes of two cores"]
async fn what_one_of_very_many_registers_loads_on_all() {
    loads_on_all(300).await;
}
