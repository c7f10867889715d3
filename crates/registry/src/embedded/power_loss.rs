//! What the loss of power leaves: any of the writes that were not synced, in any order, torn.
//!
//! Writers change a registry on a disk that remembers everything ([`disk`]). Then the power goes at
//! random moments of what it remembers, and each time a registry is opened on what the disk may
//! hold: all that was acknowledged must be there, whole ([`workload`]), nothing in part or left
//! over ([`audit`]), and it must go on.
//!
//! `POWER_LOSS_IMAGES` is how many such disks are looked at. A failure prints a seed, which
//! `POWER_LOSS_SEED` starts from, and leaves the disk's content in a file, since how threads
//! interleave is not in the seed.

mod audit;
mod disk;
mod workload;

use std::time::Instant;

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use redb::{Builder, Database};
use tempfile::TempDir;
use tokio::runtime;

use self::disk::{Disk, Event, Moment};
use self::workload::{Known, Note};
use super::store::create_backend;
use super::*;
use crate::{NameTakenReason, Registration, Registry};

/// How many disks are looked at unless the environment says otherwise.
const IMAGES: u64 = 3000;

/// How many of them one workload gives, before the next is run on the last of them.
const IMAGES_OF_A_WORKLOAD: usize = 150;

/// How many workloads follow each other on one disk.
const LIVES: u64 = 3;

/// One in so many is opened as a file, the others in memory.
const IN_A_FILE: u64 = 16;

/// Small, so that pages are written before a commit, when there is no more room for them.
const CACHE_BYTES: usize = 64 * 1024;

fn from_environment(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

fn seeded(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn open_database(disk: &Disk<Note>) -> Database {
    Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(disk.clone()).unwrap()
}

fn open(disk: &Disk<Note>) -> RedbBackend {
    let database = open_database(disk);
    RedbBackend::new(Store::new(database, None)).unwrap()
}

/// A disk with an empty registry, and what making that did.
fn empty() -> Disk<Note> {
    let disk = Disk::holding(Vec::new());
    create_backend(disk.clone(), CACHE_BYTES).unwrap();
    disk
}

/// Tells how to see a failure again.
struct Reproduction<'a> {
    seed: u64,
    image: &'a [u8],
}

impl Drop for Reproduction<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("power-loss-{}.redb", self.seed));
            let written = std::fs::write(&path, self.image);
            eprintln!("POWER_LOSS_SEED={}, {} {written:?}", self.seed, path.display());
        }
    }
}

/// Opens a registry on what a disk holds, and checks everything. Gives what is registered.
async fn examine(backend: RedbBackend, known: &Known) -> audit::Kept {
    let kept = backend.store.read(audit::audit).unwrap();
    known.check(&kept.registrations);
    let registry = Registry::new(Arc::new(backend));
    for (reference, digest) in &kept.registrations {
        assert_eq!(registry.resolve(reference).await.unwrap().digest, *digest);
    }
    let other = Registration { name: None, links: [].into(), wasm: b"other".as_slice().into() };
    for version in known.deleted_versions() {
        // One that was never registered has no tombstone either.
        let Some(was) = kept.tombstones.get(version) else { continue };
        let name = version.to_string().parse().unwrap();
        let refused = registry.register(Registration { name: Some(name), ..other.clone() }).await;
        let Err(RegisterError::NameTaken { reason, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(reason, NameTakenReason::WasOtherContent { digest: *was });
    }
    let name = Some("after:crash".parse().unwrap());
    let registered = registry.register(Registration { name, ..other }).await.unwrap();
    assert!(registered.created);
    kept
}

/// Looks at one image, in memory or in a file.
async fn examine_image(image: &[u8], known: &Known, in_a_file: bool) -> audit::Kept {
    if in_a_file {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("registry.redb");
        std::fs::write(&path, image).unwrap();
        return examine(RedbBackend::open(&path, CACHE_BYTES).unwrap(), known).await;
    }
    let disk = Disk::holding(image.to_vec());
    let kept = examine(open(&disk), known).await;
    let mut database = open_database(&disk);
    assert!(database.check_integrity().unwrap(), "pages are lost or damaged");
    kept
}

/// Goes through a timeline and lets the power go at random moments of it. Gives the last image and
/// what is known of it.
async fn crash(
    mut moment: Moment,
    timeline: Vec<Event<Note>>,
    mut known: Known,
    images: &mut u64,
    seed: u64,
) -> (Vec<u8>, Known) {
    let mut random = seeded(seed);
    let events = timeline.len();
    let mut when: Vec<_> =
        (0..IMAGES_OF_A_WORKLOAD).map(|_| random.random_range(0..events)).collect();
    when.sort_unstable();
    let mut when = when.into_iter().peekable();
    let mut last = None;
    for (index, event) in timeline.into_iter().enumerate() {
        match event {
            Event::Change(change) => moment.change(change),
            Event::Sync => moment.sync(),
            Event::Note(note) => known.note(note),
        }
        while when.next_if_eq(&index).is_some() {
            let image = moment.image(&mut random);
            let reproduction = Reproduction { seed, image: &image };
            let kept = examine_image(&image, &known, images.is_multiple_of(IN_A_FILE)).await;
            drop(reproduction);
            *images += 1;
            last = Some((image, known.clone(), kept));
        }
    }
    let (image, mut known, kept) = last.expect("the timeline is not empty");
    known.settle(&kept.registrations);
    (image, known)
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_power() {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let started = Instant::now();
    let wanted = from_environment("POWER_LOSS_IMAGES").unwrap_or(IMAGES);
    let mut seed = from_environment("POWER_LOSS_SEED").unwrap_or(1);
    let mut images = 0;
    while images < wanted {
        let mut content = empty().content();
        let mut known = Known::default();
        for _ in 0..LIVES {
            let disk = Disk::holding(content.clone());
            runtime.block_on(async {
                workload::run(Arc::new(open(&disk)), &disk, seed).await;
            });
            let timeline = disk.take_timeline();
            let moment = Moment::new(content);
            (content, known) = runtime.block_on(crash(moment, timeline, known, &mut images, seed));
            seed += 1;
        }
    }
    println!("{images} disks in {:?}", started.elapsed());
}

#[test]
fn a_registry_that_is_made_or_closed_is_durable() {
    let disk = empty();
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        workload::run(Arc::new(open(&disk)), &disk, 0).await;
    });
    let mut moment = Moment::new(Vec::new());
    let mut synced = 0;
    for event in disk.take_timeline() {
        match event {
            Event::Change(change) => moment.change(change),
            Event::Sync => {
                moment.sync();
                synced += 1;
            }
            Event::Note(_) => {}
        }
    }
    assert!(synced > 0 && !moment.has_pending());
}
