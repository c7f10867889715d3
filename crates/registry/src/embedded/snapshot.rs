//! Reading: questions to one state of the database.

use std::ops::Bound;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use super::tables::{
    BLOB_SIZES, BLOBS, FORMAT, FORMAT_ROW, MANIFESTS, META, NAMES, NAMES_OF, Outcome, RELEASES,
    Seconds, UNNAMED, corrupt, parse_entry, parse_manifest, parse_name, time,
};
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
            return Ok(Some(Bytes::copy_from_slice(blob.value())));
        }
        match self.blob_size(digest)? {
            Some(_) => Err(corrupt(format!("the blob {digest} is missing"))),
            None => Ok(None),
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
