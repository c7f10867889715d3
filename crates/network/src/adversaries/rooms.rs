//! Floods, and nodes without room.

use bytes::Bytes;
use libp2p::identity::Keypair;
use wasm_exec_registry::{RegistryError, StorageError};

use super::support::{Evil, Honest, Serving, Wiles, content, eventually, first, sign};
use crate::fetching::MAX_CLOSURE_BYTES;
use crate::held::{Held, HoldingLimits};
use crate::index::{Index, IndexLimits};
use crate::node::PeerBounds;
use crate::protocol::{Receipt, Refusal};
use crate::record::{Content, NameRecord};

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

/// Has the index of a node full with records of owners who have as many each.
pub(super) async fn fill(honest: &Honest, evil: &Evil, owners: usize, of_each: usize) {
    let limits = IndexLimits { records: owners * of_each, per_owner: of_each };
    honest.shared().knowledge().index = Index::new(limits, honest.id());
    for _ in 0..owners {
        evil.announce(honest, records(&Keypair::generate_ed25519(), of_each)).await;
    }
    assert_eq!(honest.status().records.known as usize, owners * of_each);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_index_has_room_for_newcomers() {
    let honest = Honest::start(Vec::new()).await;
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&honest]).await;
    fill(&honest, &evil, 5, 20).await;
    let newcomer = Keypair::generate_ed25519();
    evil.announce(&honest, records(&newcomer, 10)).await;
    let of = |owner: &Keypair| {
        let owner = owner.public().to_peer_id();
        let names = (0..20).map(|number| format!("name{number}").parse().unwrap());
        let knowledge = honest.shared().knowledge();
        names.filter(|name| knowledge.index.of_name(&owner, name).is_some()).count()
    };
    assert_eq!(of(&newcomer), 10);
    assert_eq!(honest.status().records.known, 100);
    // Whoever is refused is so again, and its records need not be told again.
    let late = Keypair::generate_ed25519();
    evil.announce(&honest, records(&late, 20)).await;
    let let_in = of(&late);
    assert!((10..20).contains(&let_in), "{let_in}");
    let before = honest.refused("names");
    assert!(before > 0, "it is counted");
    evil.announce(&honest, records(&late, 20)).await;
    assert_eq!(of(&late), let_in);
}

/// A crowd of owners with one record each leaves no room for others, who are found by asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_without_room_are_found_by_asking_and_copies_are_kept() {
    let nodes = Honest::network(3).await;
    let [owner, holder, caller] = <[Honest; 3]>::try_from(nodes).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&holder, &caller]).await;
    for node in [&holder, &caller] {
        fill(node, &evil, 50, 1).await;
    }
    // It holds nothing for others, so that all it can do is to ask.
    let nothing = HoldingLimits { bytes: 0, bytes_per_owner: 0, records: 0 };
    caller.shared().knowledge().held = Held::new(nothing);
    let _ = owner.try_register("utils", "double").await;
    eventually("there is a copy", async || (owner.replicas("utils") >= 1).then_some(())).await;
    assert_eq!(holder.status().records.held, 1);
    let name = owner.canonical("utils");
    let resolved = eventually("it is found", async || caller.resolve(&name).await.ok()).await;
    assert_eq!(resolved, content(b"double").module);
    // What is held stays known, whoever comes.
    fill_again(&holder, &evil).await;
    drop(owner);
    holder.until_loads(&name, b"double").await;
}

/// Tells a node whose index is full of as many more owners.
async fn fill_again(honest: &Honest, evil: &Evil) {
    for _ in 0..50 {
        evil.announce(honest, records(&Keypair::generate_ed25519(), 1)).await;
    }
}

/// Whoever passes on what it hears keeps to what its peers take, however much that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_is_passed_on_floods_nobody() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&one]).await;
    for _ in 0..16 {
        evil.announce(&one, records(&Keypair::generate_ed25519(), 64)).await;
    }
    assert_eq!(one.status().records.known, 1024);
    eventually("all of it is known", async || (two.status().records.known == 1024).then_some(()))
        .await;
    for node in [&one, &two] {
        assert_eq!([node.refused("over_rate"), node.refused("bans")], [0, 0]);
    }
}

/// It is this node's disk that has no room, not the network that does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_called_where_nothing_may_be_held_is_told_as_a_full_disk() {
    let [owner, caller] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let nothing = HoldingLimits { bytes: 0, bytes_per_owner: 0, records: 0 };
    caller.shared().knowledge().held = Held::new(nothing);
    let _ = owner.try_register("utils", "double").await;
    let name = owner.canonical("utils");
    eventually("it is known", async || caller.resolve(&name).await.ok()).await;
    let error = caller.try_load(&name).await.unwrap_err();
    assert!(matches!(error, RegistryError::Storage(StorageError::Full(_))), "{error:?}");
}

/// More than fits in memory is refused by what its record says, before anything is fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closures_beyond_the_bound_are_not_begun() {
    let honest = Honest::start(Vec::new()).await;
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&honest]).await;
    let large = Content { bytes: MAX_CLOSURE_BYTES + 1, ..content(b"evil") };
    let receipt = evil.store(&honest, &evil.signed("large", large)).await;
    assert_eq!(receipt, Receipt::Refused(Refusal::TooMuch));
    assert_eq!(evil.streams(), 0);
    assert!(honest.load(&format!("{}:large", evil.id())).await.is_none());
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

/// What a node writes beside a module goes with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_module_leaves_nothing_but_its_tombstone() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let lists = async |node: &Honest| {
        let prefix = Bytes::from_static(b"network/contents/");
        let page = node.shared().library.local().rows(prefix, None, 10).await.unwrap();
        page.rows.len()
    };
    for name in ["utils", "other@1.0.0"] {
        one.register(name, name).await;
    }
    // The same module under another name keeps what belongs to it.
    one.register("again", "utils").await;
    for node in [&one, &two] {
        assert_eq!(lists(node).await, 2);
    }
    one.delete("utils").await;
    assert_eq!(lists(&one).await, 2);
    one.delete("again").await;
    one.delete("other@1.0.0").await;
    assert_eq!(lists(&one).await, 0);
    eventually("the copies go, too", async || (lists(&two).await == 0).then_some(())).await;
}

/// The only peer between two nodes has no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_peer_has_is_fetched_from_farther_away() {
    let bounds = || PeerBounds { wanted_peers: 0, ..PeerBounds::default() };
    let between = Honest::with(Vec::new(), bounds()).await;
    between.shared().knowledge().held =
        Held::new(HoldingLimits { bytes: 0, bytes_per_owner: 0, records: 0 });
    let owner = Honest::with(between.addresses(), bounds()).await;
    let caller = Honest::with(between.addresses(), bounds()).await;
    between.until_peers(2).await;
    let _ = owner.try_register("utils", "double").await;
    assert_eq!((owner.replicas("utils"), caller.status().peers.len()), (0, 1));
    caller.until_loads(&owner.canonical("utils"), b"double").await;
}
