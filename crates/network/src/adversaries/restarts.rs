//! Nodes that start again, and what others are told of them then.

use tempfile::TempDir;
use wasm_exec_registry::Digest;

use super::support::{Honest, database, eventually};
use crate::Key;
use crate::node::PeerBounds;

/// Whether `asking` finds `provider` on record as a provider of a module.
async fn finds(asking: &Honest, provider: &Honest, module: Digest) -> bool {
    let node = asking.shared().node().unwrap();
    node.providers(Key::from_bytes(*module.as_bytes())).await.contains(&provider.id())
}

/// Nobody else has been told before, and whoever asks is no peer of the node's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_without_a_name_is_told_of_again() {
    let directory = TempDir::new().unwrap();
    let [kept, deleted] = {
        let owner = Honest::on(directory.path(), Vec::new()).await;
        let modules = [owner.register("", "double").await, owner.register("", "triple").await];
        owner.delete(&modules[1].to_string()).await;
        modules
    };
    drop(database(directory.path()).await);
    let bounds = || PeerBounds { wanted_peers: 0, ..PeerBounds::default() };
    let between = Honest::with(Vec::new(), bounds()).await;
    let owner = Honest::on(directory.path(), between.addresses()).await;
    eventually("it is on record", async || finds(&between, &owner, kept).await.then_some(())).await;
    let caller = Honest::with(between.addresses(), bounds()).await;
    caller.until_loads(&kept.to_string(), b"double").await;
    assert!(!finds(&between, &owner, deleted).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_told_of_no_more() {
    let owner = Honest::start(Vec::new()).await;
    let other = Honest::start(owner.addresses()).await;
    owner.until_peers(1).await;
    let module = owner.register("", "double").await;
    eventually("it is on record", async || finds(&other, &owner, module).await.then_some(())).await;
    // The other keeps the record until it runs out.
    drop(other);
    eventually("it is alone", async || owner.status().peers.is_empty().then_some(())).await;
    assert!(finds(&owner, &owner, module).await);
    owner.delete(&module.to_string()).await;
    eventually("it is taken back", async || (!finds(&owner, &owner, module).await).then_some(()))
        .await;
}
