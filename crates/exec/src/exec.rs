//! The service itself: what is kept between requests, and how a program becomes ready.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasm_exec_engine::{
    Admission, ClientKey, CompileError, Confinement, Description, Engine, Full, GraphNode,
    LARGE_WASM, LinkError, Module, Occupancy, Place, Profile, Queue, SharedAdmission, WasmId,
};
use wasm_exec_registry::{
    Account, Digest, Graph, Hasher, ListQuery, Manifest, Name, NetworkStatus, Page, Reference,
    Registry, RegistryError, View,
};

use crate::error::Error;
use crate::failures::{Failures, Subject};
use crate::limits::{Limits, RequestedLimits};
use crate::programs::{ModuleCell, Programs, ReadyProgram};
use crate::sessions::{SessionCounts, Sessions};
use crate::source::Source;

/// How many resolved references are remembered.
const REMEMBERED_REFERENCES: usize = 16_384;

/// How many programs are made ready at once, those that wait for another's modules included. Each holds
/// the Wasm that came with its request, also when the request is gone.
pub(crate) const LOADS: u32 = 256;

/// How many large texts are parsed or printed at once: each takes many times its size in memory.
pub(crate) const TEXTS: u32 = 2;

/// How many large hex or base64 notations are decoded at once: each is there twice meanwhile.
pub(crate) const NOTATIONS: u32 = 4;

/// Those who wait to have a text or a notation read, which are small to what reading them takes.
const QUEUE: Queue = Queue { length: 256, patience: Duration::from_secs(5) };

/// Nobody waits to begin to make a program ready.
const NO_QUEUE: Queue = Queue { length: 0, patience: Duration::ZERO };

/// How many modules are read at once to be given out or printed.
pub(crate) const READS: u32 = 16;

/// Registers, describes and calls modules. A handle: cheap to clone, and clones share everything but
/// what [`restricted`](Self::restricted) and [`charged_to`](Self::charged_to) make of them.
#[derive(Clone, Debug)]
pub struct Exec {
    inner: Arc<Inner>,
    registry: Registry,
    limits: Limits,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    limits: Limits,
    programs: Programs,
    failures: Failures,
    sessions: Sessions,
    references: Cache<Box<str>, Remembered>,
    loads: SharedAdmission,
    texts: Admission,
    notations: Admission,
    reads: Semaphore,
}

/// What a reference meant at a generation of the registry.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    digest: Digest,
    generation: u64,
}

/// Figures about what is kept and what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Programs that can be called without loading anything.
    pub ready_programs: usize,
    /// How often something was refused because it was remembered to fail, and not tried again.
    pub remembered_failures: u64,
    /// Sessions that there are and were.
    pub sessions: SessionCounts,
    /// What of the engine is in use.
    pub occupancy: Occupancy,
}

impl Exec {
    /// Joins an engine and a registry.
    pub fn new(engine: Engine, registry: Registry, limits: Limits) -> Self {
        let inner = Inner {
            engine: Arc::new(engine),
            limits,
            programs: Programs::new(&limits),
            failures: Failures::new(),
            sessions: Sessions::new(limits.sessions),
            references: Cache::new(REMEMBERED_REFERENCES),
            loads: SharedAdmission::new(LOADS, NO_QUEUE),
            texts: Admission::new(TEXTS, QUEUE),
            notations: Admission::new(NOTATIONS, QUEUE),
            reads: Semaphore::new(READS as usize),
        };
        Self { inner: Arc::new(inner), registry, limits }
    }

    /// The same service for somebody who sees only this of the registry, and whose calls can ask
    /// for no more than `maxima`, each of which `None` leaves as it is.
    pub fn restricted(&self, view: View, maxima: &RequestedLimits) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            registry: self.registry.with_view(view),
            limits: self.limits.capped(maxima),
        }
    }

    /// The same service for somebody whose registrations are charged to an account.
    pub fn charged_to(&self, account: Account) -> Self {
        Self { registry: self.registry.charged_to(account), ..self.clone() }
    }

    /// The limits of those who use this handle: the operator's, or lower ones.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether those who use this handle can see a name.
    pub fn sees(&self, name: &Name) -> bool {
        self.registry.view().shows(name)
    }

    /// The engine's settings.
    pub fn engine_config(&self) -> &wasm_exec_engine::EngineConfig {
        self.inner.engine.config()
    }

    /// What confines compiling; `None` if modules are compiled in this process.
    pub fn confinement(&self) -> Option<Confinement> {
        self.inner.engine.confinement()
    }

    /// Figures about what is kept and what is in use.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            ready_programs: self.inner.programs.len(),
            remembered_failures: self.inner.failures.repeated(),
            sessions: self.inner.sessions.counts(),
            occupancy: self.inner.engine.occupancy(),
        }
    }

    /// Whether the registry can be read and written.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn check(&self) -> Result<(), RegistryError> {
        self.registry().check().await
    }

    /// How the network is that the registry is a part of; `None` if it is of none.
    pub fn network(&self) -> Option<Arc<NetworkStatus>> {
        self.registry().network()
    }

    /// Reads Wasm from one of its notations.
    ///
    /// # Errors
    ///
    /// When the notation is broken or the Wasm is too large.
    pub async fn decode(&self, source: Source<'_>) -> Result<Bytes, Error> {
        let maximum = self.inner.limits.wasm_bytes;
        if !source.is_large() {
            return Ok(source.decode(maximum)?);
        }
        // What is decoded elsewhere has to be owned: it is copied by those who have a place only.
        let decoding = match source {
            Source::Hex(text) => {
                let (place, text) = (self.notation_place().await?, text.to_owned());
                let decode = move || Source::Hex(&text).decode(maximum);
                self.blocking(move || (decode(), place).0).await
            }
            Source::Base64(text) => {
                let (place, text) = (self.notation_place().await?, text.to_owned());
                let decode = move || Source::Base64(&text).decode(maximum);
                self.blocking(move || (decode(), place).0).await
            }
            Source::Wat(text) => {
                let (place, text) = (self.text_place().await?, text.to_owned());
                let decode = move || Source::Wat(&text).decode(maximum);
                self.blocking(move || (decode(), place).0).await
            }
            source @ Source::Wasm(_) => Ok(source.decode(maximum)),
        };
        Ok(decoding??)
    }

    /// Waits for a place to decode hex or base64; like one to work on a text.
    async fn notation_place(&self) -> Result<Place, Error> {
        self.inner.notations.enter(1).await.map_err(|Full| Error::Overloaded)
    }

    /// Waits for a place to work on a text. It goes along with the work, which goes on also when the
    /// request is gone.
    pub(crate) async fn text_place(&self) -> Result<Place, Error> {
        self.inner.texts.enter(1).await.map_err(|Full| Error::Overloaded)
    }

    /// Waits for a place to read a module that is to be given out.
    pub(crate) async fn read_place(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.inner.reads.acquire().await.ok()
    }

    /// One page of what is registered.
    ///
    /// # Errors
    ///
    /// When the registry fails.
    pub async fn list(&self, query: ListQuery) -> Result<Page, Error> {
        Ok(self.registry().list(query).await?)
    }

    /// Deletes a name, or by its digest an unnamed registration.
    ///
    /// # Errors
    ///
    /// When nothing is registered so, only others hold it, or the registry fails.
    pub async fn delete(&self, module: &str) -> Result<(), Error> {
        let reference: Reference = module.parse()?;
        Ok(self.registry().delete(&reference).await?)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The module digest that a name or digest is remembered to mean, if the registry has not changed
    /// since.
    pub(crate) fn resolved(&self, module: &str) -> Option<Digest> {
        if !self.may_recall(module) {
            return None;
        }
        let remembered = self.inner.references.get(module)?;
        (remembered.generation == self.registry.generation()).then_some(remembered.digest)
    }

    /// Whether what somebody else asked for may be recalled for those who use this handle. Of names
    /// the text says so; who sees a digest depends on the names that point to it.
    fn may_recall(&self, module: &str) -> bool {
        let view = self.registry.view();
        if view.is_complete() {
            return true;
        }
        match module.split_once(':') {
            Some(("sha256", _)) => false,
            Some((namespace, _)) => !view.hides(namespace),
            None => true,
        }
    }

    /// The module digest that a name or digest means, remembered until the registry changes.
    pub(crate) async fn resolve(&self, module: &str) -> Result<Digest, Error> {
        if let Some(digest) = self.resolved(module) {
            return Ok(digest);
        }
        // Read first: what is looked up after a change is at least as new as this says.
        let generation = self.registry.generation();
        let reference: Reference = module.parse()?;
        let digest = self.registry.resolve(&reference).await?.digest;
        self.inner.references.insert(module.into(), Remembered { digest, generation });
        Ok(digest)
    }

    /// The program of a registered module, if it is ready.
    pub(crate) fn ready_program(
        &self,
        module: &str,
        profile: Profile,
    ) -> Option<Arc<ReadyProgram>> {
        self.inner.programs.get(self.resolved(module)?, profile)
    }

    /// The program of a registered module.
    pub(crate) async fn program(
        &self,
        digest: Digest,
        profile: Profile,
        client: Option<ClientKey>,
    ) -> Result<Arc<ReadyProgram>, Error> {
        if let Some(ready) = self.inner.programs.get(digest, profile) {
            return Ok(ready);
        }
        let this = self.clone();
        let load = async move {
            let graph = this.registry().graph(digest, this.inner.limits.graph).await?;
            this.link(digest, graph, None, (profile, client)).await
        };
        self.make_ready(digest, (profile, client), load).await
    }

    /// The program of a module that was sent along. Nothing of it is written to disk.
    pub(crate) async fn inline_program(
        &self,
        manifest: &Manifest,
        wasm: &Bytes,
        profile: Profile,
        client: Option<ClientKey>,
    ) -> Result<Arc<ReadyProgram>, Error> {
        let digest = manifest.digest();
        if let Some(ready) = self.inner.programs.get(digest, profile) {
            return Ok(ready);
        }
        let manifest = manifest.clone();
        let root = wasm.clone();
        let this = self.clone();
        let load = async move {
            let graph = this.registry().graph_of(&manifest, this.inner.limits.graph).await?;
            this.link(digest, graph, Some(root), (profile, client)).await
        };
        self.make_ready(digest, (profile, client), load).await
    }

    /// A module by itself, for instances in sessions, found by the digest of its blob. `digest` is
    /// what it was asked for by; `sent` are the bytes, if they were sent along.
    pub(crate) async fn single_program(
        &self,
        digest: Digest,
        wasm: Digest,
        sent: Option<Bytes>,
        client: Option<ClientKey>,
    ) -> Result<Arc<ReadyProgram>, Error> {
        let profile = Profile::Session;
        if let Some(ready) = self.inner.programs.get(wasm, profile) {
            return Ok(ready);
        }
        let this = self.clone();
        let load = async move {
            let loaded = this.module(digest, wasm, sent.as_ref(), (profile, client)).await?;
            let (cell, module) = loaded;
            let program = Arc::new(this.engine().single(module));
            let (nodes, modules) = (vec![wasm], vec![cell]);
            Ok(Arc::new(ReadyProgram { digest: wasm, nodes, program, modules }))
        };
        self.make_ready(wasm, (profile, client), load).await
    }

    /// Makes a program ready in a task of its own: it ends even if the request that began it is
    /// given up, and those who wait for it get it.
    async fn make_ready(
        &self,
        digest: Digest,
        (profile, client): (Profile, Option<ClientKey>),
        load: impl Future<Output = Result<Arc<ReadyProgram>, Error>> + Send + 'static,
    ) -> Result<Arc<ReadyProgram>, Error> {
        let this = self.clone();
        let key = (Subject::Program(digest), profile);
        let place = self.inner.loads.try_enter(client).ok_or(Error::Overloaded)?;
        let task = async move {
            let _place = place;
            let inner = &*this.inner;
            // Of those who wait while one loads, each loads anew if that fails: the failure is found.
            let load = inner.failures.or_try(key, load);
            inner.programs.get_or_load(digest, profile, load).await
        };
        tokio::spawn(task).await.map_err(internal)?
    }

    async fn link(
        &self,
        digest: Digest,
        graph: Graph,
        root: Option<Bytes>,
        (profile, client): (Profile, Option<ClientKey>),
    ) -> Result<Arc<ReadyProgram>, Error> {
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        let mut cells = Vec::with_capacity(graph.nodes.len());
        let mut digests = Vec::with_capacity(graph.nodes.len());
        let last = graph.nodes.len().saturating_sub(1);
        let inline = root.is_some();
        for (index, node) in graph.nodes.into_iter().enumerate() {
            let sent = root.as_ref().filter(|_| index == last);
            let (cell, module) = self.module(digest, node.wasm, sent, (profile, client)).await?;
            cells.push(cell);
            digests.push(node.digest);
            nodes.push(GraphNode { module, links: node.links });
        }
        // The one that was sent has no digest that anybody knows.
        let digest_of = |node: usize| match inline && node == last {
            true => None,
            false => digests.get(node).copied(),
        };
        let program = self.engine().link(nodes).map_err(|error| match error {
            LinkError::InitialMemory { bytes, maximum } => Error::InitialMemory { bytes, maximum },
            LinkError::Unavailable(_) => internal(error),
            error => Error::Link {
                module: error.node().and_then(digest_of),
                other: error.other_node().and_then(digest_of),
                error: Box::new(error),
            },
        })?;
        let program = Arc::new(program);
        Ok(Arc::new(ReadyProgram { digest, nodes: digests, program, modules: cells }))
    }

    /// A loaded module: shared, from its artifact, or compiled.
    async fn module(
        &self,
        root: Digest,
        wasm: Digest,
        sent: Option<&Bytes>,
        (profile, client): (Profile, Option<ClientKey>),
    ) -> Result<(ModuleCell, Module), Error> {
        let id = WasmId(*wasm.as_bytes());
        let cell = self.inner.programs.modules().cell(id, profile);
        let load = async {
            let kept = self.engine().load(id, profile).await.map_err(internal)?;
            if let Some(module) = kept {
                return Ok(module);
            }
            let bytes = match sent {
                Some(sent) => sent.clone(),
                None => self.blob(root, wasm).await?,
            };
            match self.engine().compile(Arc::new(bytes.clone()), profile, client).await {
                Ok(module) => {
                    if sent.is_none() {
                        self.engine().keep(id, &module).await;
                    }
                    Ok(module)
                }
                Err(error @ (CompileError::Overloaded | CompileError::Worker(_))) => {
                    Err(error.into())
                }
                Err(error) => {
                    if let CompileError::Crashed { report } | CompileError::Killed { report } =
                        &error
                    {
                        tracing::warn!(wasm.digest = %wasm, report, "the compiler failed");
                    }
                    Err(self.explain(error, &bytes).await)
                }
            }
        };
        let load = || self.inner.failures.or_try((Subject::Module(wasm), profile), load);
        let module = cell.get_or_try_init(load).await?.clone();
        Ok((cell, module))
    }

    /// Keeps the artifact of a program's root, which is about to be registered.
    pub(crate) async fn keep(&self, ready: &ReadyProgram, wasm: Digest) {
        if let Some(module) = ready.modules.last().and_then(|cell| cell.get()) {
            self.engine().keep(WasmId(*wasm.as_bytes()), module).await;
        }
    }

    /// A blob of a registered graph. If it is missing because its module was deleted meanwhile, the
    /// error says so.
    async fn blob(&self, root: Digest, wasm: Digest) -> Result<Bytes, Error> {
        match self.registry().blob(wasm).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                self.registry().resolve(&Reference::Digest(root)).await?;
                Err(error.into())
            }
        }
    }

    /// Why a module could not be compiled, in its author's terms: the compiler's own error does not
    /// tell an invalid module from one that it cannot translate.
    async fn explain(&self, error: CompileError, wasm: &Bytes) -> Error {
        let maximum = self.inner.limits.memory_bytes.maximum;
        match (error, self.validate(wasm).await) {
            (CompileError::Compiler(_) | CompileError::Module(_), Err(invalid)) => invalid,
            (CompileError::Unsupported(_), Ok(Description { initial_memory: bytes, .. }))
                if bytes > maximum =>
            {
                Error::InitialMemory { bytes, maximum }
            }
            (error, _) => error.into(),
        }
    }

    /// Validates and describes a module, unless it is known to be invalid.
    pub(crate) async fn validate_once(
        &self,
        wasm: &Bytes,
        digest: Digest,
    ) -> Result<Description, Error> {
        // Whether a module is valid does not depend on the profile, but what else failed may.
        let key = (Subject::Module(digest), Profile::Fast);
        self.inner.failures.or_validate(key, self.validate(wasm)).await
    }

    /// Runs what takes long on a thread of lower priority than those that serve requests. It goes on to
    /// its end even if the future is dropped.
    ///
    /// # Errors
    ///
    /// When it panics.
    pub async fn blocking<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.engine().in_background(function).await.map_err(internal)
    }

    /// The digest of Wasm.
    pub(crate) async fn digest(&self, wasm: &Bytes) -> Result<Digest, Error> {
        if wasm.len() <= LARGE_WASM {
            return Ok(Digest::of(wasm));
        }
        let wasm = wasm.clone();
        self.blocking(move || digest_giving_way(&wasm)).await
    }

    /// Validates and describes a module.
    async fn validate(&self, wasm: &Bytes) -> Result<Description, Error> {
        if wasm.len() <= LARGE_WASM {
            return self.engine().validate(wasm).map_err(Error::Module);
        }
        let (engine, wasm) = (Arc::clone(self.engine()), wasm.clone());
        self.blocking(move || engine.validate(&wasm)).await?.map_err(Error::Module)
    }
}

/// Hashes in pieces, between which threads that serve requests can have the core: from a thread that has
/// just begun, whatever its priority, the kernel takes it only after milliseconds.
fn digest_giving_way(wasm: &[u8]) -> Digest {
    const PIECE: usize = 64 << 10;
    let mut hasher = Hasher::default();
    for piece in wasm.chunks(PIECE) {
        hasher.update(piece);
        std::thread::yield_now();
    }
    hasher.finish()
}

pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal(Box::new(error))
}
