//! Clocks that are wrong, records that run out, and changes that meet.

use std::collections::HashMap;

use tempfile::TempDir;
use tokio::join;

use super::support::{Evil, Honest, Serving, Wiles, content, database, eventually};
use crate::Key;
use crate::index::Interest;
use crate::record::{NameRecord, SignedRecord};
use crate::rows;
use crate::shared::now;
use crate::upkeep::{GRACE, forget_expired};

/// The record of one of a node's names, as it knows it.
fn record(node: &Honest, of: &Honest, name: &str) -> Option<SignedRecord> {
    let knowledge = node.shared().knowledge();
    knowledge.index.of_name(&of.id(), &name.parse().unwrap()).cloned()
}

/// A clock that is set forward makes everything expire. What is held has to be there when it is set
/// right, also after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_does_not_destroy_content() {
    let directory = TempDir::new().unwrap();
    let owner = Honest::start(Vec::new()).await;
    let holder = Honest::on(directory.path(), owner.addresses()).await;
    owner.until_peers(1).await;
    owner.register("utils", "double").await;
    let held = record(&holder, &owner, "utils").unwrap();
    let over = held.record().not_after + 60;
    forget_expired(holder.shared(), over).await;
    drop(holder);
    drop(database(directory.path()).await);

    let holder = Honest::on(directory.path(), Vec::new()).await;
    forget_expired(holder.shared(), over).await;
    assert_eq!(holder.status().records.held, 1);
    assert!(holder.shared().has_content(&held).await.unwrap());
    forget_expired(holder.shared(), over + GRACE).await;
    assert_eq!(holder.status().records.held, 0);
    assert!(!holder.shared().has_content(&held).await.unwrap());
}

/// A name that is due to be issued again is deleted at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_does_not_undo_a_deletion() {
    let node = Honest::start(Vec::new()).await;
    for round in 0..10 {
        node.register("utils", "double").await;
        let known = record(&node, &node, "utils").unwrap();
        let due = NameRecord {
            sequence: known.record().sequence + 1,
            issued_at: now() - 1000,
            not_after: now() + 100,
            ..known.record().clone()
        };
        let due = SignedRecord::sign(&due, &node.shared().keypair).unwrap();
        node.shared().learn(&due, Interest::Told);
        if round % 2 == 0 {
            join!(node.shared().refresh_own(), node.delete("utils"));
        } else {
            join!(node.delete("utils"), node.shared().refresh_own());
        }
        node.shared().refresh_own().await;
        assert!(record(&node, &node, "utils").unwrap().record().tombstone, "{round}");
        node.until_unknown("utils").await;
    }
}

/// An older disk knows nothing of what was deleted since: others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_is_noticed_and_brings_nothing_back() {
    let (directory, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let [file, copy] = [&directory, &backup].map(|of| of.path().join("registry.redb"));
    let other = Honest::start(Vec::new()).await;
    let node = Honest::on(directory.path(), other.addresses()).await;
    node.until_peers(1).await;
    node.register("utils", "double").await;
    let name = node.canonical("utils");
    other.until_loads(&name, b"double").await;
    drop(node);
    drop(database(directory.path()).await);
    std::fs::copy(&file, &copy).unwrap();

    let node = Honest::on(directory.path(), other.addresses()).await;
    node.until_peers(1).await;
    node.delete("utils").await;
    other.until_unknown(&name).await;
    drop(node);
    drop(database(directory.path()).await);
    std::fs::copy(&copy, &file).unwrap();

    let node = Honest::on(directory.path(), other.addresses()).await;
    eventually("it is noticed", async || (node.refused("own_newer") > 0).then_some(())).await;
    node.until_unknown("utils").await;
    other.until_unknown(&name).await;
}

/// What is on the disk is what is known: nothing that was superseded, deleted or had to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_follow_what_is_known() {
    let honest = Honest::start(Vec::new()).await;
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&honest]).await;
    super::rooms::fill(&honest, &evil, 4, 8).await;
    let mut records = Vec::new();
    for number in 0..6 {
        let first = evil.record(&format!("mine{number}"), content(b"evil"));
        let again = first.refreshed(now()).unwrap();
        let deleted = again.deleted(now()).unwrap();
        let told =
            [&first, &again, &deleted].map(|record| super::support::sign(&evil.keypair, record));
        records.extend(told.into_iter().take(1 + number % 3));
    }
    evil.announce(&honest, records).await;
    let shared = honest.shared();
    eventually("all of it is written", async || {
        let rows = rows::records(shared.library.local(), &shared.network).await.unwrap();
        let written: HashMap<Key, Key> =
            rows.iter().map(|record| (record.key(), record.hash())).collect();
        let knowledge = shared.knowledge();
        let is_known = |(key, hash): (&Key, &Key)| {
            knowledge.index.get(key).is_some_and(|record| record.hash() == *hash)
        };
        (written.len() == 32 && written.iter().all(is_known)).then_some(())
    })
    .await;
    assert_eq!(honest.status().records.known, 32);
}
