//! The modules on this node's disk, as nodes pass them to each other: as the contents of a closure,
//! manifest by manifest and blob by blob.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use wasm_exec_registry::{
    Backend, BoxFuture, Creation, Digest, Entry, GraphError, GraphLimits, Manifest, Name,
    RedbBackend, RegisterError, Registered, Registry, RegistryError, Row, StorageError,
};

use crate::contents::{Contents, InvalidContents, Item, Kind};
use crate::fetching::MAX_CLOSURE_BYTES;
use crate::rows;
use crate::transfer::Source;

/// The modules that are on the disk. A handle, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Library {
    local: Arc<RedbBackend>,
    /// The most bytes of Wasm that a module may have.
    wasm_bytes: u64,
    /// The most bytes of a closure that is passed on or taken.
    closure_bytes: u64,
}

/// Why a closure is not on the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    /// Contents and manifests do not fit.
    #[error(transparent)]
    Invalid(#[from] InvalidContents),
    /// What was fetched is not a manifest, or not all of it was.
    #[error("{0} is not what the contents list says")]
    NotThat(Digest),
    /// It cannot be registered.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// It cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<StorageError> for AddError {
    fn from(error: StorageError) -> Self {
        Self::Registry(error.into())
    }
}

impl Library {
    pub(crate) fn new(local: Arc<RedbBackend>, wasm_bytes: u64, closure_bytes: u64) -> Self {
        Self { local, wasm_bytes, closure_bytes: closure_bytes.min(MAX_CLOSURE_BYTES) }
    }

    /// Where it is kept.
    pub(crate) fn local(&self) -> &RedbBackend {
        &self.local
    }

    /// The most bytes of Wasm that a module may have.
    pub(crate) fn wasm_bytes(&self) -> u64 {
        self.wasm_bytes
    }

    /// The most bytes of a closure that is passed on or taken.
    pub(crate) fn closure_bytes(&self) -> u64 {
        self.closure_bytes
    }

    /// What a name means on this disk.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub(crate) async fn resolve(&self, name: &Name) -> Result<Option<Entry>, StorageError> {
        stored(self.local.resolve(name).await)
    }

    /// What the closure of a module is made of; `None` if it is not here, or is more than nodes pass
    /// to each other.
    ///
    /// # Errors
    ///
    /// As the registry does.
    pub(crate) async fn contents(&self, module: Digest) -> Result<Option<Contents>, RegistryError> {
        if self.local.manifest(module).await?.is_none() {
            return Ok(None);
        }
        let row = rows::contents_of(&self.local, &module).await?;
        let listed = row.and_then(|text| Contents::decode(&text, u64::MAX).ok());
        if listed.is_some() {
            return Ok(listed);
        }
        // It was registered by a server that was not a node.
        let contents = self.list(module).await?;
        if let Some(contents) = &contents {
            self.local.write(vec![rows::contents(&module, contents.canonical())]).await?;
        }
        Ok(contents)
    }

    /// The same from the blobs themselves.
    async fn list(&self, module: Digest) -> Result<Option<Contents>, RegistryError> {
        let registry = Registry::new(self.local.clone());
        let graph = match registry.graph(module, GraphLimits::default()).await {
            Ok(graph) => graph,
            Err(GraphError::Registry(error)) => return Err(error),
            Err(GraphError::TooManyModules { .. } | GraphError::TooDeep { .. }) => return Ok(None),
        };
        let mut modules = Vec::new();
        for node in graph.nodes {
            if let Some(manifest) = self.local.manifest(node.digest).await? {
                modules.push((manifest, registry.blob(node.wasm).await?));
            }
        }
        let list = move || {
            Contents::of(modules.iter().map(|(manifest, wasm)| (manifest, wasm.as_ref()))).ok()
        };
        Ok(spawn_blocking(list).await.unwrap_or(None))
    }

    /// What the closure of a module will be made of that is about to be registered; `None` if it links
    /// to what is not here, or is more than nodes pass to each other.
    ///
    /// # Errors
    ///
    /// As the registry does.
    pub(crate) async fn contents_for(
        &self,
        creation: &Creation,
    ) -> Result<Option<Contents>, RegistryError> {
        let mut linked = Vec::new();
        for module in creation.manifest().links.values() {
            let Some(contents) = self.contents(*module).await? else { return Ok(None) };
            linked.push(contents);
        }
        let (manifest, wasm) = (creation.manifest().clone(), creation.wasm().clone());
        let module = creation.digest();
        let list = move || {
            let contents = Contents::with_links(linked, &manifest, &wasm);
            contents.inspect_err(|error| {
                tracing::warn!(%error, %module, "more than nodes pass on: it stays on this one");
            })
        };
        Ok(spawn_blocking(list).await.ok().and_then(Result::ok))
    }

    /// Forgets what a module is made of that has gone, and what those are that went with it.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub(crate) async fn forget_contents(&self, module: Digest) -> Result<(), StorageError> {
        let listed = rows::contents_of(&self.local, &module).await?;
        let listed = listed.and_then(|text| Contents::decode(&text, u64::MAX).ok());
        let items = listed.iter().flat_map(Contents::items);
        let linked = items.filter(|item| item.kind == Kind::Manifest).map(|item| item.sha256);
        let mut gone = Vec::new();
        for module in linked.filter(|linked| *linked != module).chain([module]) {
            if stored(self.local.manifest(module).await)?.is_none() {
                gone.push(rows::no_contents(&module));
            }
        }
        match gone.is_empty() {
            true => Ok(()),
            false => self.local.write(gone).await,
        }
    }

    /// Which of these are not on the disk.
    ///
    /// # Errors
    ///
    /// As the registry does.
    pub(crate) async fn missing(&self, contents: &Contents) -> Result<Vec<Item>, RegistryError> {
        let mut missing = Vec::new();
        for item in contents.items() {
            let is_here = match item.kind {
                Kind::Manifest => self.local.manifest(item.sha256).await?.is_some(),
                Kind::Wasm => self.local.has_blob(item.sha256).await?,
            };
            if !is_here {
                missing.push(*item);
            }
        }
        Ok(missing)
    }

    /// Takes in the closure of `module`, of which `fetched` is what was missing, and registers it
    /// under the name, in one transaction with the rows.
    ///
    /// # Errors
    ///
    /// As [`AddError`] says; then nothing of it is kept.
    pub(crate) async fn add(
        &self,
        module: Digest,
        contents: &Contents,
        fetched: &HashMap<Digest, Bytes>,
        name: Option<Name>,
        mut rows: Vec<Row>,
    ) -> Result<Registered, AddError> {
        let manifests = self.check(module, contents, fetched).await?;
        let mut dependencies = Vec::new();
        for item in contents.items().iter().filter(|item| item.kind == Kind::Manifest) {
            if item.sha256 != module && fetched.contains_key(&item.sha256) {
                dependencies.push(self.creation(item.sha256, &manifests, fetched, None).await?);
            }
        }
        let root = self.creation(module, &manifests, fetched, name).await?;
        rows.push(rows::contents(&module, contents.canonical()));
        Ok(self.local.create_closure(dependencies, root, rows).await?)
    }

    /// The manifests of the closure of `module`, which `contents` are exactly.
    ///
    /// # Errors
    ///
    /// As [`AddError`] says, where they are not.
    pub(crate) async fn check(
        &self,
        module: Digest,
        contents: &Contents,
        fetched: &HashMap<Digest, Bytes>,
    ) -> Result<HashMap<Digest, Manifest>, AddError> {
        let manifests = self.manifests(contents, fetched).await?;
        contents.check(module, &manifests)?;
        Ok(manifests)
    }

    async fn manifests(
        &self,
        contents: &Contents,
        fetched: &HashMap<Digest, Bytes>,
    ) -> Result<HashMap<Digest, Manifest>, AddError> {
        let mut manifests = HashMap::new();
        for item in contents.items().iter().filter(|item| item.kind == Kind::Manifest) {
            let manifest = match fetched.get(&item.sha256) {
                Some(text) => Manifest::parse(text).ok(),
                None => self.local.manifest(item.sha256).await?,
            };
            let manifest = manifest.ok_or(AddError::NotThat(item.sha256))?;
            manifests.insert(item.sha256, manifest);
        }
        Ok(manifests)
    }

    /// A module of a closure. What was fetched has been verified as a whole, and so has what is here.
    async fn creation(
        &self,
        module: Digest,
        manifests: &HashMap<Digest, Manifest>,
        fetched: &HashMap<Digest, Bytes>,
        name: Option<Name>,
    ) -> Result<Creation, AddError> {
        let manifest = manifests.get(&module).ok_or(AddError::NotThat(module))?;
        let wasm = match fetched.get(&manifest.wasm) {
            Some(wasm) => Some(wasm.clone()),
            None => self.local.blob(manifest.wasm).await?,
        };
        let wasm = wasm.ok_or(AddError::NotThat(manifest.wasm))?;
        let creation = Creation::verified(name, manifest.clone(), wasm);
        match creation.digest() == module {
            true => Ok(creation),
            false => Err(AddError::NotThat(module)),
        }
    }
}

impl Source for Library {
    fn contents(&self, module: Digest) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let contents = Self::contents(self, module).await.ok()??;
            Some(contents.canonical().into())
        })
    }

    fn item(&self, kind: Kind, sha256: Digest) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            match kind {
                Kind::Manifest => {
                    let manifest = self.local.manifest(sha256).await.ok()??;
                    Some(manifest.canonical().into())
                }
                Kind::Wasm => self.local.blob(sha256).await.ok()?,
            }
        })
    }
}

/// What an embedded backend fails with: nothing but the storage's errors.
pub(crate) fn stored<T>(result: Result<T, RegistryError>) -> Result<T, StorageError> {
    result.map_err(|error| match error {
        RegistryError::Storage(error) => error,
        error => StorageError::from(std::io::Error::other(error)),
    })
}
