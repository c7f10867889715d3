//! Copies that are said to be there and are not.

use futures_util::future::join_all;

use super::support::{Evil, Honest, Serving, Wiles, eventually};
use crate::record::NameRecord;

/// A name of which `evil` should have a copy before all others.
fn name_for(owner: &Honest, evil: &Evil) -> String {
    let is_first = |name: &String| {
        let name = name.parse().unwrap();
        let key = NameRecord::key_of(&owner.shared().network, &owner.id(), &name);
        let knowledge = owner.shared().knowledge();
        let mut others = knowledge.repair.live().nearest(&key).filter(|peer| **peer != owner.id());
        others.next() == Some(&evil.id())
    };
    (0..).map(|number| format!("name{number}")).find(is_first).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_that_it_holds_what_it_does_not_is_found_out_and_others_hold_it() {
    join_all([Serving::Nothing, Serving::WrongBytes, Serving::ShortLength].map(found_out)).await;
}

async fn found_out(serving: Serving) {
    let nodes = Honest::network(3).await;
    let owner = &nodes[0];
    let honest: Vec<_> = nodes.iter().collect();
    let evil = Evil::start(Wiles::serving(serving), &honest).await;
    let name = name_for(owner, &evil);
    owner.register(&name, vec![7; 100_000]).await;
    assert_eq!(owner.replicas(&name), 2, "the liar is believed");
    eventually(&format!("{serving:?} is found out"), async || {
        owner.shared().audit_one().await;
        (owner.refused("false_copies") > 0).then_some(())
    })
    .await;
    for node in &nodes[1..] {
        eventually("others hold it", async || (node.status().records.held == 1).then_some(()))
            .await;
    }
    eventually("it is known", async || (owner.replicas(&name) == 2).then_some(())).await;
    // It is asked for nothing any more, though it goes on saying that it has everything.
    owner.register("another", "double").await;
    let is_doubted = {
        let knowledge = owner.shared().knowledge();
        !knowledge.repair.is_believed(owner.shared().elapsed(), &evil.id())
    };
    assert!(is_doubted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_what_it_says_passes_and_who_let_go_of_it_is_not_blamed() {
    let nodes = Honest::network(3).await;
    let owner = &nodes[0];
    owner.register("utils", vec![7; 100_000]).await;
    for _ in 0..10 {
        owner.shared().audit_one().await;
    }
    assert_eq!((owner.replicas("utils"), owner.refused("false_copies")), (2, 0));

    // One of them loses it, and says so when it is asked.
    let record = owner.shared().knowledge().index.own().next().cloned().unwrap();
    let loser = nodes[1].shared();
    loser.knowledge().repair.released(&record.key());
    loser.release(&record, Vec::new()).await;
    eventually("that is known, or mended", async || {
        owner.shared().audit_one().await;
        (nodes[1].status().records.held == 1).then_some(())
    })
    .await;
    assert_eq!(owner.refused("false_copies"), 0);
}
