//! Contents lists: all that a module is made of, with sizes and hashes, in one small text.
//!
//! A record of a name states the list's digest and size, and the list states those of everything in
//! the module's closure. So before a byte is asked for it is known how many there are to be, and a
//! peer cannot have a node take more, or keep anything else, than what the record's owner signed.
//!
//! `{"items":[{"blake3":HEX,"kind":"manifest","sha256":"sha256:…","size":N},…]}` as canonical JSON
//! (RFC 8785), dependencies first: of each module its manifest and then its blob, where the blob is
//! not in the list already.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use wasm_exec_registry::{Digest, Manifest};

/// The most bytes of a list's text: 128 items of 400 bytes, and some.
pub(crate) const MAX_CONTENTS_BYTES: usize = 64 << 10;

/// The most modules in a list, the root included: as many as a graph has by default.
pub(crate) const MAX_MODULES: usize = 64;

/// The most bytes of a manifest.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 2 << 20;

/// The most bytes of all manifests of a list together, which are in memory before it is known whether
/// the list is that of its module: 4 MiB. Each link takes some 100 bytes of them.
pub(crate) const MAX_MANIFESTS_BYTES: u64 = 4 << 20;

/// All that a module is made of: the manifests and blobs of its closure, each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    items: Vec<Item>,
}

/// Which contents list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContentsId {
    /// The SHA-256 of its canonical JSON.
    pub(crate) digest: Digest,
    /// Its size in bytes; at most [`MAX_CONTENTS_BYTES`].
    pub(crate) size: u32,
}

impl ContentsId {
    /// That of a list.
    pub(crate) fn of(contents: &Contents) -> Self {
        let list = contents.canonical();
        Self { digest: Digest::of(list.as_bytes()), size: list.len() as u32 }
    }

    /// Whether it is that of a list.
    pub(crate) fn is_of(&self, contents: &Contents) -> bool {
        *self == Self::of(contents)
    }
}

/// A manifest or a blob, by its hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// What it is.
    pub(crate) kind: Kind,
    /// What it is known by, and verified by as a whole.
    pub(crate) sha256: Digest,
    /// What its ranges are verified by: the root of its BLAKE3 tree.
    #[serde(with = "hex")]
    pub(crate) blake3: blake3::Hash,
    /// Its bytes, at least one.
    pub(crate) size: u64,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A manifest, in its canonical form.
    Manifest,
    /// A blob: the Wasm bytes.
    Wasm,
}

/// A text that is no contents list, or a list that is not that of its module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidContents {
    /// Its text is longer than any list's.
    #[error("the list has {0} bytes, and {MAX_CONTENTS_BYTES} are the most")]
    TooLong(usize),
    /// Not JSON, or not a list's members.
    #[error("not a contents list")]
    Json(#[from] serde_json::Error),
    /// A list, but not in its canonical form.
    #[error("not canonical JSON")]
    NotCanonical,
    /// It has more modules than any graph.
    #[error("more than {MAX_MODULES} modules")]
    TooManyModules,
    /// An item is empty, or larger than any of its kind.
    #[error("{sha256} has {size} bytes, which are to be 1 to {maximum}")]
    Size {
        /// The item.
        sha256: Digest,
        /// Its size in bytes.
        size: u64,
        /// The most bytes of its kind.
        maximum: u64,
    },
    /// Its manifests have too many bytes together.
    #[error("the manifests have {0} bytes, and {MAX_MANIFESTS_BYTES} are the most")]
    Manifests(u64),
    /// An item is listed twice.
    #[error("{0} is listed twice")]
    Repeated(Digest),
    /// An item is not where the closure of the module has it.
    #[error("{0} is not of the module, or not where it should be")]
    Misplaced(Digest),
    /// Something that the module is made of is not listed, or not before what links to it.
    #[error("{0} is missing, or comes too late")]
    Missing(Digest),
}

impl Contents {
    /// The list of a closure, from its modules, dependencies first: each with its manifest and the
    /// blob that this names. Hashes all of it, which takes about a millisecond per megabyte.
    ///
    /// # Errors
    ///
    /// [`InvalidContents::TooManyModules`], [`InvalidContents::Size`] or [`InvalidContents::Manifests`]
    /// for what other nodes would not accept, whatever their limit of a blob.
    pub(crate) fn of<'a>(
        modules: impl IntoIterator<Item = (&'a Manifest, &'a [u8])>,
    ) -> Result<Self, InvalidContents> {
        let mut items: Vec<Item> = Vec::new();
        for (manifest, wasm) in modules {
            let text = manifest.canonical();
            items.push(Item::of(Kind::Manifest, manifest.digest(), text.as_bytes()));
            if items.iter().all(|item| item.sha256 != manifest.wasm) {
                items.push(Item::of(Kind::Wasm, manifest.wasm, wasm));
            }
        }
        let contents = Self { items };
        contents.check_bounds(u64::MAX)?;
        Ok(contents)
    }

    /// The list of a module that links to modules with these lists, in any order. Hashes the module's
    /// own manifest and blob.
    ///
    /// # Errors
    ///
    /// As [`Contents::of`].
    pub(crate) fn with_links(
        linked: Vec<Self>,
        manifest: &Manifest,
        wasm: &[u8],
    ) -> Result<Self, InvalidContents> {
        let own = [
            Item::of(Kind::Manifest, manifest.digest(), manifest.canonical().as_bytes()),
            Item::of(Kind::Wasm, manifest.wasm, wasm),
        ];
        let mut seen = HashSet::new();
        let all = linked.into_iter().flat_map(|contents| contents.items).chain(own);
        let contents = Self { items: all.filter(|item| seen.insert(item.sha256)).collect() };
        contents.check_bounds(u64::MAX)?;
        Ok(contents)
    }

    /// Reads a list from its canonical form. A blob in it is to have at most `max_wasm_bytes`.
    ///
    /// # Errors
    ///
    /// [`InvalidContents`] for any other bytes, also for the same JSON written differently.
    pub(crate) fn decode(text: &[u8], max_wasm_bytes: u64) -> Result<Self, InvalidContents> {
        if text.len() > MAX_CONTENTS_BYTES {
            return Err(InvalidContents::TooLong(text.len()));
        }
        let contents: Self = serde_json::from_slice(text)?;
        contents.check_bounds(max_wasm_bytes)?;
        match contents.canonical().as_bytes() == text {
            true => Ok(contents),
            false => Err(InvalidContents::NotCanonical),
        }
    }

    /// The one form in which a list is hashed and exchanged.
    ///
    /// # Panics
    ///
    /// Never: canonical JSON refuses only what a list cannot hold (keys that are not strings,
    /// duplicate keys, non-finite numbers).
    pub(crate) fn canonical(&self) -> String {
        match serde_json_canonicalizer::to_string(self) {
            Ok(text) => text,
            Err(error) => unreachable!("a list of strings and integers is JSON: {error}"),
        }
    }

    /// What is listed, dependencies first.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The bytes of all items.
    pub(crate) fn bytes(&self) -> u64 {
        self.items.iter().fold(0, |bytes, item| bytes.saturating_add(item.size))
    }

    /// Checks that this lists the closure of `root`, all of it and nothing else. `manifests` are
    /// those that are listed, each under the digest that it is known to have.
    ///
    /// # Errors
    ///
    /// [`InvalidContents::Misplaced`] or [`InvalidContents::Missing`].
    pub(crate) fn check(
        &self,
        root: Digest,
        manifests: &HashMap<Digest, Manifest>,
    ) -> Result<(), InvalidContents> {
        let (mut modules, mut blobs) = (HashSet::new(), HashSet::new());
        let mut linked = HashSet::from([root]);
        let mut items = self.items.iter().peekable();
        let mut last = None;
        while let Some(item) = items.next() {
            let manifest = manifests.get(&item.sha256).filter(|_| item.kind == Kind::Manifest);
            let manifest = manifest.ok_or(InvalidContents::Misplaced(item.sha256))?;
            for link in manifest.links.values() {
                if !modules.contains(link) {
                    return Err(InvalidContents::Missing(*link));
                }
                linked.insert(*link);
            }
            if blobs.insert(manifest.wasm) {
                let blob = |next: &&Item| next.kind == Kind::Wasm && next.sha256 == manifest.wasm;
                items.next_if(blob).ok_or(InvalidContents::Missing(manifest.wasm))?;
            }
            modules.insert(item.sha256);
            last = Some(item.sha256);
        }
        // Each manifest but the last is linked to by one that comes later, so all are reached from
        // the last, which has to be the root.
        if last != Some(root) {
            return Err(InvalidContents::Missing(root));
        }
        let mut manifests = self.items.iter().filter(|item| item.kind == Kind::Manifest);
        match manifests.find(|item| !linked.contains(&item.sha256)) {
            Some(item) => Err(InvalidContents::Misplaced(item.sha256)),
            None => Ok(()),
        }
    }

    fn check_bounds(&self, max_wasm_bytes: u64) -> Result<(), InvalidContents> {
        let modules = self.items.iter().filter(|item| item.kind == Kind::Manifest).count();
        if modules > MAX_MODULES || self.items.len() > 2 * MAX_MODULES {
            return Err(InvalidContents::TooManyModules);
        }
        let mut seen = HashSet::new();
        let mut manifests = 0;
        for Item { kind, sha256, size, .. } in self.items.iter().copied() {
            let maximum = match kind {
                Kind::Manifest => MAX_MANIFEST_BYTES,
                Kind::Wasm => max_wasm_bytes,
            };
            if size == 0 || size > maximum {
                return Err(InvalidContents::Size { sha256, size, maximum });
            }
            if !seen.insert(sha256) {
                return Err(InvalidContents::Repeated(sha256));
            }
            if kind == Kind::Manifest {
                manifests += size;
            }
        }
        match manifests > MAX_MANIFESTS_BYTES {
            true => Err(InvalidContents::Manifests(manifests)),
            false => Ok(()),
        }
    }
}

impl Item {
    /// The item that these bytes are, whose SHA-256 is known.
    pub(crate) fn of(kind: Kind, sha256: Digest, bytes: &[u8]) -> Self {
        Self { kind, sha256, blake3: blake3::hash(bytes), size: bytes.len() as u64 }
    }
}

/// A BLAKE3 hash as 64 lower-case hex digits.
mod hex {
    use blake3::Hash;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Hash, D::Error> {
        let digits = String::deserialize(deserializer)?;
        Hash::from_hex(digits).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
