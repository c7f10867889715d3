//! Items that are being fetched, as far as they have come.
//!
//! On a node with a data directory an item of several ranges is put together in a file, so that it
//! takes no memory meanwhile and a fetch that was broken off, also by a restart, goes on where it
//! stopped. The file has the item's BLAKE3 root and size, a BLAKE3 hash of each range that is in it
//! (zeros for one that is not), and then the bytes. What the hashes do not confirm when the file is
//! opened again, after a loss of power perhaps, is fetched again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Notify;
use wasm_exec_registry::mapped::Buffer;
use wasm_exec_registry::{Digest, Hasher};

use super::range::Range;
use crate::contents::Item;

/// The most files of broken off fetches. The oldest are removed.
const MAX_FILES: usize = 16;

/// The most bytes of all such files together.
const MAX_BYTES: u64 = 512 << 20;

const HASH_BYTES: usize = blake3::OUT_LEN;

/// The root and the size that a file begins with.
const HEADER_BYTES: usize = HASH_BYTES + 8;

/// Where items that are being fetched are kept. A handle: clones are of the same place.
#[derive(Clone, Debug)]
pub(crate) struct Partials {
    /// `None` for memory.
    directory: Option<PathBuf>,
    active: Arc<Active>,
}

/// What is being fetched now, and how many bytes each takes.
#[derive(Debug, Default)]
struct Active {
    items: Mutex<HashMap<Digest, u64>>,
    /// Told when one of them is not any more.
    released: Notify,
}

/// An item as far as it has come. Nobody else has it at the same time.
#[derive(Debug)]
pub(super) struct Partial {
    size: u64,
    kept: Mutex<Kept>,
    /// Declared last, so that it is dropped after the file is closed.
    _claim: Claim,
}

/// What there is of an item.
#[derive(Debug)]
struct Kept {
    storage: Storage,
    /// Whether each of the ranges is here.
    ranges: Vec<bool>,
    /// The hash of the first ranges, as far as none is missing, and how many those are. So what comes
    /// is hashed while the rest is on its way.
    hasher: Hasher,
    hashed: usize,
}

#[derive(Debug)]
enum Storage {
    Memory(Buffer),
    File {
        file: File,
        path: PathBuf,
    },
    /// The item is whole, and was taken.
    Gone,
}

/// That an item is being fetched.
#[derive(Debug)]
struct Claim {
    active: Arc<Active>,
    sha256: Digest,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.active.items).remove(&self.sha256);
        self.active.released.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partials {
    /// Keeps items in memory, until they are whole or given up.
    pub(crate) fn in_memory() -> Self {
        Self { directory: None, active: Arc::default() }
    }

    /// Keeps items of several ranges as files in `directory`, which is made when it is needed and
    /// is for nothing else.
    pub(crate) fn in_directory(directory: PathBuf) -> Self {
        Self { directory: Some(directory), active: Arc::default() }
    }

    /// Takes an item up, or where it was broken off, on again. Says which of its ranges are missing.
    /// Waits while somebody else fetches it.
    ///
    /// # Errors
    ///
    /// If its file cannot be used.
    pub(super) async fn begin(&self, item: Item) -> io::Result<(Partial, Vec<usize>)> {
        let claim = self.claim(&item).await;
        let partials = self.clone();
        let opening = move || {
            let (storage, missing) = partials.open(&item)?;
            let kept = Mutex::new(Kept::new(storage, item.size, &missing));
            Ok((Partial { size: item.size, kept, _claim: claim }, missing))
        };
        tokio::task::spawn_blocking(opening).await.map_err(io::Error::other)?
    }

    async fn claim(&self, item: &Item) -> Claim {
        loop {
            let released = self.active.released.notified();
            if let Entry::Vacant(vacant) = lock(&self.active.items).entry(item.sha256) {
                vacant.insert(item.size);
                return Claim { active: Arc::clone(&self.active), sha256: item.sha256 };
            }
            released.await;
        }
    }

    fn open(&self, item: &Item) -> io::Result<(Storage, Vec<usize>)> {
        let ranges = Range::count(item.size);
        let Some(directory) = self.directory.as_ref().filter(|_| ranges > 1) else {
            let size = usize::try_from(item.size).map_err(io::Error::other)?;
            return Ok((Storage::Memory(Buffer::zeroed(size)?), (0..ranges).collect()));
        };
        create_directory(directory)?;
        self.make_room(directory)?;
        let path = directory.join(item.sha256.hex());
        let mut file = open_file(&path)?;
        let missing = take_up(&mut file, item)?;
        Ok((Storage::File { file, path }, missing))
    }

    /// Removes the files of the oldest fetches that were broken off, until the rest and all that are
    /// under way keep to the bounds.
    fn make_room(&self, directory: &Path) -> io::Result<()> {
        let active = lock(&self.active.items);
        let (mut files, mut bytes) = (active.len(), active.values().sum::<u64>());
        let names: Vec<String> = active.keys().map(Digest::hex).collect();
        let mut resting = resting(directory, &names)?;
        resting.sort_by_key(|file| std::cmp::Reverse(file.modified));
        for file in resting {
            (files, bytes) = (files + 1, bytes.saturating_add(file.bytes));
            if files > MAX_FILES || bytes > MAX_BYTES {
                fs::remove_file(&file.path)?;
            }
        }
        Ok(())
    }
}

/// A file whose item is not being fetched.
struct Resting {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

fn resting(directory: &Path, active: &[String]) -> io::Result<Vec<Resting>> {
    let mut resting = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // The file of an item that is being fetched may go away at any time.
        if active.iter().any(|name| entry.file_name() == name.as_str()) {
            continue;
        }
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            let modified = metadata.modified()?;
            resting.push(Resting { path: entry.path(), bytes: metadata.len(), modified });
        }
    }
    Ok(resting)
}

fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Which ranges are missing in a file, which is emptied if it is not of this item.
fn take_up(file: &mut File, item: &Item) -> io::Result<Vec<usize>> {
    let mut header = [0; HEADER_BYTES];
    header[..HASH_BYTES].copy_from_slice(item.blake3.as_bytes());
    header[HASH_BYTES..].copy_from_slice(&item.size.to_be_bytes());
    let mut found = [0; HEADER_BYTES];
    let is_same = file.read_exact(&mut found).is_ok() && found == header;
    if !is_same {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&header)?;
    }
    file.set_len(position(item.size, item.size))?;
    let ranges = 0..Range::count(item.size);
    if !is_same {
        return Ok(ranges.collect());
    }
    let mut missing = Vec::new();
    for index in ranges {
        if !has(file, item.size, index)? {
            missing.push(index);
        }
    }
    Ok(missing)
}

/// Whether a range is in a file, as its hash says.
fn has(file: &mut File, size: u64, index: usize) -> io::Result<bool> {
    let mut hash = [0; HASH_BYTES];
    file.seek(SeekFrom::Start(slot(index)))?;
    file.read_exact(&mut hash)?;
    if hash == [0; HASH_BYTES] {
        return Ok(false);
    }
    let range = Range::nth(size, index);
    let mut bytes = vec![0; range.length as usize];
    file.seek(SeekFrom::Start(position(size, range.start)))?;
    file.read_exact(&mut bytes)?;
    Ok(blake3::hash(&bytes) == hash)
}

/// Where in a file the hash of a range is.
fn slot(index: usize) -> u64 {
    (HEADER_BYTES + index * HASH_BYTES) as u64
}

/// Where in a file the byte of an item of this size is.
fn position(size: u64, byte: u64) -> u64 {
    slot(Range::count(size)) + byte
}

impl Partial {
    /// Keeps the bytes of a range, which are verified. Blocks on the disk, and while others are kept.
    pub(super) fn keep(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let mut kept = lock(&self.kept);
        kept.write(self.size, index, bytes)?;
        kept.hash(self.size)
    }

    /// The bytes of the item, all of whose ranges are kept, if their SHA-256 is this. The file is
    /// removed in any case: where it is not, the list that named the item is wrong. Blocks on the
    /// disk.
    pub(super) fn finish(&self, sha256: Digest) -> io::Result<Option<Bytes>> {
        let mut kept = lock(&self.kept);
        kept.hash(self.size)?;
        let is_whole = kept.hashed == kept.ranges.len();
        let digest = std::mem::take(&mut kept.hasher).finish();
        let bytes = match std::mem::replace(&mut kept.storage, Storage::Gone) {
            Storage::Memory(whole) => whole,
            Storage::File { mut file, path } => {
                let size = usize::try_from(self.size).map_err(io::Error::other)?;
                let mut whole = Buffer::zeroed(size)?;
                file.seek(SeekFrom::Start(position(self.size, 0)))?;
                file.read_exact(&mut whole)?;
                fs::remove_file(path)?;
                whole
            }
            Storage::Gone => return Ok(None),
        };
        Ok((is_whole && digest == sha256).then(|| bytes.freeze()))
    }
}

impl Kept {
    fn new(storage: Storage, size: u64, missing: &[usize]) -> Self {
        let mut ranges = vec![true; Range::count(size)];
        missing.iter().for_each(|index| ranges[*index] = false);
        Self { storage, ranges, hasher: Hasher::default(), hashed: 0 }
    }

    fn write(&mut self, size: u64, index: usize, bytes: &[u8]) -> io::Result<()> {
        let start = Range::nth(size, index).start;
        match &mut self.storage {
            Storage::Memory(whole) => {
                let start = usize::try_from(start).map_err(io::Error::other)?;
                whole[start..start + bytes.len()].copy_from_slice(bytes);
            }
            Storage::File { file, .. } => {
                let hash = blake3::hash(bytes);
                file.seek(SeekFrom::Start(position(size, start)))?;
                file.write_all(bytes)?;
                file.seek(SeekFrom::Start(slot(index)))?;
                file.write_all(hash.as_bytes())?;
            }
            // A range that came twice, and late.
            Storage::Gone => {}
        }
        self.ranges[index] = true;
        Ok(())
    }

    /// Hashes what there is behind what is hashed.
    fn hash(&mut self, size: u64) -> io::Result<()> {
        let mut read = Vec::new();
        while self.ranges.get(self.hashed) == Some(&true) {
            let Range { start, length } = Range::nth(size, self.hashed);
            match &mut self.storage {
                Storage::Memory(whole) => {
                    let start = usize::try_from(start).map_err(io::Error::other)?;
                    self.hasher.update(&whole[start..start + length as usize]);
                }
                Storage::File { file, .. } => {
                    read.resize(length as usize, 0);
                    file.seek(SeekFrom::Start(position(size, start)))?;
                    file.read_exact(&mut read)?;
                    self.hasher.update(&read);
                }
                Storage::Gone => return Ok(()),
            }
            self.hashed += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
