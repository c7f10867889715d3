//! Files that something else than redb changed: errors, never a panic, and never wrong content.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use wasm_exec_registry::{
    Digest, GraphLimits, ListQuery, RedbBackend, Registry, RegistryError, StorageError,
};

use crate::support::{CACHE_BYTES, module, on_disk, reference};

/// A file with some modules in it, cleanly closed.
async fn healthy() -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    let registry = on_disk(directory.path());
    let mut last = module("base").create(&registry).await;
    for n in 0..20 {
        let content = format!("content {n} ").repeat(1000);
        let module = module(content).named(format!("m{n}@1.0.0"));
        last = module.linking("previous", last).create(&registry).await;
    }
    drop(registry);
    fs::read(directory.path().join("registry.redb")).unwrap()
}

/// Reads and changes all there is. What comes back without an error must be right.
async fn exercise(path: &Path) -> Result<(), RegistryError> {
    let registry = Registry::new(Arc::new(RedbBackend::open(path, CACHE_BYTES)?));
    let page = registry.list(ListQuery::default()).await?;
    for summary in page.modules {
        let record = registry.module(summary.digest).await?;
        assert_eq!(record.manifest.digest(), summary.digest);
        let blob = registry.blob(record.manifest.wasm).await?;
        assert_eq!(Digest::of(&blob), record.manifest.wasm);
        let limits = GraphLimits { modules: 100, depth: 100 };
        let _ = registry.graph(summary.digest, limits).await;
    }
    let _ = module("new").named("new").register(&registry).await;
    let _ = registry.delete(&reference("m19@1.0.0")).await;
    registry.check().await
}

#[tokio::test]
async fn a_healthy_file_is_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    fs::write(&path, healthy().await).unwrap();
    exercise(&path).await.unwrap();
}

#[tokio::test]
async fn a_truncated_file_is_an_error() {
    let healthy = healthy().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    for length in [0, 1, 8, 9, 63, 64, 320, 4095, 4096, 8192, 65_536] {
        fs::write(&path, &healthy[..length]).unwrap();
        let error = exercise(&path).await.expect_err("it is truncated");
        assert!(
            matches!(error, RegistryError::Storage(StorageError::Corrupt { .. })),
            "{length} bytes: {error:?}"
        );
    }
}

#[tokio::test]
async fn another_kind_of_file_is_an_error() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    for content in [vec![0; 100_000], b"{}".to_vec(), vec![0xff; 4096]] {
        fs::write(&path, content).unwrap();
        let error = RedbBackend::open(&path, CACHE_BYTES).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn flipped_bytes_never_panic_and_never_give_wrong_content() {
    let healthy = healthy().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let mut errors = 0;
    for round in 0..150 {
        let mut file = healthy.clone();
        // A third of them in the header, where it hurts most.
        let reach = if round % 3 == 0 { 512 } else { file.len() };
        for _ in 0..=random(20) {
            let at = random(reach);
            file[at] ^= 1 << random(8);
        }
        fs::write(&path, file).unwrap();
        errors += u32::from(exercise(&path).await.is_err());
    }
    assert!(errors > 0, "nothing was corrupted");
}
