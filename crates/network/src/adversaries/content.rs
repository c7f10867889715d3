//! Content that is wrong, endless, silent or cut off, and who else is asked for it.

use futures_util::future::join_all;

use super::support::{Evil, Honest, SERVINGS, Serving, Wiles, content, eventually};
use crate::Key;
use crate::protocol::{Receipt, Refusal, Request, Response};

/// Content that differs from every other, of more than one group of chunks.
fn wasm(number: usize) -> Vec<u8> {
    let mut wasm: Vec<u8> = (0..40_000_u32).map(|index| ((index * 7) >> 3) as u8).collect();
    wasm[..8].copy_from_slice(&(number as u64).to_be_bytes());
    wasm
}

/// Each liar is the owner, who is asked before others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lies_about_content_is_passed_over() {
    let [holder, caller] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let mut liars = Vec::new();
    for (number, serving) in SERVINGS.into_iter().enumerate() {
        let liar = Evil::start(Wiles::serving(serving), &[&caller]).await;
        let wasm = if number % 2 == 0 { wasm(number) } else { format!("{serving:?}").into() };
        // Without a name, so that nobody is given a copy before it is called.
        holder.register("", wasm.clone()).await;
        liar.announce(&caller, vec![liar.signed("utils", content(&wasm))]).await;
        liars.push((liar, wasm));
    }
    let names: Vec<_> =
        liars.iter().map(|(liar, wasm)| (format!("{}:utils", liar.id()), wasm)).collect();
    join_all(names.iter().map(|(name, wasm)| caller.until_loads(name, wasm))).await;
    for (liar, _) in &liars {
        assert!(liar.streams() > 0, "{:?} was asked", liar.wiles.serving);
    }
}

/// What only a liar has is not to be had, and costs what it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_liar_has_is_not_taken() {
    let honest = Honest::start(Vec::new()).await;
    let mut liars = Vec::new();
    for serving in SERVINGS {
        liars.push(Evil::start(Wiles::serving(serving), &[&honest]).await);
    }
    join_all(liars.iter().map(async |liar| {
        let record = liar.signed("utils", content(&wasm(1)));
        let receipt = liar.store(&honest, &record).await;
        assert_eq!(receipt, Receipt::Refused(Refusal::NoContent), "{:?}", liar.wiles.serving);
    }))
    .await;
    assert_eq!(honest.status().blobs.count, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_vanishes_is_replaced() {
    let [one, two, caller] = <[Honest; 3]>::try_from(Honest::network(3).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Silent), &[&caller]).await;
    let wasm = wasm(9).repeat(100);
    for holder in [&one, &two] {
        holder.register("", wasm.clone()).await;
    }
    evil.announce(&caller, vec![evil.signed("utils", content(&wasm))]).await;
    let name = format!("{}:utils", evil.id());
    let vanishing = async {
        eventually("it is asked", async || (evil.streams() > 0).then_some(())).await;
        evil.node.shut_down().await;
        drop(one);
    };
    tokio::join!(caller.until_loads(&name, &wasm), vanishing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_not_there_are_the_owners_to_give() {
    let owner = Honest::start(Vec::new()).await;
    let mut liars = Vec::new();
    for _ in 0..3 {
        liars.push(Evil::start(Wiles::serving(Serving::Nothing), &[&owner]).await);
    }
    // All of them say that they have it.
    owner.register("utils", "double").await;
    assert_eq!(owner.replicas("utils"), 2);
    let caller = Honest::start(owner.addresses()).await;
    caller.until_loads(&owner.canonical("utils"), b"double").await;
}

/// A receipt is for what was asked, not for anything that is valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_record_of_something_else_is_no_receipt() {
    let owner = Honest::start(Vec::new()).await;
    let other = libp2p::identity::Keypair::generate_ed25519();
    let record = super::support::first(&other, "other", content(b"other"));
    let record = super::support::sign(&other, &record);
    let answers = move |request: &Request| match request {
        Request::Store(_) => Some(Response::Receipt(Receipt::Newer(record.clone()))),
        Request::Holds(_) => Some(Response::Held(Vec::new())),
        _ => None,
    };
    let _evil = Evil::start(Wiles::answering(answers), &[&owner]).await;
    assert!(owner.try_register("utils", "double").await.is_err());
    assert_eq!(owner.replicas("utils"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_say_that_they_provide_and_do_not_are_passed_over() {
    let [holder, caller] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let digest = holder.register("", "double").await;
    let mut liars = Vec::new();
    for serving in [Serving::Nothing, Serving::Nonsense, Serving::WrongBytes, Serving::Truncated] {
        let liar = Evil::start(Wiles::serving(serving), &[&holder, &caller]).await;
        liar.node.provide(Key::from_bytes(*digest.as_bytes())).await;
        liars.push(liar);
    }
    caller.until_loads(&digest.to_string(), b"double").await;
}

/// However many copies others want kept, and however slow they are with their content, what is
/// called here is fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_stores_do_not_hold_up_calls() {
    let [holder, caller] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Silent), &[&caller]).await;
    let stored: Vec<_> = (0..16)
        .map(|number| evil.signed(&format!("slow{number}"), content(&wasm(100 + number))))
        .collect();
    let digest = holder.register("", "double").await.to_string();
    let storing = join_all(stored.iter().map(|record| evil.store(&caller, record)));
    let calling = async {
        eventually("they are under way", async || (evil.streams() >= 8).then_some(())).await;
        caller.until_loads(&digest, b"double").await;
    };
    tokio::select! {
        _ = storing => panic!("the slow ones were done before"),
        () = calling => {}
    }
}
