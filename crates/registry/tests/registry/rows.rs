//! Rows beside the content: what a backend keeps that is built upon the embedded one.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use redb::{Database, TableDefinition};
use tempfile::TempDir;
use tokio::runtime;
use wasm_exec_registry::{
    Backend, Creation, DeleteError, Digest, RedbBackend, RegisterError, Row, RowPage,
};

use crate::support::{CACHE_BYTES, reference};

const OWNER: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

fn in_memory() -> RedbBackend {
    RedbBackend::in_memory(CACHE_BYTES).unwrap()
}

fn on_disk(directory: &TempDir) -> RedbBackend {
    RedbBackend::open(&directory.path().join("registry.redb"), CACHE_BYTES).unwrap()
}

fn creation(name: &str, content: &'static str) -> Creation {
    Creation::new(Some(name.parse().unwrap()), [].into(), content.into())
}

fn put(key: &'static str, value: &'static str) -> Row {
    Row { key: key.into(), value: Some(value.into()) }
}

fn remove(key: &'static str) -> Row {
    Row { key: key.into(), value: None }
}

async fn has(backend: &RedbBackend, key: &str, value: Option<&'static str>) {
    assert_eq!(backend.row(key.as_bytes()).await.unwrap(), value.map(Bytes::from), "{key}");
}

async fn meaning(backend: &RedbBackend, name: &str) -> Option<Digest> {
    let entry = backend.resolve(&name.parse().unwrap()).await.unwrap();
    entry.map(|entry| entry.digest)
}

#[tokio::test]
async fn rows_are_written_read_and_removed() {
    let directory = TempDir::new().unwrap();
    for backend in [in_memory(), on_disk(&directory)] {
        has(&backend, "a", None).await;
        backend.write(vec![put("a", "1"), put("b", "2"), put("", "empty")]).await.unwrap();
        has(&backend, "a", Some("1")).await;
        has(&backend, "", Some("empty")).await;
        backend.write(vec![put("a", "3"), remove("b"), remove("never")]).await.unwrap();
        has(&backend, "a", Some("3")).await;
        has(&backend, "b", None).await;
        backend.write(vec![put("a", "4"), remove("a"), put("a", "5")]).await.unwrap();
        has(&backend, "a", Some("5")).await;
        assert_eq!(backend.generation(), 0, "no name means anything else");
    }
}

#[tokio::test]
async fn rows_are_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    on_disk(&directory).write(vec![put("a", "1")]).await.unwrap();
    has(&on_disk(&directory), "a", Some("1")).await;
}

#[tokio::test]
async fn a_database_from_before_there_were_rows_gets_them() {
    const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
    let directory = TempDir::new().unwrap();
    on_disk(&directory).create(creation("utils", "a")).await.unwrap();
    let database = Database::open(directory.path().join("registry.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(ROWS).unwrap());
    transaction.commit().unwrap();
    drop(database);

    let backend = on_disk(&directory);
    has(&backend, "a", None).await;
    let page = backend.rows(Bytes::new(), None, 10).await.unwrap();
    assert_eq!(page, RowPage::default());
    assert!(meaning(&backend, "utils").await.is_some());
    backend.write(vec![put("a", "1")]).await.unwrap();
    has(&backend, "a", Some("1")).await;
}

#[tokio::test]
async fn owners_names_are_for_the_backend_above() {
    let backend = in_memory();
    let name = format!("{OWNER}:utils@1.0.0");
    let error = backend.create(creation(&name, "a")).await.unwrap_err();
    assert!(matches!(&error, RegisterError::ReservedNamespace { name: of } if of.as_str() == name));
    let message = error.to_string();
    assert!(message.starts_with("invalid name \"12D3Koo"), "{message}");
    assert!(message.contains("at byte 0: ") && message.ends_with("is reserved"), "{message}");
    assert_eq!(meaning(&backend, &name).await, None);

    let registered = backend.create_with(creation(&name, "a"), Vec::new()).await.unwrap();
    assert!(registered.created);
    // It resolves as other names do: a bare label means its highest release.
    assert_eq!(meaning(&backend, &format!("{OWNER}:utils")).await, Some(registered.digest));
    assert_eq!(meaning(&backend, "utils").await, None);
    backend.delete(reference(name)).await.unwrap();
}

#[tokio::test]
async fn rows_go_with_a_creation_that_stands_and_not_with_one_that_is_refused() {
    let backend = in_memory();
    let create = |content, row| backend.create_with(creation("utils", content), vec![row]);
    assert!(create("a", put("record", "1")).await.unwrap().created);
    has(&backend, "record", Some("1")).await;
    let generation = backend.generation();
    assert!(!create("a", put("record", "2")).await.unwrap().created);
    has(&backend, "record", Some("2")).await;
    assert_eq!(backend.generation(), generation);
    let error = create("b", put("record", "3")).await.unwrap_err();
    assert!(matches!(error, RegisterError::NameTaken { .. }), "{error:?}");
    has(&backend, "record", Some("2")).await;
}

#[tokio::test]
async fn rows_go_with_a_deletion_and_not_with_one_that_is_refused() {
    let backend = in_memory();
    let rows = vec![put("record", "1"), put("other", "x")];
    backend.create_with(creation("utils", "a"), rows).await.unwrap();
    let delete = || backend.delete_with(reference("utils"), vec![remove("record")]);
    delete().await.unwrap();
    has(&backend, "record", None).await;
    has(&backend, "other", Some("x")).await;
    backend.write(vec![put("record", "2")]).await.unwrap();
    assert!(matches!(delete().await.unwrap_err(), DeleteError::Registry(_)));
    has(&backend, "record", Some("2")).await;
}

/// Short keys of few letters, so that many begin alike and the same comes often.
fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255)], 0..4).prop_map(Bytes::from)
}

fn row() -> impl Strategy<Value = Row> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..6));
    (key(), value).prop_map(|(key, value)| Row { key, value: value.map(Bytes::from) })
}

/// All pages from `after` on.
async fn pages(
    backend: &RedbBackend,
    prefix: &Bytes,
    mut after: Option<Bytes>,
    limit: usize,
) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    loop {
        let page = backend.rows(prefix.clone(), after, limit).await.unwrap();
        assert!(page.rows.len() <= limit.max(1));
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_what_a_sorted_map_holds(
        changes in prop::collection::vec(prop::collection::vec(row(), 0..8), 1..6),
        prefix in key(),
        after in prop::option::of(key()),
        limit in 0_usize..5,
    ) {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let backend = in_memory();
        let mut model = BTreeMap::new();
        for rows in changes {
            for Row { key, value } in &rows {
                match value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
            runtime.block_on(backend.write(rows)).unwrap();
        }
        let found = runtime.block_on(pages(&backend, &prefix, after.clone(), limit));
        let expected: Vec<_> = model
            .into_iter()
            .filter(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
