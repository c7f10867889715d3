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
use wasm_exec_registry::Digest;

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
    storage: Storage,
    /// Declared last, so that it is dropped after the file is closed.
    _claim: Claim,
}

#[derive(Debug)]
enum Storage {
    Memory(Mutex<Vec<u8>>),
    File { file: Mutex<File>, path: PathBuf },
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
            Ok((Partial { size: item.size, storage, _claim: claim }, missing))
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
            return Ok((Storage::Memory(Mutex::new(vec![0; size])), (0..ranges).collect()));
        };
        create_directory(directory)?;
        self.make_room(directory)?;
        let path = directory.join(item.sha256.hex());
        let mut file = open_file(&path)?;
        let missing = take_up(&mut file, item)?;
        Ok((Storage::File { file: Mutex::new(file), path }, missing))
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
        let metadata = entry.metadata()?;
        let is_active = active.iter().any(|name| entry.file_name() == name.as_str());
        if metadata.is_file() && !is_active {
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
    /// Keeps the bytes of a range, which are verified. Blocks on the disk.
    pub(super) fn keep(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let start = Range::nth(self.size, index).start;
        match &self.storage {
            Storage::Memory(whole) => {
                let mut whole = lock(whole);
                let start = usize::try_from(start).map_err(io::Error::other)?;
                // It is not there any more where the item is whole, and the range came twice.
                if let Some(place) = whole.get_mut(start..start + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
                Ok(())
            }
            Storage::File { file, .. } => {
                let hash = blake3::hash(bytes);
                let mut file = lock(file);
                file.seek(SeekFrom::Start(position(self.size, start)))?;
                file.write_all(bytes)?;
                file.seek(SeekFrom::Start(slot(index)))?;
                file.write_all(hash.as_bytes())
            }
        }
    }

    /// The bytes of the item, all of whose ranges are kept, if their SHA-256 is this. The file is
    /// removed in any case: where it is not, the list that named the item is wrong. Blocks on the
    /// disk, and for about a millisecond per megabyte.
    pub(super) fn finish(&self, sha256: Digest) -> io::Result<Option<Bytes>> {
        let bytes = match &self.storage {
            Storage::Memory(whole) => std::mem::take(&mut *lock(whole)),
            Storage::File { file, path } => {
                let mut bytes = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
                let mut file = lock(file);
                file.seek(SeekFrom::Start(position(self.size, 0)))?;
                file.read_exact(&mut bytes)?;
                fs::remove_file(path)?;
                bytes
            }
        };
        Ok((Digest::of(&bytes) == sha256).then(|| bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::RANGE_BYTES;
    use super::*;
    use crate::contents::Kind;

    const WHOLE: usize = RANGE_BYTES as usize;

    fn blob(seed: u8) -> Vec<u8> {
        (0..2 * WHOLE + 100).map(|index| (index % 251) as u8 ^ seed).collect()
    }

    fn item(bytes: &[u8]) -> Item {
        Item::of(Kind::Wasm, Digest::of(bytes), bytes)
    }

    fn range(bytes: &[u8], index: usize) -> &[u8] {
        bytes.chunks(WHOLE).nth(index).unwrap()
    }

    #[tokio::test]
    async fn is_put_together_in_any_order() {
        let root = tempfile::tempdir().unwrap();
        let bytes = blob(0);
        let item = item(&bytes);
        for partials in [Partials::in_memory(), Partials::in_directory(root.path().join("a/b"))] {
            let (partial, missing) = partials.begin(item).await.unwrap();
            assert_eq!(missing, [0, 1, 2]);
            for index in [2, 0, 1, 0] {
                partial.keep(index, range(&bytes, index)).unwrap();
            }
            assert!(partial.finish(item.sha256).unwrap().unwrap() == bytes);
            // A range that comes a second time and late does no harm.
            partial.keep(1, range(&bytes, 1)).unwrap();
        }
        assert_eq!(fs::read_dir(root.path().join("a/b")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn goes_on_with_what_is_there_and_whole() {
        let root = tempfile::tempdir().unwrap();
        let partials = Partials::in_directory(root.path().to_owned());
        let bytes = blob(0);
        let item = item(&bytes);
        let (partial, _) = partials.begin(item).await.unwrap();
        partial.keep(1, range(&bytes, 1)).unwrap();
        partial.keep(2, range(&bytes, 2)).unwrap();
        drop(partial);

        let path = root.path().join(item.sha256.hex());
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(position(item.size, item.size - 1))).unwrap();
        file.write_all(b"!").unwrap();

        let partials = Partials::in_directory(root.path().to_owned());
        let (partial, missing) = partials.begin(item).await.unwrap();
        assert_eq!(missing, [0, 2]);
        for index in missing {
            partial.keep(index, range(&bytes, index)).unwrap();
        }
        assert!(partial.finish(item.sha256).unwrap().unwrap() == bytes);
    }

    #[tokio::test]
    async fn a_file_of_another_list_or_cut_short_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let partials = Partials::in_directory(root.path().to_owned());
        let bytes = blob(0);
        let item = item(&bytes);
        let keep_all = async |item: Item| {
            let (partial, missing) = partials.begin(item).await.unwrap();
            (0..3).for_each(|index| partial.keep(index, range(&bytes, index)).unwrap());
            missing.len()
        };
        assert_eq!(keep_all(item).await, 3);
        assert_eq!(keep_all(item).await, 0);
        assert_eq!(keep_all(Item { blake3: blake3::hash(b"another"), ..item }).await, 3);
        assert_eq!(keep_all(item).await, 3);
        let file = OpenOptions::new().write(true).open(root.path().join(item.sha256.hex()));
        file.unwrap().set_len(HEADER_BYTES as u64 + 5).unwrap();
        assert_eq!(keep_all(item).await, 3);
    }

    #[tokio::test]
    async fn what_is_not_as_stated_is_removed() {
        let root = tempfile::tempdir().unwrap();
        for partials in [Partials::in_memory(), Partials::in_directory(root.path().to_owned())] {
            let item = item(&blob(0));
            let (partial, _) = partials.begin(item).await.unwrap();
            let other = blob(1);
            (0..3).for_each(|index| partial.keep(index, range(&other, index)).unwrap());
            assert_eq!(partial.finish(item.sha256).unwrap(), None);
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_item_is_fetched_once_at_a_time() {
        let partials = Partials::in_memory();
        let item = item(b"wasm");
        let (partial, _) = partials.begin(item).await.unwrap();
        let mut second = Box::pin(partials.begin(item));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(partial);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many() {
        let root = tempfile::tempdir().unwrap();
        let partials = Partials::in_directory(root.path().to_owned());
        let begin = async |seed: usize| {
            let item = Item {
                kind: Kind::Wasm,
                sha256: Digest::of(&seed.to_le_bytes()),
                blake3: blake3::hash(b""),
                size: 2 * u64::from(RANGE_BYTES),
            };
            let (partial, _) = partials.begin(item).await.unwrap();
            let path = root.path().join(item.sha256.hex());
            let age = std::time::Duration::from_secs(1_000 + seed as u64);
            File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
            (partial, path)
        };
        let (kept, first) = begin(0).await;
        let mut paths = Vec::new();
        for seed in 1..MAX_FILES + 3 {
            paths.push(begin(seed).await.1);
        }
        let there: Vec<bool> = paths.iter().map(|path: &PathBuf| path.exists()).collect();
        assert!(first.exists(), "it is being fetched");
        assert_eq!(there.iter().filter(|there| **there).count(), MAX_FILES - 1);
        assert!(there.is_sorted(), "{there:?}");
        drop(kept);
    }
}
