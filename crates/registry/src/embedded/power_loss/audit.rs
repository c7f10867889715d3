//! Whether the tables agree with each other: nothing is there in part, nothing is left over.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Key, ReadableMultimapTable, ReadableTable, Value};

use super::super::snapshot::Snapshot;
use super::super::tables::{
    BLOB_PARTS, BLOB_SIZES, BLOB_USERS, BLOBS, LINKED_BY, MANIFESTS, NAMES, NAMES_OF, Outcome,
    PART_BYTES, RELEASES, ROWS, TOMBSTONES, UNNAMED, parse_manifest,
};
use super::workload;
use crate::{Digest, Manifest, Name, Reference};

/// What is kept, read row by row, and found to be consistent.
#[derive(Debug)]
pub(super) struct Kept {
    /// The module of each name, and of each registration without one.
    pub(super) registrations: BTreeMap<Reference, Digest>,
    /// Deleted versions, and the modules they were.
    pub(super) tombstones: BTreeMap<Reference, Digest>,
}

/// Reads everything.
///
/// # Panics
///
/// When the tables contradict each other, or content does not have its digest.
pub(super) fn audit(snapshot: &Snapshot<'_>) -> Outcome<Kept> {
    let transaction = snapshot.0;
    let manifests = rows(&transaction.open_table(MANIFESTS)?, |digest, (_, text)| {
        let manifest = parse_manifest(digest, text).unwrap();
        assert_eq!(manifest.digest(), digest);
        (digest, manifest)
    })?;
    let names = rows(&transaction.open_table(NAMES)?, |name, (digest, _)| {
        (name.parse::<Name>().unwrap(), digest)
    })?;
    let unnamed = rows(&transaction.open_table(UNNAMED)?, |digest, _| {
        let digest = digest.parse::<Digest>().unwrap();
        (Reference::Digest(digest), digest)
    })?;
    let mut blobs =
        rows(&transaction.open_table(BLOBS)?, |digest, bytes| (digest, bytes.to_vec()))?;
    let parts = rows(&transaction.open_table(BLOB_PARTS)?, |part, bytes| (part, bytes.to_vec()))?;
    for ((digest, part), mut bytes) in parts {
        let before: &mut Vec<u8> = blobs.entry(digest).or_default();
        assert_eq!(before.len(), part as usize * PART_BYTES);
        before.append(&mut bytes);
    }
    let blobs: BTreeMap<_, _> = blobs
        .into_iter()
        .map(|(digest, bytes)| {
            assert_eq!(Digest::of(&bytes), digest);
            (digest, bytes.len() as u64)
        })
        .collect();
    let sizes = rows(&transaction.open_table(BLOB_SIZES)?, |digest, size| (digest, size))?;
    assert_eq!(blobs, sizes);

    let roots = names.values().chain(unnamed.values()).copied();
    assert_eq!(closure(roots, &manifests), manifests.keys().copied().collect());
    let of_manifests: BTreeSet<_> = manifests.values().map(|manifest| manifest.wasm).collect();
    assert_eq!(of_manifests, blobs.into_keys().collect());

    let users = manifests.iter().map(|(user, manifest)| (manifest.wasm, *user));
    let kept = pairs(&transaction.open_multimap_table(BLOB_USERS)?, |blob, user| (blob, user))?;
    assert_eq!(kept, users.collect());
    let links = manifests
        .iter()
        .flat_map(|(from, manifest)| manifest.links.values().map(|target| (*target, *from)));
    let kept = pairs(&transaction.open_multimap_table(LINKED_BY)?, |to, from| (to, from))?;
    assert_eq!(kept, links.collect());
    let names_of = names.iter().map(|(name, digest)| (*digest, name.to_string()));
    let kept = pairs(&transaction.open_multimap_table(NAMES_OF)?, |digest, name| {
        (digest, name.to_owned())
    })?;
    assert_eq!(kept, names_of.collect());

    let releases = rows(&transaction.open_table(RELEASES)?, |_, name| (name.to_owned(), ()))?;
    let released = names.keys().filter(|name| name.release().is_some());
    let released: BTreeSet<_> = released.map(ToString::to_string).collect();
    assert_eq!(releases.into_keys().collect::<BTreeSet<_>>(), released);
    // Each of a writer's own names has a row, which was written and removed together with it.
    let own = names.iter().filter(|(name, _)| workload::is_own(name));
    let own = own.map(|(name, digest)| (name.to_string().into_bytes(), *digest.as_bytes()));
    let beside = rows(&transaction.open_table(ROWS)?, |key, value| {
        (key.to_vec(), value.try_into().unwrap())
    })?;
    assert_eq!(beside, own.collect());
    let tombstones =
        rows(&transaction.open_table(TOMBSTONES)?, |name, digest| (name.parse().unwrap(), digest))?;

    let named = names.into_iter().map(|(name, digest)| (Reference::Name(name), digest));
    Ok(Kept { registrations: named.chain(unnamed).collect(), tombstones })
}

fn rows<K: Key + 'static, V: Value + 'static, A: Ord, B>(
    table: &impl ReadableTable<K, V>,
    read: impl for<'a> Fn(K::SelfType<'a>, V::SelfType<'a>) -> (A, B),
) -> Outcome<BTreeMap<A, B>> {
    let mut rows = BTreeMap::new();
    for row in table.range::<K::SelfType<'_>>(..)? {
        let (key, value) = row?;
        let (key, value) = read(key.value(), value.value());
        assert!(rows.insert(key, value).is_none(), "two rows of one key");
    }
    Ok(rows)
}

fn pairs<K: Key + 'static, V: Key + 'static, A: Ord, B: Ord>(
    table: &impl ReadableMultimapTable<K, V>,
    read: impl for<'a> Fn(K::SelfType<'a>, V::SelfType<'a>) -> (A, B),
) -> Outcome<BTreeSet<(A, B)>> {
    let mut pairs = BTreeSet::new();
    for row in table.iter()? {
        let (key, values) = row?;
        for value in values {
            assert!(pairs.insert(read(key.value(), value?.value())), "two rows of one pair");
        }
    }
    Ok(pairs)
}

/// All that `roots` lead to. A link to what is not there panics.
fn closure(
    roots: impl Iterator<Item = Digest>,
    manifests: &BTreeMap<Digest, Manifest>,
) -> BTreeSet<Digest> {
    let mut reached: Vec<_> = roots.collect();
    let mut closure = BTreeSet::new();
    while let Some(digest) = reached.pop() {
        if closure.insert(digest) {
            reached.extend(manifests[&digest].links.values());
        }
    }
    closure
}
