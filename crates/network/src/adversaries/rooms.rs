//! Floods, and nodes without room.

use bytes::Bytes;
use libp2p::identity::Keypair;

use super::support::{Evil, Honest, Serving, Wiles, content, eventually, first, sign};
use crate::held::{Held, HoldingLimits};
use crate::index::{Index, IndexLimits};
use crate::record::NameRecord;

fn records(owner: &Keypair, count: usize) -> Vec<Bytes> {
    let record = |number| first(owner, &format!("name{number}"), content(b"evil"));
    (0..count).map(|number| sign(owner, &record(number))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_records_takes_its_share_and_own_ones_still_fit() {
    let honest = Honest::start(Vec::new()).await;
    let limits = IndexLimits { records: 100, per_owner: 20 };
    honest.shared().knowledge().index = Index::new(limits, honest.id());
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&honest]).await;
    evil.announce(&honest, records(&evil.keypair, 64)).await;
    assert_eq!(honest.status().records.known, 20);
    // The rest of the room is for a crowd.
    for _ in 0..8 {
        evil.announce(&honest, records(&Keypair::generate_ed25519(), 20)).await;
    }
    assert_eq!(honest.status().records.known, 100);
    for number in 0..8 {
        honest.register(&format!("own{number}"), "double").await;
        honest.until_loads(&format!("own{number}"), b"double").await;
    }
    assert_eq!(honest.status().records.own, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_takes_the_place_of_a_node_without_room() {
    let nodes = Honest::network(4).await;
    let (owner, full) = (&nodes[0], &nodes[1]);
    let limits = HoldingLimits { bytes: 0, bytes_per_owner: 0, records: 0 };
    full.shared().knowledge().held = Held::new(limits);
    // A name of which the full one should have a copy.
    let is_next = |name: &String| {
        let name = name.parse().unwrap();
        let key = NameRecord::key_of(&owner.shared().network, &owner.id(), &name);
        let knowledge = owner.shared().knowledge();
        let mut others = knowledge.repair.live().nearest(&key).filter(|peer| **peer != owner.id());
        others.next() == Some(&full.id())
    };
    let name = (0..).map(|number| format!("name{number}")).find(is_next).unwrap();
    owner.register(&name, "double").await;
    assert_eq!(owner.replicas(&name), 2);
    assert_eq!(full.status().records.held, 0);
    for node in &nodes[2..] {
        eventually("it is held", async || (node.status().records.held == 1).then_some(())).await;
    }
    assert_eq!(full.resolve(&owner.canonical(&name)).await.unwrap(), content(b"double").module);
}
