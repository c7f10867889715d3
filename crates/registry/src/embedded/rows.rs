//! Rows beside the content, for a backend that is built upon this one: what it keeps of its own, and
//! registering and deleting together with it, in one transaction.
//!
//! Whoever uses them gives the keys their prefixes and the values their meaning.

use std::ops::Bound;

use bytes::Bytes;
use redb::TableError;

use super::RedbBackend;
use super::snapshot::Snapshot;
use super::tables::{Outcome, ROWS};
use crate::{Creation, DeleteError, MAX_PAGE, Reference, RegisterError, Registered, StorageError};

/// A change to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which row.
    pub key: Bytes,
    /// What it holds from now on; `None` removes it.
    pub value: Option<Bytes>,
}

/// Some of the rows whose keys begin alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPage {
    /// Key and value of each, in the byte order of the keys.
    pub rows: Vec<(Bytes, Bytes)>,
    /// After which key the next page starts; `None` on the last.
    pub next: Option<Bytes>,
}

impl RedbBackend {
    /// A page of the rows whose keys begin with `prefix`, from the first one after the key `after`,
    /// which need not be there (any more). `limit` is how many at most; less than 1 is read as 1, and
    /// more than [`MAX_PAGE`] as that. The page is read into memory.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub async fn rows(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<RowPage, StorageError> {
        let limit = limit.clamp(1, MAX_PAGE);
        self.read_blocking(move |snapshot| snapshot.rows(&prefix, after.as_deref(), limit)).await
    }

    /// What a row holds; `None` if there is no such row. Read where it is asked for, from redb's
    /// cache or the disk.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub async fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.store.read(|snapshot| snapshot.row(key))
    }

    /// Writes and removes rows, all of them in one transaction that is durable when this returns.
    /// Of two changes to one row the later one counts. Dropping the future does not take it back.
    ///
    /// # Errors
    ///
    /// As the storage does; after one they may have been written all the same, but not in part.
    pub async fn write(&self, rows: Vec<Row>) -> Result<(), StorageError> {
        let submitted = self.writer.submit(size(&rows), move |change| Ok(Ok(change.write(&rows)?)));
        submitted.await
    }

    /// Creates as [`Backend::create`](crate::Backend::create) does, under the names of owners as
    /// well, and writes the rows in the same transaction: also if the very same is registered
    /// already, and not if the creation is refused.
    ///
    /// # Errors
    ///
    /// As [`RegisterError`] says.
    pub async fn create_with(
        &self,
        creation: Creation,
        rows: Vec<Row>,
    ) -> Result<Registered, RegisterError> {
        let bytes = creation.wasm().len() + size(&rows);
        self.writer.submit(bytes, move |change| change.create_with(&creation, &rows)).await
    }

    /// Deletes as [`Backend::delete`](crate::Backend::delete) does, and writes the rows in the same
    /// transaction, unless the deletion is refused.
    ///
    /// # Errors
    ///
    /// As [`DeleteError`] says.
    pub async fn delete_with(
        &self,
        reference: Reference,
        rows: Vec<Row>,
    ) -> Result<(), DeleteError> {
        let bytes = size(&rows);
        self.writer.submit(bytes, move |change| change.delete_with(&reference, &rows)).await
    }
}

/// How much memory rows hold, in bytes.
fn size(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.key.len() + row.value.as_ref().map_or(0, Bytes::len)).sum()
}

type RowsTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Snapshot<'_> {
    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Outcome<RowPage> {
        let mut page = RowPage::default();
        let Some(table) = self.rows_table()? else {
            return Ok(page);
        };
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        for row in table.range::<&[u8]>((start, Bound::Unbounded))? {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            if page.rows.len() == limit {
                page.next = page.rows.last().map(|(key, _)| key.clone());
                break;
            }
            page.rows.push((owned(key.value()), owned(value.value())));
        }
        Ok(page)
    }

    fn row(&self, key: &[u8]) -> Outcome<Option<Bytes>> {
        let Some(table) = self.rows_table()? else {
            return Ok(None);
        };
        Ok(table.get(key)?.map(|value| owned(value.value())))
    }

    /// `None` in a database that had no rows yet.
    fn rows_table(&self) -> Outcome<Option<RowsTable>> {
        match self.0.open_table(ROWS) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn owned(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
