//! Copies that are said to be there and are not.

use futures_util::future::join_all;

use tempfile::TempDir;

use super::support::{Evil, Honest, Serving, Wiles, content, database, eventually, sign};
use crate::protocol::{CopyOf, Receipt, Request, Response};
use crate::record::NameRecord;
use crate::shared::now;

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

/// A holder that was away hears of the name that was taken anew, and never that it was deleted before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_missed_a_deletion_holds_no_copy_of_what_came_after_until_it_has_one() {
    let directory = TempDir::new().unwrap();
    let owner = Honest::start(Vec::new()).await;
    let holder = Honest::on(directory.path(), owner.addresses()).await;
    owner.until_peers(1).await;
    owner.register("utils", "double").await;
    assert_eq!((owner.replicas("utils"), holder.status().records.held), (1, 1));
    drop(holder);
    drop(database(directory.path()).await);
    eventually("it is gone", async || owner.status().peers.is_empty().then_some(())).await;

    owner.delete("utils").await;
    owner.register("utils", "triple").await;
    let record = owner.shared().knowledge().index.own().next().cloned().unwrap();
    let holder = Honest::on(directory.path(), owner.addresses()).await;
    eventually("it has what the name means now", async || {
        // In this order: what is counted has to be there.
        let counted = owner.replicas("utils");
        let is_there = holder.shared().has_content(&record).await.unwrap();
        assert!(counted == 0 || is_there, "a copy is counted that is not there");
        (counted == 1 && is_there).then_some(())
    })
    .await;
    let asking = Evil::start(Wiles::serving(Serving::Nothing), &[&holder]).await;
    let current = CopyOf::record(&record);
    let before = CopyOf { module: content(b"double").module, ..current };
    let answer = asking.ask(&holder, Request::Holds(vec![before, current])).await;
    assert_eq!(answer, Response::Held(vec![current]));
    owner.shared().audit_one().await;
    assert_eq!((owner.refused("false_copies"), holder.status().records.held), (0, 1));
    holder.until_loads(&owner.canonical("utils"), b"triple").await;
}

/// It hears so while it is a holder of what the name meant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_name_meant_goes_when_only_what_it_means_now_is_heard() {
    let [one, holder] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&holder]).await;
    for wasm in ["double", "triple"] {
        one.register("", wasm).await;
    }
    let first = evil.record("utils", content(b"double"));
    let anew = first.deleted(now()).unwrap().given(content(b"triple"), now()).unwrap();
    let [first, anew] = [first, anew].map(|record| sign(&evil.keypair, &record));
    assert_eq!(evil.store(&holder, &first).await, Receipt::Stored);
    evil.announce(&holder, vec![anew.clone()]).await;
    assert_eq!(holder.status().records.held, 0);
    assert_eq!(evil.store(&holder, &anew).await, Receipt::Stored);
    assert_eq!(holder.status().records.held, 1);
    holder.until_loads(&format!("{}:utils", evil.id()), b"triple").await;
}
