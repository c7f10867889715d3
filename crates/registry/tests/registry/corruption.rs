//! Files that something else than redb changed: errors, never a panic, and never wrong content.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fs, panic, thread};

use proptest::prelude::{Rng, RngExt};
use proptest::test_runner::{RngAlgorithm, TestRng};
use tempfile::TempDir;
use tokio::runtime;
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

/// Ways to damage a file, at random places.
#[derive(Debug, Clone, Copy)]
enum Damage {
    FlippedBits,
    /// In the header, where it hurts most.
    FlippedHeader,
    ZeroedPages,
    RandomPages,
    /// Pages that are whole, but of somewhere else: writes that went to the wrong place.
    MisplacedPages,
    Truncated,
    Extended,
}

const DAMAGES: [Damage; 7] = [
    Damage::FlippedBits,
    Damage::FlippedHeader,
    Damage::ZeroedPages,
    Damage::RandomPages,
    Damage::MisplacedPages,
    Damage::Truncated,
    Damage::Extended,
];

const PAGE: usize = 4096;
const HEADER: usize = 512;

/// How many files are damaged in each way, unless the environment says otherwise.
const FILES: u64 = 40;

/// How long reading and changing a damaged file may take before it counts as endless. A disk that
/// is busy with other things may take a minute for the syncs alone.
const PATIENCE: Duration = Duration::from_secs(300);

impl Damage {
    fn apply(self, file: &mut Vec<u8>, random: &mut TestRng) {
        match self {
            Self::FlippedBits => flip(file, random),
            Self::FlippedHeader => flip(&mut file[..HEADER], random),
            Self::Truncated => file.truncate(random.random_range(0..file.len())),
            Self::Extended => {
                let more = random.random_range(1..20 * PAGE);
                file.extend((0..more).map(|n| n as u8));
            }
            Self::ZeroedPages | Self::RandomPages | Self::MisplacedPages => {
                for _ in 0..random.random_range(1..5) {
                    self.damage_page(file, random);
                }
            }
        }
    }

    fn damage_page(self, file: &mut [u8], random: &mut TestRng) {
        let pages = file.len() / PAGE;
        let mut place = || random.random_range(0..pages) * PAGE;
        let (at, other) = (place(), place());
        match self {
            Self::ZeroedPages => file[at..at + PAGE].fill(0),
            Self::MisplacedPages => file.copy_within(other..other + PAGE, at),
            _ => random.fill_bytes(&mut file[at..at + PAGE]),
        }
    }
}

fn flip(file: &mut [u8], random: &mut TestRng) {
    for _ in 0..random.random_range(1..=20) {
        let at = random.random_range(0..file.len());
        file[at] ^= 1 << random.random_range(0..8);
    }
}

/// Exercises a file on a thread of its own, so that one that never comes back is noticed.
fn exercise_in_time(path: &Path) -> Result<(), RegistryError> {
    let (sender, receiver) = mpsc::channel();
    let opened = path.to_owned();
    let thread = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        // Nobody waits any more only if the test has failed.
        let _ = sender.send(runtime.block_on(exercise(&opened)));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            // It still has it open, but is not going to change it any more.
            let kept = std::env::temp_dir().join("never-ends.redb");
            panic!("it does not end; {} {:?}", kept.display(), fs::copy(path, &kept))
        }
        Err(RecvTimeoutError::Disconnected) => panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// `CORRUPTED_FILES` in the environment is how many files are damaged in each way.
#[tokio::test]
async fn damage_never_panics_never_hangs_and_never_gives_wrong_content() {
    let healthy = healthy().await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    let files = std::env::var("CORRUPTED_FILES").map_or(FILES, |files| files.parse().unwrap());
    for damage in DAMAGES {
        let mut errors = 0;
        for seed in 0..files {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
            let mut file = healthy.clone();
            damage.apply(&mut file, &mut random);
            fs::write(&path, file).unwrap();
            println!("{damage:?} {seed}");
            if let Err(error) = exercise_in_time(&path) {
                errors += 1;
                assert!(!error.to_string().contains("Poison"), "it outlives its cause: {error}");
            }
        }
        println!("{damage:?}: {errors} errors of {files}");
        assert!(errors > 0 || matches!(damage, Damage::Extended), "{damage:?} damaged nothing");
    }
}

#[tokio::test]
async fn content_that_is_not_its_digests_is_told_with_the_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("registry.redb");
    let registry = on_disk(directory.path());
    let content = module("a mark that is found again".repeat(1000)).named("m");
    content.create(&registry).await;
    drop(registry);
    let mut file = fs::read(&path).unwrap();
    let mark = b"found again";
    let at = file.windows(mark.len()).position(|window| window == mark).unwrap();
    file[at] ^= 1;
    fs::write(&path, file).unwrap();

    let registry = on_disk(directory.path());
    let wasm = content.manifest().wasm;
    let error = registry.blob(wasm).await.unwrap_err();
    let RegistryError::Corrupt { digest, detail } = &error else { panic!("{error:?}") };
    assert_eq!(*digest, wasm);
    assert!(detail.contains(&*path.to_string_lossy()), "{detail}");
    // Only this is affected.
    module("b").named("b").create(&registry).await;
}
