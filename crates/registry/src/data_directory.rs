//! The data directory: the one place for everything durable.
//!
//! It holds `lock` (the process that uses it), `format` (the version of its layout),
//! `registry.redb` and `artifacts/`. Two servers on one directory would each believe what the other
//! changes, so it is locked before anything else is looked at; and a layout that this version does
//! not know is refused rather than guessed at.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

/// How long a process that has the directory locked may take to be gone.
const UNTIL_GONE: Duration = Duration::from_secs(1);

/// How long to wait before trying again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// The version of the layout, as the `format` file says it.
const FORMAT: &str = "2";

/// Versions before it that are read as well, and become [`FORMAT`] when they are opened, since what is
/// written from then on is nothing that they know. In `1` all blobs are whole, in `2` large ones are in
/// parts.
const FORMER_FORMATS: [&str; 1] = ["1"];

/// More than this of a `lock` or `format` file is not read: they hold a number.
const MAX_NUMBER_BYTES: u64 = 64;

/// The directory everything durable lives in, locked against a second process for as long as this
/// lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Holds the lock; the system releases it when the process ends, however it ends.
    lock: File,
}

/// A directory that cannot be used.
#[derive(Debug, Error)]
pub enum DataDirectoryError {
    /// It is in use.
    #[error("the data directory {} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, as far as that can be read.
        pid: Option<u32>,
    },
    /// Another version wrote it.
    #[error(
        "the data directory {} has format {found:?}, and this version reads {FORMAT:?}: use the \
         version that wrote it, or another directory", path.display()
    )]
    UnknownFormat {
        /// The directory.
        path: PathBuf,
        /// What its `format` file says.
        found: String,
    },
    /// A file or directory in it could not be made, read, written or locked.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl DataDirectory {
    /// Locks the directory, and makes it, readable by this user only, if it is missing. Blocks on
    /// the disk, never for the lock.
    ///
    /// # Errors
    ///
    /// As [`DataDirectoryError`] says.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirectoryError> {
        let path = path.into();
        create(&path).map_err(failed("create", &path))?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self { path, lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the registry's database is: `registry.redb`.
    pub fn registry_path(&self) -> PathBuf {
        self.path.join("registry.redb")
    }

    /// Where compiled modules are kept: `artifacts`, a directory that this does not make.
    pub fn artifacts_path(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// Where content is put that comes from other nodes, until all of it is there: `partial`, a
    /// directory that this does not make.
    pub fn partial_path(&self) -> PathBuf {
        self.path.join("partial")
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // So that whoever finds the directory locked next does not read our process id. Only a
        // message would be wrong, and closing the file releases the lock in any case.
        let _ = self.lock.set_len(0);
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process {pid}"))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirectoryError {
    move |source| DataDirectoryError::Io { action, path: path.to_owned(), source }
}

/// Makes the directory and those above it, durably: what is synced in a directory that the loss of
/// power takes away is lost with it.
fn create(path: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = path.ancestors().take_while(missing).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    missing.into_iter().try_for_each(sync_parent)
}

/// Locks the file, unless another process has it locked and keeps it so: one that was killed may take
/// a moment to be gone, and so may what it was just about to start.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if started.elapsed() < UNTIL_GONE => {
                thread::sleep(BETWEEN_ATTEMPTS);
            }
            locked => return locked,
        }
    }
}

fn lock(directory: &Path) -> Result<File, DataDirectoryError> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirectoryError::Locked {
                path: directory.to_owned(),
                pid: read_number(&mut file).ok().and_then(|pid| pid.parse().ok()),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(file)
}

fn check_format(directory: &Path) -> Result<(), DataDirectoryError> {
    let path = directory.join("format");
    let found = match File::open(&path) {
        Ok(mut file) => read_number(&mut file).map_err(failed("read", &path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_format(&path).map_err(failed("write", &path));
        }
        Err(error) => return Err(failed("open", &path)(error)),
    };
    if found == FORMAT {
        return Ok(());
    }
    if FORMER_FORMATS.contains(&&*found) {
        return write_format(&path).map_err(failed("write", &path));
    }
    Err(DataDirectoryError::UnknownFormat { path: directory.to_owned(), found })
}

/// Under another name first, so that a crash leaves no empty `format`.
fn write_format(path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)
}

fn read_number(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_NUMBER_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Makes a new or renamed file's place in its directory durable, where directories can be synced.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests;
