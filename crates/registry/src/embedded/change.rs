//! Writing: what registering and deleting do to the tables.
//!
//! Each operation checks before it writes, so one that is refused leaves nothing in the
//! transaction that it shares with others.

use std::collections::HashSet;

use redb::{MultimapTable, ReadableMultimapTable, ReadableTable, Table, WriteTransaction};

use super::tables::{
    BLOB_PARTS, BLOB_SIZES, BLOB_USERS, BLOBS, FORMAT, FORMAT_ROW, LINKED_BY, MANIFESTS, META,
    NAMES, NAMES_OF, Outcome, PART_BYTES, RELEASES, ROWS, Seconds, TOMBSTONES, UNNAMED, corrupt,
    now, parse_manifest, parse_name, time,
};
use crate::{
    Creation, DeleteError, Digest, Holder, Holders, Name, NameTakenReason, Reference,
    RegisterError, Registered, RegistryError, Row,
};

/// What a transaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// There is something to commit.
    pub(super) any: bool,
    /// A name means something else than before, or content went away.
    pub(super) meanings: bool,
}

/// The tables of one write transaction.
pub(super) struct Change<'t> {
    now: Seconds,
    changes: Changes,
    blobs: Table<'t, Digest, &'static [u8]>,
    blob_parts: Table<'t, (Digest, u32), &'static [u8]>,
    blob_sizes: Table<'t, Digest, u64>,
    blob_users: MultimapTable<'t, Digest, Digest>,
    manifests: Table<'t, Digest, (Seconds, &'static str)>,
    linked_by: MultimapTable<'t, Digest, Digest>,
    names: Table<'t, &'static str, (Digest, Seconds)>,
    names_of: MultimapTable<'t, Digest, &'static str>,
    releases: Table<'t, (&'static str, u64, u64, u64), &'static str>,
    tombstones: Table<'t, &'static str, Digest>,
    unnamed: Table<'t, &'static str, Seconds>,
    /// Of whoever builds upon this backend, and of its [accounts](super::accounts).
    pub(super) rows: Table<'t, &'static [u8], &'static [u8]>,
}

/// Makes the tables of an empty database.
pub(super) fn initialise(transaction: &WriteTransaction) -> Outcome<Changes> {
    transaction.open_table(META)?.insert(FORMAT_ROW, FORMAT)?;
    Change::begin(transaction)?;
    Ok(Changes { any: true, meanings: true })
}

impl<'t> Change<'t> {
    pub(super) fn begin(transaction: &'t WriteTransaction) -> Outcome<Self> {
        Ok(Self {
            now: now(),
            changes: Changes::default(),
            blobs: transaction.open_table(BLOBS)?,
            blob_parts: transaction.open_table(BLOB_PARTS)?,
            blob_sizes: transaction.open_table(BLOB_SIZES)?,
            blob_users: transaction.open_multimap_table(BLOB_USERS)?,
            manifests: transaction.open_table(MANIFESTS)?,
            linked_by: transaction.open_multimap_table(LINKED_BY)?,
            names: transaction.open_table(NAMES)?,
            names_of: transaction.open_multimap_table(NAMES_OF)?,
            releases: transaction.open_table(RELEASES)?,
            tombstones: transaction.open_table(TOMBSTONES)?,
            unnamed: transaction.open_table(UNNAMED)?,
            rows: transaction.open_table(ROWS)?,
        })
    }

    /// What was done since the beginning.
    pub(super) fn changes(&self) -> Changes {
        self.changes
    }

    pub(super) fn create(
        &mut self,
        creation: &Creation,
    ) -> Outcome<Result<Registered, RegisterError>> {
        self.create_closure(&[], creation)
    }

    /// Creates a module together with modules that it links to, all of which come before what links
    /// to them. They are not registered for themselves, and those that nothing links to are left out.
    fn create_closure(
        &mut self,
        dependencies: &[Creation],
        root: &Creation,
    ) -> Outcome<Result<Registered, RegisterError>> {
        if let Some(standing) = self.standing(root)? {
            return Ok(standing);
        }
        if let Some(refusal) = self.unknown_link(dependencies, root)? {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = self.charge(root)? {
            return Ok(Err(refusal));
        }
        for dependency in dependencies {
            self.add_content(dependency)?;
        }
        self.add_content(root)?;
        let digest = root.digest();
        match root.name() {
            Some(name) => self.add_name(name, digest)?,
            None => {
                let key = digest.to_string();
                self.unnamed.insert(key.as_str(), self.now)?;
            }
        }
        for dependency in dependencies.iter().rev() {
            self.collect(dependency.digest())?;
        }
        self.changes.any = true;
        self.registered(digest, true, self.now)
    }

    /// Creates a module with what comes along that it links to, and writes the rows unless the creation
    /// is refused.
    pub(super) fn create_with(
        &mut self,
        dependencies: &[Creation],
        creation: &Creation,
        rows: &[Row],
    ) -> Outcome<Result<Registered, RegisterError>> {
        let registered = self.create_closure(dependencies, creation)?;
        if registered.is_ok() {
            self.write(rows)?;
        }
        Ok(registered)
    }

    pub(super) fn write(&mut self, rows: &[Row]) -> Outcome<()> {
        for Row { key, value } in rows {
            match value {
                Some(value) => self.rows.insert(key.as_ref(), value.as_ref())?,
                None => self.rows.remove(key.as_ref())?,
            };
            self.changes.any = true;
        }
        Ok(())
    }

    /// The answer to a creation that is registered already, or whose name it cannot have.
    fn standing(&self, creation: &Creation) -> Outcome<Option<Result<Registered, RegisterError>>> {
        let digest = creation.digest();
        let Some(name) = creation.name() else {
            let since = self.unnamed.get(digest.to_string().as_str())?;
            return since.map(|since| self.registered(digest, false, since.value())).transpose();
        };
        if let Some(row) = self.names.get(name.as_str())? {
            let (registered, since) = row.value();
            if registered == digest {
                return self.registered(digest, false, since).map(Some);
            }
            let reason = NameTakenReason::OtherContent { digest: registered };
            return Ok(Some(Err(name_taken(name, name.clone(), reason))));
        }
        let refusal = match name.version() {
            Some(_) => self.refuse_version(name, digest)?,
            None => self.refuse_label(name)?,
        };
        Ok(refusal.map(Err))
    }

    fn refuse_version(&self, name: &Name, digest: Digest) -> Outcome<Option<RegisterError>> {
        let label = name.without_version();
        if self.names.get(label.as_str())?.is_some() {
            let reason = NameTakenReason::Unversioned;
            return Ok(Some(name_taken(name, label, reason)));
        }
        let was = self.tombstones.get(name.as_str())?.map(|was| was.value());
        Ok(was.filter(|was| *was != digest).map(|digest| {
            let reason = NameTakenReason::WasOtherContent { digest };
            name_taken(name, name.clone(), reason)
        }))
    }

    fn refuse_label(&self, name: &Name) -> Outcome<Option<RegisterError>> {
        let versions = format!("{name}@");
        let Some(first) = self.names.range(versions.as_str()..)?.next().transpose()? else {
            return Ok(None);
        };
        let text = first.0.value();
        if !text.starts_with(&versions) {
            return Ok(None);
        }
        let reason = NameTakenReason::Versioned;
        Ok(Some(name_taken(name, parse_name(text)?, reason)))
    }

    /// The refusal of a closure in which a link goes to what neither is registered nor comes before.
    fn unknown_link(
        &self,
        dependencies: &[Creation],
        root: &Creation,
    ) -> Outcome<Option<RegisterError>> {
        let mut before = HashSet::new();
        for creation in dependencies.iter().chain([root]) {
            for (import, digest) in &creation.manifest().links {
                if !before.contains(digest) && self.manifests.get(digest)?.is_none() {
                    return Ok(Some(RegisterError::UnknownLink {
                        import: import.clone(),
                        digest: *digest,
                    }));
                }
            }
            before.insert(creation.digest());
        }
        Ok(None)
    }

    fn add_content(&mut self, creation: &Creation) -> Outcome<()> {
        let (digest, manifest) = (creation.digest(), creation.manifest());
        if self.manifests.get(digest)?.is_some() {
            return Ok(());
        }
        let canonical = manifest.canonical();
        self.manifests.insert(digest, (self.now, canonical.as_str()))?;
        for target in manifest.links.values() {
            self.linked_by.insert(target, digest)?;
        }
        if self.blob_sizes.get(manifest.wasm)?.is_none() {
            self.add_blob(manifest.wasm, creation.wasm())?;
        }
        self.blob_users.insert(manifest.wasm, digest)?;
        Ok(())
    }

    fn add_blob(&mut self, digest: Digest, bytes: &[u8]) -> Outcome<()> {
        self.blob_sizes.insert(digest, bytes.len() as u64)?;
        if bytes.len() <= PART_BYTES {
            self.blobs.insert(digest, bytes)?;
            return Ok(());
        }
        for (part, bytes) in (0..).zip(bytes.chunks(PART_BYTES)) {
            self.blob_parts.insert((digest, part), bytes)?;
        }
        Ok(())
    }

    fn remove_blob(&mut self, digest: Digest) -> Outcome<()> {
        self.blob_sizes.remove(digest)?;
        if self.blobs.remove(digest)?.is_none() {
            self.blob_parts.retain_in((digest, 0)..=(digest, u32::MAX), |_, _| false)?;
        }
        Ok(())
    }

    fn add_name(&mut self, name: &Name, digest: Digest) -> Outcome<()> {
        self.names.insert(name.as_str(), (digest, self.now))?;
        self.names_of.insert(digest, name.as_str())?;
        if let Some(key) = release_key(name) {
            self.releases.insert(key, name.as_str())?;
        }
        self.tombstones.remove(name.as_str())?;
        self.changes.meanings = true;
        Ok(())
    }

    fn registered<E>(
        &self,
        digest: Digest,
        created: bool,
        since: Seconds,
    ) -> Outcome<Result<Registered, E>> {
        Ok(Ok(Registered { digest, created, registered_at: time(since)? }))
    }

    pub(super) fn delete(&mut self, reference: &Reference) -> Outcome<Result<(), DeleteError>> {
        let unheld = match reference {
            Reference::Name(name) => self.remove_name(name)?,
            Reference::Digest(digest) => self.remove_unnamed(*digest)?,
        };
        let digest = match unheld {
            Ok(digest) => digest,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.changes = Changes { any: true, meanings: true };
        self.collect(digest)?;
        self.give_back(reference, digest)?;
        Ok(Ok(()))
    }

    /// Deletes, and writes the rows unless the deletion is refused.
    pub(super) fn delete_with(
        &mut self,
        reference: &Reference,
        rows: &[Row],
    ) -> Outcome<Result<(), DeleteError>> {
        let deleted = self.delete(reference)?;
        if deleted.is_ok() {
            self.write(rows)?;
        }
        Ok(deleted)
    }

    /// Gives the module that the name held.
    fn remove_name(&mut self, name: &Name) -> Outcome<Result<Digest, DeleteError>> {
        let row = self.names.remove(name.as_str())?.map(|row| row.value());
        let Some((digest, _)) = row else {
            let unknown = RegistryError::UnknownName(name.clone());
            return Ok(Err(DeleteError::Registry(unknown)));
        };
        self.names_of.remove(digest, name.as_str())?;
        if let Some(key) = release_key(name) {
            self.releases.remove(key)?;
        }
        if name.version().is_some() {
            self.tombstones.insert(name.as_str(), digest)?;
        }
        Ok(Ok(digest))
    }

    fn remove_unnamed(&mut self, digest: Digest) -> Outcome<Result<Digest, DeleteError>> {
        if self.unnamed.remove(digest.to_string().as_str())?.is_some() {
            return Ok(Ok(digest));
        }
        Ok(Err(if self.manifests.get(digest)?.is_some() {
            let by = self.holders(digest)?;
            DeleteError::InUse { digest, by }
        } else {
            let is_blob = self.blob_sizes.get(digest)?.is_some();
            DeleteError::Registry(RegistryError::UnknownDigest { digest, is_blob })
        }))
    }

    fn holders(&self, digest: Digest) -> Outcome<Holders> {
        let mut names = self.names_of.get(digest)?;
        let mut links = self.linked_by.get(digest)?;
        let counts = (names.len(), links.len());
        let example = match (names.next().transpose()?, links.next().transpose()?) {
            (Some(name), _) => Holder::Name(parse_name(name.value())?),
            (None, Some(link)) => Holder::Module(link.value()),
            (None, None) => return Err(corrupt(format!("nothing holds the module {digest}"))),
        };
        Ok(Holders { names: counts.0, links: counts.1, example })
    }

    /// Removes the module if nothing holds it, and then what only it held.
    fn collect(&mut self, digest: Digest) -> Outcome<()> {
        let mut candidates = vec![digest];
        while let Some(digest) = candidates.pop() {
            if self.is_held(digest)? {
                continue;
            }
            let Some(row) = self.manifests.remove(digest)? else {
                // It went before: two modules that went linked to it.
                continue;
            };
            let manifest = parse_manifest(digest, row.value().1)?;
            drop(row);
            self.give_back_kept(digest)?;
            for target in manifest.links.into_values() {
                // Two imports may be linked to the same module, which counts once.
                if self.linked_by.remove(target, digest)? {
                    candidates.push(target);
                }
            }
            self.blob_users.remove(manifest.wasm, digest)?;
            if self.blob_users.get(manifest.wasm)?.is_empty() {
                self.remove_blob(manifest.wasm)?;
            }
        }
        Ok(())
    }

    pub(super) fn is_held(&self, digest: Digest) -> Outcome<bool> {
        Ok(!self.linked_by.get(digest)?.is_empty() || self.is_registered(digest)?)
    }

    /// Whether the module has a name, or is registered without one.
    pub(super) fn is_registered(&self, digest: Digest) -> Outcome<bool> {
        Ok(!self.names_of.get(digest)?.is_empty()
            || self.unnamed.get(digest.to_string().as_str())?.is_some())
    }
}

fn name_taken(name: &Name, by: Name, reason: NameTakenReason) -> RegisterError {
    RegisterError::NameTaken { name: name.clone(), by, reason }
}

/// The key of a name in the releases; `None` for what no bare label means.
fn release_key(name: &Name) -> Option<(&str, u64, u64, u64)> {
    let release = name.release()?;
    let label = name.unversioned();
    Some((label, release.major, release.minor, release.patch))
}
