//! Compiled modules, kept so that a module is compiled once.
//!
//! An artifact is native code: whoever can change one runs code as us. On disk, each file therefore
//! ends in a BLAKE3 hash keyed by a secret of its data directory, and is checked and mapped through
//! the same open handle. Files are written under a temporary name, renamed into place, never changed
//! there, and removed by unlinking, so a mapping stays whole for as long as it lives. They are not
//! synced: a file that a crash tore fails its check and is compiled again.
//!
//! Not covered: someone with our own user id, who needs no artifact to run code as us.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tempfile::NamedTempFile;

use crate::config::Profile;

/// Identifies the Wasm bytes that an artifact was compiled from: their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WasmId(pub [u8; 32]);

impl WasmId {
    fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// A compiled module, not loaded yet.
#[derive(Debug)]
pub(crate) enum Artifact {
    /// Fresh from the compiler, or kept in memory.
    Bytes(Arc<[u8]>),
    /// Checked, and still open.
    File(File),
}

impl Artifact {
    /// Its size in bytes, as far as it can be told.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.metadata().map_or(0, |metadata| metadata.len()),
        }
    }
}

/// Where artifacts are kept.
#[derive(Debug)]
pub struct ArtifactStore {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Directory(Directory),
    Memory(Cache<(WasmId, Profile), Arc<[u8]>, ByLength>),
}

/// Weighs an artifact by its bytes.
#[derive(Clone, Debug)]
struct ByLength;

impl Weighter<(WasmId, Profile), Arc<[u8]>> for ByLength {
    fn weight(&self, _: &(WasmId, Profile), bytes: &Arc<[u8]>) -> u64 {
        bytes.len() as u64
    }
}

/// How many artifacts the cache in memory makes room for at first; it grows past that.
const EXPECTED_IN_MEMORY: usize = 1024;

/// The key's file, and the length of the key and of each file's trailer.
const KEY_FILE: &str = "key";
const HASH_BYTES: usize = 32;

/// When the directory is over its limit, the oldest files go until it is down to this share.
const SWEEP_TO_PERCENT: u64 = 90;

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    key: [u8; HASH_BYTES],
    maximum_bytes: u64,
    /// Bytes in the directory; `UNKNOWN` until the first sweep counts them.
    bytes: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

/// What an artifact in memory is found by: the same for profiles that run the same code.
fn of_code(id: &WasmId, profile: Profile) -> (WasmId, Profile) {
    (*id, profile.compiled_as())
}

impl ArtifactStore {
    /// Keeps artifacts in memory, at most `maximum_bytes` of them.
    pub fn in_memory(maximum_bytes: u64) -> Self {
        let cache = Cache::with_weighter(EXPECTED_IN_MEMORY, maximum_bytes, ByLength);
        Self { place: Place::Memory(cache) }
    }

    /// Keeps artifacts in a directory, made if it is missing, at most `maximum_bytes` of them.
    ///
    /// # Errors
    ///
    /// When the directory or its key cannot be made or read.
    pub fn open(path: impl Into<PathBuf>, maximum_bytes: u64) -> io::Result<Self> {
        let path = path.into();
        create_private_directory(&path)?;
        let key = read_or_create_key(&path)?;
        let bytes = AtomicU64::new(UNKNOWN);
        Ok(Self { place: Place::Directory(Directory { path, key, maximum_bytes, bytes }) })
    }

    /// The artifact of `id`, if it is kept and whole.
    pub(crate) fn get(
        &self,
        id: &WasmId,
        profile: Profile,
        compatibility: u64,
    ) -> Option<Artifact> {
        match &self.place {
            Place::Directory(directory) => {
                directory.read(&directory.file(id, profile, compatibility), id)
            }
            Place::Memory(cache) => cache.get(&of_code(id, profile)).map(Artifact::Bytes),
        }
    }

    /// The size in bytes of the artifact of `id`, whole or not, if there is one.
    pub(crate) fn size(&self, id: &WasmId, profile: Profile, compatibility: u64) -> Option<u64> {
        match &self.place {
            Place::Directory(directory) => {
                let file = directory.file(id, profile, compatibility);
                file.metadata().ok().map(|metadata| metadata.len())
            }
            Place::Memory(cache) => {
                cache.peek(&of_code(id, profile)).map(|bytes| bytes.len() as u64)
            }
        }
    }

    /// Forgets the artifact of `id`.
    pub(crate) fn remove(&self, id: &WasmId, profile: Profile, compatibility: u64) {
        match &self.place {
            Place::Directory(directory) => {
                // Missing already is what was wanted; anything else is found when it is read.
                let _ = fs::remove_file(directory.file(id, profile, compatibility));
            }
            Place::Memory(cache) => {
                cache.remove(&of_code(id, profile));
            }
        }
    }

    /// Keeps a compiled module. A failure costs time later, not correctness, so it is only logged.
    pub(crate) fn put(&self, id: &WasmId, profile: Profile, compatibility: u64, bytes: &Arc<[u8]>) {
        match &self.place {
            Place::Directory(directory) => {
                let path = directory.file(id, profile, compatibility);
                if let Err(error) = directory.write(&path, id, bytes) {
                    tracing::warn!(%error, path = %path.display(), "cannot keep an artifact");
                }
            }
            Place::Memory(cache) => cache.insert(of_code(id, profile), Arc::clone(bytes)),
        }
    }
}

impl Directory {
    fn file(&self, id: &WasmId, profile: Profile, compatibility: u64) -> PathBuf {
        let hex = id.hex();
        // Two levels, so that no directory grows to hundreds of thousands of entries.
        self.path
            .join(format!("{}-{compatibility:016x}", profile.as_str()))
            .join(&hex[..2])
            .join(&hex[2..])
    }

    fn hasher(&self, id: &WasmId) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // The identity is part of it, so that one module's code cannot be put in another's place.
        hasher.update(&id.0);
        hasher
    }

    fn read(&self, path: &Path, id: &WasmId) -> Option<Artifact> {
        let file = File::open(path).ok()?;
        match self.check(file, id) {
            Ok(file) => Some(Artifact::File(file)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "dropping a damaged artifact");
                // Gone or not, it will not be used; the module is compiled again.
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Checks the trailer against the rest of the file and rewinds it.
    fn check(&self, mut file: File, id: &WasmId) -> io::Result<File> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its hash does not match");
        let size = file.metadata()?.len();
        let content = size.checked_sub(HASH_BYTES as u64).ok_or_else(damaged)?;
        let mut hasher = self.hasher(id);
        hasher.update_reader((&mut file).take(content))?;
        let mut trailer = [0; HASH_BYTES];
        file.read_exact(&mut trailer)?;
        // Comparing hashes of this type takes constant time.
        if hasher.finalize() != blake3::Hash::from_bytes(trailer) {
            return Err(damaged());
        }
        file.rewind()?;
        Ok(file)
    }

    fn write(&self, path: &Path, id: &WasmId, bytes: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.path);
        create_private_directory(parent)?;
        let mut temporary = NamedTempFile::new_in(parent)?;
        temporary.write_all(bytes)?;
        let hash = self.hasher(id).update(bytes).finalize();
        temporary.write_all(hash.as_bytes())?;
        set_mode(temporary.as_file(), 0o400)?;
        temporary.persist(path)?;
        self.added((bytes.len() + HASH_BYTES) as u64);
        Ok(())
    }

    /// Counts a new file and removes the oldest ones when there are too many bytes.
    fn added(&self, bytes: u64) {
        let known = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| {
            (sum != UNKNOWN).then(|| sum.saturating_add(bytes).min(UNKNOWN - 1))
        });
        if known.is_err() || known.is_ok_and(|sum| sum + bytes > self.maximum_bytes) {
            let kept = sweep(&self.path, self.maximum_bytes);
            self.bytes.store(kept, Ordering::Relaxed);
        }
    }
}

/// Removes the files that were written longest ago if there are more than `maximum` bytes, and
/// returns how many bytes are left.
fn sweep(directory: &Path, maximum: u64) -> u64 {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(path) = directories.pop() {
        // What cannot be read is not counted; the next sweep tries again.
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) if entry.file_name() != KEY_FILE => {
                    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push((written, metadata.len(), entry.path()));
                }
                _ => {}
            }
        }
    }
    let mut sum = files.iter().map(|(_, bytes, _)| bytes).sum();
    if sum > maximum {
        files.sort_unstable();
        for (_, bytes, path) in files {
            if sum <= maximum / 100 * SWEEP_TO_PERCENT {
                break;
            }
            if fs::remove_file(path).is_ok() {
                sum -= bytes;
            }
        }
    }
    sum
}

fn read_or_create_key(directory: &Path) -> io::Result<[u8; HASH_BYTES]> {
    let path = directory.join(KEY_FILE);
    let mut key = [0; HASH_BYTES];
    match File::open(&path) {
        Ok(mut file) => {
            let wrong = || {
                let advice = "its file `key` is damaged; delete it, and all is compiled again";
                io::Error::new(io::ErrorKind::InvalidData, advice)
            };
            if file.metadata()?.len() != HASH_BYTES as u64 {
                return Err(wrong());
            }
            file.read_exact(&mut key)?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            let mut temporary = NamedTempFile::new_in(directory)?;
            temporary.write_all(&key)?;
            set_mode(temporary.as_file(), 0o400)?;
            temporary.as_file().sync_all()?;
            temporary.persist(&path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = (file, mode);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: WasmId = WasmId([7; 32]);

    fn read(artifact: Option<Artifact>) -> Option<Vec<u8>> {
        match artifact? {
            Artifact::Bytes(bytes) => Some(bytes.to_vec()),
            Artifact::File(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - HASH_BYTES);
                Some(bytes)
            }
        }
    }

    fn path_of(store: &ArtifactStore, id: &WasmId) -> PathBuf {
        match &store.place {
            Place::Directory(directory) => directory.file(id, Profile::Fast, 1),
            Place::Memory(_) => panic!("not on disk"),
        }
    }

    fn code(bytes: &[u8]) -> Arc<[u8]> {
        bytes.into()
    }

    #[test]
    fn what_was_put_is_got_also_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(directory.path(), 1 << 20).unwrap();
        store.put(&ID, Profile::Fast, 1, &code(b"code"));
        assert_eq!(read(store.get(&ID, Profile::Fast, 1)).unwrap(), b"code");
        let store = ArtifactStore::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(read(store.get(&ID, Profile::Fast, 1)).unwrap(), b"code");
        assert!(store.get(&ID, Profile::Metered, 1).is_none());
        assert!(store.get(&ID, Profile::Fast, 2).is_none());
        store.remove(&ID, Profile::Fast, 1);
        assert!(store.get(&ID, Profile::Fast, 1).is_none());
    }

    #[test]
    fn any_flipped_bit_truncation_or_swap_is_refused_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(directory.path(), 1 << 20).unwrap();
        let path = path_of(&store, &ID);
        let write = |bytes: &[u8]| {
            let _ = fs::remove_file(&path);
            fs::write(&path, bytes).unwrap();
        };
        store.put(&ID, Profile::Fast, 1, &code(b"code"));
        let whole = fs::read(&path).unwrap();
        for byte in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            write(&damaged);
            assert!(store.get(&ID, Profile::Fast, 1).is_none(), "byte {byte}");
            assert!(!path.exists());
        }
        for length in 0..whole.len() {
            write(&whole[..length]);
            assert!(store.get(&ID, Profile::Fast, 1).is_none(), "length {length}");
        }
        let other = WasmId([8; 32]);
        store.put(&other, Profile::Fast, 1, &code(b"other"));
        write(&fs::read(path_of(&store, &other)).unwrap());
        assert!(store.get(&ID, Profile::Fast, 1).is_none());
    }

    #[test]
    fn lengths_around_every_boundary_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(directory.path(), 1 << 20).unwrap();
        let path = path_of(&store, &ID);
        let bytes: Vec<u8> = (0..3 * 4096_u32).map(|n| (n % 251) as u8).collect();
        store.put(&ID, Profile::Fast, 1, &code(&bytes));
        let whole = fs::read(&path).unwrap();
        let boundaries = [0, HASH_BYTES, 4096, bytes.len() - 4096, bytes.len(), whole.len()];
        let around = |boundary: usize| boundary.saturating_sub(1)..boundary + 2;
        for length in boundaries.into_iter().flat_map(around) {
            let mut file = whole.clone();
            file.resize(length, 0);
            let _ = fs::remove_file(&path);
            fs::write(&path, &file).unwrap();
            let got = read(store.get(&ID, Profile::Fast, 1));
            assert_eq!(got.is_some(), length == whole.len(), "length {length}");
        }
    }

    #[test]
    fn another_data_directorys_artifacts_are_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = ArtifactStore::open(ours.path(), 1 << 20).unwrap();
        let theirs = ArtifactStore::open(theirs.path(), 1 << 20).unwrap();
        theirs.put(&ID, Profile::Fast, 1, &code(b"code"));
        ours.put(&ID, Profile::Fast, 1, &code(b"code"));
        fs::remove_file(path_of(&ours, &ID)).unwrap();
        fs::copy(path_of(&theirs, &ID), path_of(&ours, &ID)).unwrap();
        assert!(ours.get(&ID, Profile::Fast, 1).is_none());
        assert!(theirs.get(&ID, Profile::Fast, 1).is_some());
    }

    #[test]
    fn what_a_killed_process_was_writing_is_never_taken_for_an_artifact() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(directory.path(), 10_000).unwrap();
        let path = path_of(&store, &ID);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for length in [0, 1, 9_000] {
            let mut unfinished = NamedTempFile::new_in(path.parent().unwrap()).unwrap();
            unfinished.write_all(&vec![1; length]).unwrap();
            unfinished.keep().unwrap();
        }
        assert!(store.get(&ID, Profile::Fast, 1).is_none());
        // It counts and is removed like what was finished, so it does not add up.
        store.put(&ID, Profile::Fast, 1, &code(&[0; 5000]));
        assert!(store.get(&ID, Profile::Fast, 1).is_some());
        assert!(sweep(directory.path(), u64::MAX) <= 10_000);
    }

    #[test]
    fn what_cannot_be_written_is_not_kept_and_harms_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("artifacts");
        let store = ArtifactStore::open(&directory, 1 << 20).unwrap();
        store.put(&ID, Profile::Fast, 1, &code(b"code"));
        // Gone: it is made again.
        fs::remove_dir_all(&directory).unwrap();
        assert!(store.get(&ID, Profile::Fast, 1).is_none());
        store.put(&ID, Profile::Fast, 1, &code(b"code"));
        assert!(store.get(&ID, Profile::Fast, 1).is_some());
        // Something else in its place: nothing can be written there.
        fs::remove_dir_all(&directory).unwrap();
        fs::write(&directory, "").unwrap();
        store.put(&ID, Profile::Fast, 1, &code(b"code"));
        assert!(store.get(&ID, Profile::Fast, 1).is_none());
        store.remove(&ID, Profile::Fast, 1);
        assert_eq!(store.size(&ID, Profile::Fast, 1), None);
    }

    #[test]
    fn the_directory_stays_below_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(directory.path(), 10_000).unwrap();
        for number in 0..100 {
            store.put(&WasmId([number; 32]), Profile::Fast, 1, &code(&[0; 1000]));
            assert!(sweep(directory.path(), u64::MAX) <= 10_000);
        }
        let newest = store.get(&WasmId([99; 32]), Profile::Fast, 1);
        assert!(newest.is_some());
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), b"short").unwrap();
        assert!(ArtifactStore::open(directory.path(), 1).is_err());
    }
}
