//! What a file keeps, from one process to the next, and who may have it open.

use std::sync::Arc;

use tempfile::TempDir;
use wasm_exec_registry::{ListQuery, RedbBackend, RegisterError, StorageError};

use crate::support::{CACHE_BYTES, meaning, module, on_disk, reference};

#[tokio::test]
async fn what_was_registered_is_there_after_opening_again() {
    let directory = TempDir::new().unwrap();
    let registry = on_disk(directory.path());
    let utils = module("a").named("utils@1.0.0").create(&registry).await;
    let unnamed = module("b").linking("utils", utils).create(&registry).await;
    registry.delete(&reference("utils@1.0.0")).await.unwrap();
    drop(registry);

    let registry = on_disk(directory.path());
    assert!(registry.module(unnamed).await.unwrap().unnamed);
    assert_eq!(meaning(&registry, "utils").await, None);
    let other = module("other").named("utils@1.0.0");
    assert!(other.register(&registry).await.is_err(), "it was another");
    module("a").named("utils@1.0.0").create(&registry).await;
}

#[tokio::test]
async fn what_was_asked_is_done_though_nobody_waits_for_it() {
    let directory = TempDir::new().unwrap();
    let registry = on_disk(directory.path());
    for n in 0..100 {
        let module = module(format!("content {n}")).named(format!("m{n}"));
        tokio::select! {
            biased;
            answer = module.register(&registry) => panic!("{answer:?} in no time"),
            () = std::future::ready(()) => {}
        }
    }
    drop(registry);

    let registry = on_disk(directory.path());
    let page = registry.list(ListQuery::default()).await.unwrap();
    assert_eq!(page.modules.len(), 100);
}

#[tokio::test]
async fn large_blobs_come_back_whole() {
    let directory = TempDir::new().unwrap();
    let registry = on_disk(directory.path());
    let blob: Vec<u8> = (0..20_000_003_u32).map(|n| (n % 251) as u8).collect();
    let module = module(blob.clone()).named("large");
    module.create(&registry).await;
    let read = registry.blob(module.manifest().wasm).await.unwrap();
    assert!(read == blob);
    let record = registry.module(module.digest()).await.unwrap();
    assert_eq!(record.wasm_size, 20_000_003);
}

#[tokio::test]
async fn the_space_of_what_was_deleted_is_used_again() {
    let directory = TempDir::new().unwrap();
    let registry = on_disk(directory.path());
    let size = || std::fs::metadata(directory.path().join("registry.redb")).unwrap().len();
    let mut sizes = Vec::new();
    for round in 0..30 {
        for n in 0..8_u8 {
            let content = vec![n + round; 100_000 + 1000 * usize::from(round)];
            module(content).named(format!("m{n}")).create(&registry).await;
        }
        for n in 0..8 {
            registry.delete(&reference(format!("m{n}"))).await.unwrap();
        }
        sizes.push(size());
    }
    // 24 MB went through it.
    assert!(sizes.iter().all(|size| *size < 8_000_000), "{sizes:?}");
}

#[tokio::test]
async fn a_file_is_opened_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    let first = Arc::new(RedbBackend::open(&path, CACHE_BYTES).unwrap());
    let error = RedbBackend::open(&path, CACHE_BYTES).unwrap_err();
    assert!(matches!(error, StorageError::Io(_)), "{error:?}");
    drop(first);
    RedbBackend::open(&path, CACHE_BYTES).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn what_would_be_written_to_a_file_that_is_gone_is_not_acknowledged() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    let registry = on_disk(directory.path());
    module("a").named("a").create(&registry).await;
    let elsewhere = directory.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    let refused = |error: RegisterError| {
        let RegisterError::Storage(StorageError::Io(cause)) = error else { panic!("{error:?}") };
        assert!(cause.to_string().contains("registry.redb was "), "{cause}");
    };
    refused(module("b").named("b").register(&registry).await.unwrap_err());
    registry.check().await.unwrap_err();

    // Another file in its place is not taken for it.
    std::fs::write(&path, "another").unwrap();
    refused(module("c").named("c").register(&registry).await.unwrap_err());
    registry.check().await.unwrap_err();
    // What was read before can still be read, and all is well when the file is back.
    assert!(meaning(&registry, "a").await.is_some());
    std::fs::rename(&elsewhere, &path).unwrap();
    registry.check().await.unwrap();
    module("d").named("d").create(&registry).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let directory = TempDir::new().unwrap();
    drop(on_disk(directory.path()));
    let path = directory.path().join("registry.redb");
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_unfinished_file_of_an_earlier_start_is_no_obstacle() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("registry.redb.new"), [0; 10_000]).unwrap();
    let registry = on_disk(directory.path());
    module("a").named("utils").create(&registry).await;
}
