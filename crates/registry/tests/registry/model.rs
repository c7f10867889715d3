//! Random sequences of registrations and deletions, against a model that is too simple to be wrong:
//! after each step, what is kept is what names and unnamed registrations reach.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::runtime;
use wasm_exec_registry::{
    DeleteError, Digest, ListQuery, Manifest, Name, NameTakenReason, RegisterError, Registry,
    RegistryError,
};

use crate::support::{has_blob, has_module, in_memory, meaning, module, on_disk, reference};

const NAMES: [&str; 8] =
    ["a", "a@1.0.0", "a@1.10.0", "a@1.9.0", "a@2.0.0-rc.1", "b", "n:a", "n:a@1.0.0"];

#[derive(Debug, Clone)]
enum Step {
    Register {
        name: Option<&'static str>,
        content: u8,
        /// Which of the modules there ever were its imports are linked to.
        links: Vec<Index>,
    },
    DeleteName(&'static str),
    DeleteDigest(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(&NAMES[..]);
    prop_oneof![
        4 => (
            prop::option::weighted(0.8, name.clone()),
            0..3_u8,
            prop::collection::vec(any::<Index>(), 0..3),
        )
            .prop_map(|(name, content, links)| Step::Register { name, content, links }),
        2 => name.prop_map(Step::DeleteName),
        2 => any::<Index>().prop_map(Step::DeleteDigest),
    ]
}

#[derive(Default)]
struct Model {
    names: BTreeMap<&'static str, Digest>,
    unnamed: BTreeSet<Digest>,
    tombstones: BTreeMap<&'static str, Digest>,
    kept: BTreeMap<Digest, Manifest>,
    ever: Vec<Manifest>,
}

impl Model {
    fn collect(&mut self) {
        let mut reached: Vec<Digest> = self.names.values().copied().collect();
        reached.extend(&self.unnamed);
        let mut live = BTreeSet::new();
        while let Some(digest) = reached.pop() {
            if live.insert(digest) {
                reached.extend(self.kept[&digest].links.values());
            }
        }
        self.kept.retain(|digest, _| live.contains(digest));
    }

    /// Whether a name may be given, and if not, why.
    fn refusal(&self, name: &'static str, digest: Digest) -> Option<NameTakenReason> {
        if let Some(&registered) = self.names.get(name) {
            let reason = NameTakenReason::OtherContent { digest: registered };
            return (registered != digest).then_some(reason);
        }
        let (label, version) = name.split_once('@').map_or((name, None), |(l, v)| (l, Some(v)));
        if version.is_none() {
            let mut names = self.names.keys();
            let versioned = names.any(|other| other.starts_with(&format!("{label}@")));
            return versioned.then_some(NameTakenReason::Versioned);
        }
        if self.names.contains_key(label) {
            return Some(NameTakenReason::Unversioned);
        }
        let was = self.tombstones.get(name).filter(|was| **was != digest);
        was.map(|&digest| NameTakenReason::WasOtherContent { digest })
    }

    fn is_registered(&self, name: Option<&'static str>, digest: Digest) -> bool {
        match name {
            Some(name) => self.names.get(name) == Some(&digest),
            None => self.unnamed.contains(&digest),
        }
    }

    /// What a name means, by brute force.
    fn meaning(&self, name: &'static str) -> Option<(String, Digest)> {
        let literal = self.names.get_key_value(name);
        let highest = || {
            let parsed = |text: &str| text.parse::<Name>().unwrap();
            let releases = self.names.iter().filter(|(other, _)| {
                let other = parsed(other);
                other.unversioned() == name && other.version().is_some_and(|v| v.pre.is_empty())
            });
            releases.max_by_key(|(other, _)| parsed(other).version().cloned())
        };
        let (name, digest) = literal.or_else(highest)?;
        Some(((*name).to_owned(), *digest))
    }

    async fn run(&mut self, registry: &Registry, step: Step) {
        match step {
            Step::Register { name, content, links } => {
                let mut new = module(vec![content]);
                for (import, link) in links.iter().enumerate() {
                    if !self.ever.is_empty() {
                        let target = link.get(&self.ever).digest();
                        new = new.linking(import.to_string(), target);
                    }
                }
                if let Some(name) = name {
                    new = new.named(name);
                }
                let result = new.register(registry).await;
                self.registered(name, &new.manifest(), result);
            }
            Step::DeleteName(name) => {
                let result = registry.delete(&reference(name)).await;
                if let Some(digest) = self.names.remove(name) {
                    result.unwrap();
                    if name.contains('@') {
                        self.tombstones.insert(name, digest);
                    }
                } else {
                    let unknown =
                        matches!(result, Err(DeleteError::Registry(RegistryError::UnknownName(_))));
                    assert!(unknown, "{result:?}");
                }
            }
            Step::DeleteDigest(which) if !self.ever.is_empty() => {
                let digest = which.get(&self.ever).digest();
                let result = registry.delete(&reference(digest)).await;
                self.deleted(digest, result);
            }
            Step::DeleteDigest(_) => {}
        }
        self.collect();
    }

    fn registered(
        &mut self,
        name: Option<&'static str>,
        manifest: &Manifest,
        result: Result<wasm_exec_registry::Registered, RegisterError>,
    ) {
        let digest = manifest.digest();
        let refusal = name.and_then(|name| self.refusal(name, digest));
        let already = self.is_registered(name, digest);
        let linked = manifest.links.values().all(|link| self.kept.contains_key(link));
        match (refusal, already || linked) {
            (Some(expected), _) => {
                let Err(RegisterError::NameTaken { reason, .. }) = result else {
                    panic!("{result:?}")
                };
                assert_eq!(reason, expected);
            }
            (None, false) => {
                assert!(matches!(result, Err(RegisterError::UnknownLink { .. })));
            }
            (None, true) => {
                assert_eq!(result.unwrap().created, !already);
                self.kept.insert(digest, manifest.clone());
                self.ever.push(manifest.clone());
                match name {
                    Some(name) => drop(self.names.insert(name, digest)),
                    None => drop(self.unnamed.insert(digest)),
                }
            }
        }
    }

    fn deleted(&mut self, digest: Digest, result: Result<(), DeleteError>) {
        if self.unnamed.remove(&digest) {
            return result.unwrap();
        }
        let links = |manifest: &&Manifest| manifest.links.values().any(|link| *link == digest);
        match result.unwrap_err() {
            DeleteError::InUse { by, .. } => {
                let names = self.names.values().filter(|of| **of == digest).count();
                let links = self.kept.values().filter(links).count();
                assert_eq!((by.names, by.links), (names as u64, links as u64));
            }
            error => assert!(!self.kept.contains_key(&digest), "{error}"),
        }
    }

    async fn compare(&self, registry: &Registry) {
        for manifest in &self.ever {
            let digest = manifest.digest();
            let kept = self.kept.contains_key(&digest);
            assert_eq!(has_module(registry, digest).await, kept, "{digest}");
            let blob = self.kept.values().any(|kept| kept.wasm == manifest.wasm);
            assert_eq!(has_blob(registry, manifest.wasm).await, blob);
        }
        for name in NAMES {
            assert_eq!(meaning(registry, name).await, self.meaning(name), "{name}");
        }
        for unnamed in [false, true] {
            let query = ListQuery { unnamed, ..ListQuery::default() };
            let page = registry.list(query).await.unwrap();
            let listed: Vec<_> = page.modules.iter().map(|module| module.digest).collect();
            let expected: Vec<_> = match unnamed {
                true => self.unnamed.iter().copied().collect(),
                false => self.names.values().copied().collect(),
            };
            assert_eq!(listed, expected);
        }
    }

    /// Deletes everything; nothing may be left.
    async fn clear(&mut self, registry: &Registry) {
        for name in std::mem::take(&mut self.names).into_keys() {
            registry.delete(&reference(name)).await.unwrap();
        }
        for digest in std::mem::take(&mut self.unnamed) {
            registry.delete(&reference(digest)).await.unwrap();
        }
        self.collect();
        assert!(self.kept.is_empty());
        self.compare(registry).await;
    }
}

fn check(registry: &Registry, steps: Vec<Step>) {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut model = Model::default();
        for step in steps {
            model.run(registry, step).await;
            model.compare(registry).await;
        }
        model.clear(registry).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_it_does_as_the_model(steps in prop::collection::vec(step(), 1..50)) {
        check(&in_memory(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn on_disk_it_does_as_the_model(steps in prop::collection::vec(step(), 1..50)) {
        let directory = TempDir::new().unwrap();
        check(&on_disk(directory.path()), steps);
    }
}
