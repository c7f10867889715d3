//! Reading: questions to one state of the database.

use std::ops::Bound;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableError};

use super::tables::{
    BLOB_PARTS, BLOB_SIZES, BLOBS, FORMAT, FORMAT_ROW, MANIFESTS, META, NAMES, NAMES_OF, Outcome,
    RELEASES, Seconds, UNNAMED, corrupt, parse_entry, parse_manifest, parse_name, time,
};
use crate::mapped::{self, Buffer};
use crate::{
    Digest, Entry, ListQuery, MAX_LISTED_NAMES, Manifest, ModuleRecord, Name, Page, Summary, View,
};

/// How many names of one module are looked at for those that a view shows. A module that has more
/// hidden names than this is taken to have no others.
const MAX_SCANNED_NAMES: usize = 10_000;

/// One state of the database; what is committed later is not seen.
pub(super) struct Snapshot<'a>(pub(super) &'a ReadTransaction);

impl Snapshot<'_> {
    pub(super) fn check_format(&self) -> Outcome<()> {
        let meta = self.0.open_table(META)?;
        match meta.get(FORMAT_ROW)?.map(|format| format.value()) {
            Some(FORMAT) => Ok(()),
            Some(other) => {
                Err(corrupt(format!("its format is {other}, and this version reads {FORMAT}")))
            }
            None => Err(corrupt("it does not say which format it has")),
        }
    }

    pub(super) fn resolve(&self, name: &Name) -> Outcome<Option<Entry>> {
        if let Some(entry) = self.entry(name.clone())? {
            return Ok(Some(entry));
        }
        if name.version().is_some() {
            return Ok(None);
        }
        let releases = self.0.open_table(RELEASES)?;
        let label = name.as_str();
        let mut of_label =
            releases.range((label, 0, 0, 0)..=(label, u64::MAX, u64::MAX, u64::MAX))?;
        let Some(highest) = of_label.next_back().transpose()? else {
            return Ok(None);
        };
        let release = parse_name(highest.1.value())?;
        match self.entry(release.clone())? {
            Some(entry) => Ok(Some(entry)),
            None => Err(corrupt(format!("the release {release} is no name"))),
        }
    }

    fn entry(&self, name: Name) -> Outcome<Option<Entry>> {
        let names = self.0.open_table(NAMES)?;
        let row = names.get(name.as_str())?;
        row.map(|row| parse_entry(name, row.value())).transpose()
    }

    pub(super) fn manifest(&self, digest: Digest) -> Outcome<Option<Manifest>> {
        Ok(self.dated_manifest(digest)?.map(|(_, manifest)| manifest))
    }

    fn dated_manifest(&self, digest: Digest) -> Outcome<Option<(Seconds, Manifest)>> {
        let manifests = self.0.open_table(MANIFESTS)?;
        let Some(row) = manifests.get(digest)? else {
            return Ok(None);
        };
        let (seconds, text) = row.value();
        Ok(Some((seconds, parse_manifest(digest, text)?)))
    }

    pub(super) fn module(&self, digest: Digest, view: &View) -> Outcome<Option<ModuleRecord>> {
        let Some((seconds, manifest)) = self.dated_manifest(digest)? else {
            return Ok(None);
        };
        let names_of = self.0.open_multimap_table(NAMES_OF)?;
        let names = names_of
            .get(digest)?
            .take(MAX_SCANNED_NAMES)
            .map(|name| parse_name(name?.value()))
            .filter(|name| name.as_ref().map_or(true, |name| view.shows(name)))
            .take(MAX_LISTED_NAMES)
            .collect::<Outcome<_>>()?;
        let unnamed = self.0.open_table(UNNAMED)?;
        Ok(Some(ModuleRecord {
            digest,
            wasm_size: self.size_of(&manifest)?,
            manifest,
            names,
            registered_at: time(seconds)?,
            unnamed: unnamed.get(digest.to_string().as_str())?.is_some(),
        }))
    }

    fn size_of(&self, manifest: &Manifest) -> Outcome<u64> {
        self.blob_size(manifest.wasm)?
            .ok_or_else(|| corrupt(format!("the blob {} has no size", manifest.wasm)))
    }

    pub(super) fn blob_size(&self, digest: Digest) -> Outcome<Option<u64>> {
        let sizes = self.0.open_table(BLOB_SIZES)?;
        Ok(sizes.get(digest)?.map(|size| size.value()))
    }

    pub(super) fn blob(&self, digest: Digest) -> Outcome<Option<Bytes>> {
        let blobs = self.0.open_table(BLOBS)?;
        if let Some(blob) = blobs.get(digest)? {
            return Ok(Some(mapped::copy(blob.value())?));
        }
        match self.blob_size(digest)? {
            Some(size) => self.parts(digest, size).map(Some),
            None => Ok(None),
        }
    }

    /// A blob of this size, put together from its parts.
    fn parts(&self, digest: Digest, size: u64) -> Outcome<Bytes> {
        let incomplete = || corrupt(format!("the blob {digest} is missing, or a part of it"));
        let parts = match self.0.open_table(BLOB_PARTS) {
            Err(TableError::TableDoesNotExist(_)) => return Err(incomplete()),
            parts => parts?,
        };
        let mut whole = Buffer::zeroed(usize::try_from(size).map_err(|_| incomplete())?)?;
        let mut filled = 0;
        for row in parts.range((digest, 0)..=(digest, u32::MAX))? {
            let (_, part) = row?;
            let end = filled + part.value().len();
            let room = whole.get_mut(filled..end).ok_or_else(incomplete)?;
            room.copy_from_slice(part.value());
            filled = end;
        }
        match filled == whole.len() {
            true => Ok(whole.freeze()),
            false => Err(incomplete()),
        }
    }

    pub(super) fn list(&self, query: &ListQuery, view: &View) -> Outcome<Page> {
        if query.unnamed {
            let unnamed = self.0.open_table(UNNAMED)?;
            self.page(query, &unnamed, &View::complete(), |text, seconds| {
                let digest = text.parse().map_err(|error| corrupt(format!("{error}")))?;
                self.summary(None, digest, seconds)
            })
        } else {
            let names = self.0.open_table(NAMES)?;
            self.page(query, &names, view, |text, (digest, seconds)| {
                self.summary(Some(parse_name(text)?), digest, seconds)
            })
        }
    }

    /// A page of a table that is keyed by what it lists, without the keys that the view hides.
    fn page<V: redb::Value + 'static>(
        &self,
        query: &ListQuery,
        table: &impl ReadableTable<&'static str, V>,
        view: &View,
        summary: impl Fn(&str, V::SelfType<'_>) -> Outcome<Summary>,
    ) -> Outcome<Page> {
        let prefix = query.prefix.as_str();
        let mut start = match query.after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
        };
        let mut page = Page { modules: Vec::new(), next: None };
        let mut last = String::new();
        let from = |start: &Bound<String>| {
            table.range::<&str>((start.as_ref().map(String::as_str), Bound::Unbounded))
        };
        let mut rows = from(&start)?;
        while let Some(row) = rows.next() {
            let (key, value) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            // Once for each hidden namespace, however many names it has.
            if let Some(next) = view.after_hidden(key.value()) {
                start = Bound::Included(next);
                rows = from(&start)?;
                continue;
            }
            if page.modules.len() == query.limit {
                page.next = Some(last);
                break;
            }
            page.modules.push(summary(key.value(), value.value())?);
            key.value().clone_into(&mut last);
        }
        Ok(page)
    }

    fn summary(&self, name: Option<Name>, digest: Digest, seconds: Seconds) -> Outcome<Summary> {
        let manifest = self.manifest(digest)?;
        let manifest =
            manifest.ok_or_else(|| corrupt(format!("the listed module {digest} is missing")))?;
        Ok(Summary {
            name,
            digest,
            wasm: manifest.wasm,
            wasm_size: self.size_of(&manifest)?,
            registered_at: time(seconds)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Changes;
    use super::super::store::Store;
    use super::super::tables::PART_BYTES;
    use super::*;
    use crate::StorageError;

    /// A store in which something was written.
    fn store(write: impl FnOnce(&redb::WriteTransaction) -> Outcome<()>) -> Store {
        let store = Store::in_memory(1 << 20).unwrap();
        let changes = Changes { any: true, meanings: false };
        store.write(|transaction| write(transaction).map(|()| changes)).unwrap();
        store
    }

    #[test]
    fn a_large_blob_that_was_written_whole_is_read() {
        let bytes = vec![7; 3 * PART_BYTES];
        let digest = Digest::of(&bytes);
        let store = store(|transaction| {
            transaction.open_table(BLOB_SIZES)?.insert(digest, bytes.len() as u64)?;
            transaction.open_table(BLOBS)?.insert(digest, &*bytes)?;
            Ok(())
        });
        assert!(store.read(|snapshot| snapshot.blob(digest)).unwrap().unwrap() == bytes);
    }

    #[test]
    fn a_blob_that_lacks_a_part_or_has_one_too_many_is_corrupt() {
        let digest = Digest::of(b"blob");
        for parts in [[0, 1].as_slice(), &[0, 1, 2, 3], &[]] {
            let store = store(|transaction| {
                transaction.open_table(BLOB_SIZES)?.insert(digest, 3 * PART_BYTES as u64)?;
                for part in parts {
                    let bytes = vec![7; PART_BYTES];
                    transaction.open_table(BLOB_PARTS)?.insert((digest, *part), &*bytes)?;
                }
                Ok(())
            });
            let read = store.read(|snapshot| snapshot.blob(digest));
            assert!(matches!(read, Err(StorageError::Corrupt { .. })), "{parts:?}");
        }
    }
}
