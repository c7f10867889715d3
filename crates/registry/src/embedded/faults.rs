//! What happens when the disk fails: a file that can be told to.

use std::error::Error as _;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};
use tempfile::TempDir;

use super::*;
use crate::{RegisterError, Registration, Registry, RegistryError};

/// The errors that a test makes a disk give, as the system numbers them; 0 is none.
#[derive(Debug, Default)]
struct Faults {
    /// For what writes past the first page: that is in place already, on a disk that is full.
    growing: AtomicI32,
    /// For everything.
    everything: AtomicI32,
}

const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EIO: i32 = 5;

#[derive(Debug)]
struct FaultyFile {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl FaultyFile {
    fn attempt(&self, faults: &[&AtomicI32]) -> io::Result<()> {
        let mut errors = faults.iter().map(|fault| fault.load(Ordering::SeqCst));
        match errors.find(|error| *error != 0) {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => Ok(()),
        }
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.attempt(&[&self.faults.everything])?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.attempt(&[&self.faults.everything])?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.attempt(&[&self.faults.everything])?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.attempt(&[&self.faults.everything])?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.attempt(&[&self.faults.everything])?;
        if offset >= 4096 {
            self.attempt(&[&self.faults.growing])?;
        }
        self.file.write(offset, data)
    }
}

struct Disk {
    registry: Registry,
    faults: Arc<Faults>,
    _directory: TempDir,
}

fn disk() -> Disk {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    drop(Store::open(&path, 1 << 20).unwrap());
    let faults = Arc::new(Faults::default());
    let reopen = reopen(path, faults.clone());
    let store = Store::new(reopen().unwrap(), Some(Box::new(reopen)));
    let backend = RedbBackend::new(store).unwrap();
    Disk { registry: Registry::new(Arc::new(backend)), faults, _directory: directory }
}

fn reopen(path: PathBuf, faults: Arc<Faults>) -> impl Fn() -> Outcome<Database> {
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    move || {
        let file = FaultyFile { file: FileBackend::new(open(&path)?)?, faults: faults.clone() };
        Ok(Builder::new().set_cache_size(0).create_with_backend(file)?)
    }
}

fn registration(name: &str) -> Registration {
    Registration {
        name: Some(name.parse().unwrap()),
        links: [].into(),
        wasm: name.repeat(1000).into(),
    }
}

async fn assert_registered(registry: &Registry, name: &str) {
    let reference = Reference::Name(name.parse().unwrap());
    let digest = registry.resolve(&reference).await.unwrap().digest;
    let wasm = registry.module(digest).await.unwrap().manifest.wasm;
    assert_eq!(registry.blob(wasm).await.unwrap(), name.repeat(1000));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let Disk { registry, faults, .. } = &disk();
    registry.register(registration("before")).await.unwrap();

    faults.growing.store(ENOSPC, Ordering::SeqCst);
    let generation = registry.generation();
    for _ in 0..3 {
        let error = registry.register(registration("full")).await.unwrap_err();
        assert!(matches!(error, RegisterError::Storage(StorageError::Full(_))), "{error:?}");
        assert!(error.source().is_some());
        assert_registered(registry, "before").await;
        registry.check().await.unwrap();
    }
    assert!(registry.generation() > generation);

    faults.growing.store(0, Ordering::SeqCst);
    assert!(registry.register(registration("full")).await.unwrap().created);
    assert_registered(registry, "full").await;
    assert_registered(registry, "before").await;
}

#[tokio::test]
async fn a_read_only_disk_says_so() {
    let Disk { registry, faults, .. } = &disk();
    faults.everything.store(EROFS, Ordering::SeqCst);
    let error = registry.register(registration("a")).await.unwrap_err();
    assert!(matches!(error, RegisterError::Storage(StorageError::ReadOnly(_))), "{error:?}");
}

#[tokio::test]
async fn a_broken_disk_fails_everything_until_it_is_back() {
    let Disk { registry, faults, .. } = &disk();
    registry.register(registration("before")).await.unwrap();

    faults.everything.store(EIO, Ordering::SeqCst);
    let error = registry.register(registration("a")).await.unwrap_err();
    assert!(matches!(error, RegisterError::Storage(StorageError::Io(_))), "{error:?}");
    for result in [
        registry.check().await,
        registry.resolve(&Reference::Name("before".parse().unwrap())).await.map(drop),
        registry.list(ListQuery::default()).await.map(drop),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, RegistryError::Storage(StorageError::Io(_))), "{error:?}");
    }

    faults.everything.store(0, Ordering::SeqCst);
    registry.check().await.unwrap();
    assert_registered(registry, "before").await;
    registry.register(registration("a")).await.unwrap();
}

#[tokio::test]
async fn a_failed_read_does_not_last() {
    let Disk { registry, faults, .. } = &disk();
    registry.register(registration("a")).await.unwrap();
    faults.everything.store(EIO, Ordering::SeqCst);
    let reference = Reference::Name("a".parse().unwrap());
    assert!(registry.resolve(&reference).await.is_err());
    faults.everything.store(0, Ordering::SeqCst);
    assert_registered(registry, "a").await;
}

#[tokio::test]
async fn a_failed_commit_fails_all_that_shared_it() {
    let Disk { registry, faults, .. } = &disk();
    let register = |n| {
        let registry = registry.clone();
        async move { registry.register(registration(&format!("m{n}"))).await }
    };
    faults.growing.store(ENOSPC, Ordering::SeqCst);
    let tasks: Vec<_> = (0..32).map(|n| tokio::spawn(register(n))).collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, RegisterError::Storage(StorageError::Full(_))), "{error:?}");
    }
    faults.growing.store(0, Ordering::SeqCst);
    let page = registry.list(ListQuery::default()).await.unwrap();
    assert!(page.modules.is_empty());
}

#[tokio::test]
async fn a_panic_while_writing_fails_what_shared_the_commit_and_nothing_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let backend = RedbBackend::open(&path, 1 << 20).unwrap();
    for _ in 0..3 {
        let result = backend.writer.submit::<(), StorageError, _>(0, |_| panic!("a bad page"));
        let error = result.await.unwrap_err();
        let StorageError::Corrupt { detail } = error else { panic!("{error:?}") };
        assert!(detail.contains("a bad page") && detail.contains("registry.redb"), "{detail}");
    }
    backend.check().await.unwrap();
    let registry = Registry::new(Arc::new(backend));
    registry.register(registration("a")).await.unwrap();
    assert_registered(&registry, "a").await;
}
