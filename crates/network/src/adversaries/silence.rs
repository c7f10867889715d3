//! Peers that say nothing, or not yet, and who does not suffer from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use futures_util::future::join_all;
use libp2p::identity::Keypair;
use wasm_exec_registry::{RegisterError, RegistryError};

use super::support::{Evil, Honest, Serving, Wiles, content, eventually, first};
use crate::index::Interest;
use crate::protocol::{Receipt, Refusal, Request, Response};
use crate::record::SignedRecord;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_registered_spreads_past_a_silent_peer() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let silent = Evil::start(Wiles::silent(), &[&one, &two]).await;
    let name = one.canonical("utils");
    let (registered, ()) =
        tokio::join!(one.try_register("utils", "double"), two.until_loads(&name, b"double"));
    drop(registered);
    assert!(silent.asked() > 0);
    eventually("there is a copy", async || (one.replicas("utils") >= 1).then_some(())).await;
}

/// It is kept here, and handed on as soon as somebody takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_nobody_takes_is_told_and_made_later() {
    let takes = Arc::new(AtomicBool::new(false));
    let taking = takes.clone();
    let answers = move |request: &Request| match (request, taking.load(Ordering::SeqCst)) {
        (Request::Store(_), false) => Some(Response::Receipt(Receipt::Refused(Refusal::Busy))),
        (Request::Holds(_), false) => Some(Response::Held(Vec::new())),
        _ => None,
    };
    let honest = Honest::start(Vec::new()).await;
    let _evil = Evil::start(Wiles::answering(answers), &[&honest]).await;
    let refused = honest.try_register("utils", "double").await;
    assert!(
        matches!(refused, Err(RegisterError::NotReplicated { wanted: 1, replicas: 0, .. })),
        "{refused:?}"
    );
    honest.until_loads("utils", b"double").await;
    takes.store(true, Ordering::SeqCst);
    eventually("it is copied", async || (honest.replicas("utils") == 1).then_some(())).await;
    honest.register("utils", "double").await;
}

/// However much one peer wants held that does not come, what another wants held is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_of_one_peer_do_not_keep_others_from_theirs() {
    let holder = Honest::start(Vec::new()).await;
    let evil = Evil::start(Wiles::serving(Serving::Silent), &[&holder]).await;
    let records: Vec<_> = (0..16)
        .map(|number| evil.signed(&format!("slow{number}"), content(&[number; 40_000])))
        .collect();
    let storing = async {
        loop {
            join_all(records.iter().map(|record| evil.store(&holder, record))).await;
        }
    };
    let registering = async {
        eventually("they are under way", async || (evil.streams() >= 4).then_some(())).await;
        let owner = Honest::start(holder.addresses()).await;
        owner.until_peers(1).await;
        let _ = owner.try_register("utils", "double").await;
        eventually("it is held", async || (holder.status().records.held == 1).then_some(())).await;
    };
    tokio::select! {
        () = storing => {}
        () = registering => {}
    }
}

/// Looks up what nobody knows, and what only `knowing` does, while somebody else may know more.
async fn looks_up(node: &Honest, knowing: &Honest, name: &str) {
    let is_complete = || {
        let shared = node.shared();
        shared.knowledge().compared.is_complete(shared.elapsed())
    };
    assert!(!is_complete(), "the silent one is waited for");
    let unknown = node.resolve(name).await;
    assert!(matches!(unknown, Err(RegistryError::UnknownName(_))), "{unknown:?}");
    let keypair = Keypair::generate_ed25519();
    let record = first(&keypair, name, content(b"double"));
    let record = SignedRecord::sign(&record, &keypair).unwrap();
    knowing.shared().learn(&record, Interest::Told);
    let found = node.resolve(record.canonical_name().as_str()).await;
    assert_eq!(found.unwrap(), content(b"double").module);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_makes_no_name_doubtful() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let _silent = Evil::start(Wiles::silent(), &[&one]).await;
    looks_up(&one, &two, "utils").await;
}

/// Those who are closest are not found as long as it does not say whom it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hangs_makes_no_name_doubtful() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let (hanging, until) = mpsc::channel();
    let _hung = Evil::start(Wiles::hanging(until), &[&one]).await;
    looks_up(&one, &two, "utils").await;
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_that_comes_and_goes_makes_no_name_doubtful() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let keypair = Keypair::generate_ed25519();
    for round in 0..3 {
        let silent = Evil::start_as(keypair.clone(), Wiles::silent(), &[&one]).await;
        looks_up(&one, &two, &format!("utils{round}")).await;
        silent.node.shut_down().await;
        eventually("it is gone", async || (one.status().peers.len() == 1).then_some(())).await;
    }
}

/// Where nobody answers at all, nobody has said that there is no such name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_silent_peers_may_know_is_doubtful() {
    let honest = Honest::start(Vec::new()).await;
    let _silent = Evil::start(Wiles::silent(), &[&honest]).await;
    let unknown = honest.resolve("utils").await;
    assert!(matches!(unknown, Err(RegistryError::LookupTimeout)), "{unknown:?}");
}
