//! Registries to test, and modules to put into them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use wasm_exec_registry::{
    Digest, Manifest, RedbBackend, Reference, RegisterError, Registered, Registration, Registry,
    RegistryError,
};

/// Small, so that tests read the disk as well.
pub(crate) const CACHE_BYTES: usize = 64 * 1024;

/// Runs a test with an empty registry in memory, and with one on disk.
pub(crate) async fn on_every_backend(test: impl AsyncFn(Registry)) {
    test(in_memory()).await;
    let directory = TempDir::new().unwrap();
    test(on_disk(directory.path())).await;
}

pub(crate) fn in_memory() -> Registry {
    Registry::new(Arc::new(RedbBackend::in_memory(CACHE_BYTES).unwrap()))
}

pub(crate) fn on_disk(directory: &Path) -> Registry {
    let backend = RedbBackend::open(&directory.join("registry.redb"), CACHE_BYTES);
    Registry::new(Arc::new(backend.unwrap()))
}

/// A module that is told apart by its content.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    name: Option<String>,
    links: BTreeMap<String, Digest>,
    wasm: Bytes,
}

pub(crate) fn module(content: impl Into<Bytes>) -> Module {
    Module { name: None, links: BTreeMap::new(), wasm: content.into() }
}

impl Module {
    pub(crate) fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn linking(mut self, import: impl Into<String>, target: Digest) -> Self {
        self.links.insert(import.into(), target);
        self
    }

    pub(crate) fn manifest(&self) -> Manifest {
        Manifest { links: self.links.clone(), wasm: Digest::of(&self.wasm) }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.manifest().digest()
    }

    pub(crate) async fn register(&self, registry: &Registry) -> Result<Registered, RegisterError> {
        let registration = Registration {
            name: self.name.as_ref().map(|name| name.parse().unwrap()),
            links: self.links.clone(),
            wasm: self.wasm.clone(),
        };
        registry.register(registration).await
    }

    /// Registers it, which must make something new, and gives its digest.
    pub(crate) async fn create(&self, registry: &Registry) -> Digest {
        let registered = self.register(registry).await.unwrap();
        assert!(registered.created, "{self:?} was there already");
        assert_eq!(registered.digest, self.digest());
        registered.digest
    }
}

pub(crate) fn reference(text: impl ToString) -> Reference {
    text.to_string().parse().unwrap()
}

/// What a name means: the full name and the digest; `None` if it means nothing.
pub(crate) async fn meaning(registry: &Registry, name: &str) -> Option<(String, Digest)> {
    match registry.resolve(&reference(name)).await {
        Ok(resolved) => {
            let entry = resolved.name.unwrap();
            assert_eq!(entry.digest, resolved.digest);
            Some((entry.name.to_string(), resolved.digest))
        }
        Err(RegistryError::UnknownName(unknown)) => {
            assert_eq!(unknown.as_str(), name);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether a module is registered.
pub(crate) async fn has_module(registry: &Registry, digest: Digest) -> bool {
    match registry.module(digest).await {
        Ok(record) => {
            assert_eq!(record.digest, digest);
            true
        }
        Err(RegistryError::UnknownDigest { digest: of, .. }) if of == digest => false,
        Err(error) => panic!("{error}"),
    }
}

/// Whether a blob is kept, and if so, whole.
pub(crate) async fn has_blob(registry: &Registry, digest: Digest) -> bool {
    match registry.blob(digest).await {
        Ok(blob) => {
            assert_eq!(Digest::of(&blob), digest);
            true
        }
        Err(RegistryError::UnknownDigest { digest: of, .. }) if of == digest => false,
        Err(error) => panic!("{error}"),
    }
}
