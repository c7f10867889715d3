//! The database file: opening it, and opening it again after a failure.
//!
//! After any I/O error redb refuses to go on until it is closed and opened again, because it no
//! longer knows what the file holds. Most such errors pass (a full disk), so this does that, once
//! nobody uses the database. redb also trusts what a clean shutdown left, and may panic on a file
//! that something else changed; that is caught here and is corruption.

use std::fs::OpenOptions;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};

use super::change::{Changes, initialise};
use super::file::StoreFile;
use super::memory::Memory;
use super::snapshot::Snapshot;
use super::tables::{Outcome, corrupt};
use crate::StorageError;
use crate::data_directory::sync_parent;

/// Opens the same database again.
type Reopen = Box<dyn Fn() -> Outcome<Database> + Send + Sync>;

/// An open database.
pub(super) struct Store {
    slot: RwLock<Slot>,
    /// `None` where nothing would be left to open: in memory.
    reopen: Option<Reopen>,
    /// `None` in memory.
    file: Option<StoreFile>,
}

struct Slot {
    /// `None` after opening again failed; the next one to need it tries once more.
    database: Option<Database>,
    /// How often the database was opened. Who saw it fail says which one, so that it is opened
    /// again once and not once for each of them.
    openings: u64,
}

impl Store {
    /// Opens the database at `path`, and makes it if there is none. Reads and writes the disk.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, StorageError> {
        let opened = guarded(|| {
            if !path.try_exists()? {
                create_file(path, cache_bytes)?;
            }
            open_file(path, cache_bytes)
        });
        let database = opened.map_err(storage_error)?;
        let file = StoreFile::at(path)?;
        let again = file.clone();
        let reopen = Box::new(move || {
            again.check_in_place()?;
            open_file(again.path(), cache_bytes)
        });
        let mut store = Self::new(database, Some(reopen));
        store.read(|snapshot| snapshot.check_format())?;
        store.file = Some(file);
        Ok(store)
    }

    pub(super) fn in_memory(cache_bytes: usize) -> Result<Self, StorageError> {
        let database = guarded(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(cache_bytes);
            let database = builder.create_with_backend(Memory::default())?;
            commit(database.begin_write()?, initialise)?;
            Ok(database)
        });
        Ok(Self::new(database.map_err(storage_error)?, None))
    }

    /// A store of a database that has its tables.
    pub(super) fn new(database: Database, reopen: Option<Reopen>) -> Self {
        let slot = RwLock::new(Slot { database: Some(database), openings: 1 });
        Self { slot, reopen, file: None }
    }

    /// Where it is; `None` in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(StoreFile::path)
    }

    /// Whether what is written is found again by whoever opens the file next.
    pub(super) fn check_in_place(&self) -> Result<(), StorageError> {
        Ok(self.file.as_ref().map_or(Ok(()), StoreFile::check_in_place)?)
    }

    /// Asks the last committed state.
    pub(super) fn read<T>(
        &self,
        query: impl Fn(&Snapshot<'_>) -> Outcome<T>,
    ) -> Result<T, StorageError> {
        self.retrying(|database| query(&Snapshot(&database.begin_read()?)))
            .map_err(|error| self.failure(error))
    }

    /// Applies a change in a transaction of its own. When this returns it is durable or, where it
    /// says that it changed nothing, dropped. After an error it may have been applied, but not in
    /// part.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Outcome<Changes>,
    ) -> Result<Changes, StorageError> {
        // A change can be tried once only: a commit that fails may have come to be durable. So
        // what an earlier failure left is found out beforehand.
        self.retrying(|database| Ok(database.begin_write()?.abort()?))
            .map_err(|error| self.failure(error))?;
        let (opening, result) = self.with(|database| commit(database.begin_write()?, change));
        let changes = result.map_err(|error| {
            if let Err(error) = self.open_again(opening) {
                tracing::error!(%error, "the registry's database cannot be opened again");
            }
            self.failure(error)
        })?;
        if changes.any {
            self.check_in_place()?;
        }
        Ok(changes)
    }

    /// What failed, and where it is if it has to be repaired.
    fn failure(&self, error: redb::Error) -> StorageError {
        match (storage_error(error), self.path()) {
            (StorageError::Corrupt { detail }, Some(path)) => {
                StorageError::corrupt(format!("{detail}, in {}", path.display()))
            }
            (error, _) => error,
        }
    }

    /// Runs `run`, which does nothing that cannot be repeated, and if the database does not go on
    /// after an earlier failure, once more on one that was opened again.
    fn retrying<T>(&self, run: impl Fn(&Database) -> Outcome<T>) -> Outcome<T> {
        match self.with(&run) {
            (opening, Err(redb::Error::PreviousIo)) => {
                self.open_again(opening)?;
                self.with(&run).1
            }
            (_, result) => result,
        }
    }

    /// Runs `run`, and says on which opening of the database.
    fn with<T>(&self, run: impl FnOnce(&Database) -> Outcome<T>) -> (u64, Outcome<T>) {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let result = match &slot.database {
            Some(database) => guarded(|| run(database)),
            None => Err(redb::Error::PreviousIo),
        };
        (slot.openings, result)
    }

    /// Opens the database again, unless somebody has since `failed`. Waits for those who use it.
    fn open_again(&self, failed: u64) -> Outcome<()> {
        let Some(reopen) = &self.reopen else {
            return Ok(());
        };
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.openings != failed {
            return Ok(());
        }
        if let Some(database) = slot.database.take() {
            // The failure is why it is closed, so a failure to close it is no news.
            let _ = guarded(|| Ok(database.close()?));
        }
        slot.database = Some(guarded(reopen)?);
        slot.openings += 1;
        tracing::warn!("the registry's database failed and was opened again");
        Ok(())
    }
}

impl Drop for Store {
    /// Closes the database, which writes to the file, and on one that is damaged may panic.
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = slot.database.take()
            && let Err(error) = guarded(|| Ok(database.close()?))
        {
            tracing::warn!(%error, "the registry's database was not closed in good order");
        }
    }
}

/// Commits what `change` does, so that it survives the loss of power, and so that opening the
/// database after one needs no repair.
fn commit(
    mut transaction: WriteTransaction,
    change: impl FnOnce(&WriteTransaction) -> Outcome<Changes>,
) -> Outcome<Changes> {
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    let changes = change(&transaction)?;
    if changes.any {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(changes)
}

/// Makes a database elsewhere and renames it: redb does not take up a file that it was killed in
/// the middle of making.
fn create_file(path: &Path, cache_bytes: usize) -> Outcome<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let file = private().truncate(true).open(unfinished)?;
    create_backend(FileBackend::new(file)?, cache_bytes)?;
    std::fs::rename(unfinished, path)?;
    sync_parent(path)?;
    Ok(())
}

/// Makes an empty database that is durable when this returns.
pub(super) fn create_backend(backend: impl StorageBackend, cache_bytes: usize) -> Outcome<()> {
    let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(backend)?;
    commit(database.begin_write()?, initialise)?;
    Ok(database.close()?)
}

fn open_file(path: &Path, cache_bytes: usize) -> Outcome<Database> {
    Ok(Builder::new().set_cache_size(cache_bytes).open(path)?)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Runs `run`, and takes a panic of redb's for what it is: a file that redb did not write.
fn guarded<T>(run: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    // What a panic interrupts is redb's own state, which redb marks as in need of repair.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(corrupt(format!("redb panicked: {message}")))
    })
}

fn storage_error(error: redb::Error) -> StorageError {
    match error {
        redb::Error::Io(error) => error.into(),
        redb::Error::Corrupted(detail) => StorageError::corrupt(detail),
        error @ (redb::Error::UpgradeRequired(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }) => StorageError::corrupt(error.to_string()),
        error => StorageError::other(error.to_string()),
    }
}
