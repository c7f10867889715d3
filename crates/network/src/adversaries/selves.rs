//! Nodes with one identity, and names with two owners.

use tempfile::TempDir;
use wasm_exec_registry::RegistryError;

use super::support::{Honest, database, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_data_directory_is_noticed() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let other = Honest::start(Vec::new()).await;
    let id = {
        let node = Honest::on(here.path(), Vec::new()).await;
        node.register("before", "double").await;
        node.id()
    };
    drop(database(here.path()).await);
    let [from, to] = [&here, &there].map(|directory| directory.path().join("registry.redb"));
    std::fs::copy(from, to).unwrap();
    let one = Honest::on(here.path(), other.addresses()).await;
    let two = Honest::on(there.path(), other.addresses()).await;
    assert_eq!([one.id(), two.id()], [id, id]);
    // They know nothing of each other, but what one registers the other hears of.
    one.try_register("utils", "double").await.ok();
    two.try_register("others", "triple").await.ok();
    eventually("one of them has noticed", async || {
        let noticed = |node: &Honest| node.refused("own_newer") + node.refused("same_identity") > 0;
        (noticed(&one) || noticed(&two)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_meet_again_lose_nothing() {
    let (east, west) = (Honest::network(2).await, Honest::network(2).await);
    east[0].register("utils", "double").await;
    west[0].register("utils", "triple").await;
    let names = [east[0].canonical("utils"), west[0].canonical("utils")];
    // Who has called it in its half stays with what it called.
    east[1].until_loads("utils", b"double").await;
    let bridge = Honest::start([east[0].addresses(), west[0].addresses()].concat()).await;
    let all: Vec<_> = east.iter().chain(&west).chain([&bridge]).collect();
    for node in &all {
        node.until_loads(&names[0], b"double").await;
        node.until_loads(&names[1], b"triple").await;
    }
    for node in [&west[1], &bridge] {
        eventually("it is a conflict", async || match node.resolve("utils").await {
            Err(RegistryError::NameConflict { owners, .. }) => {
                let owners: Vec<_> = owners.iter().map(ToString::to_string).collect();
                names.iter().all(|name| owners.contains(name)).then_some(())
            }
            _ => None,
        })
        .await;
    }
    east[0].until_loads("utils", b"double").await;
    east[1].until_loads("utils", b"double").await;
    west[0].until_loads("utils", b"triple").await;
}
