//! Sessions: stores that live between calls, with named instances that share what they export.
//!
//! One call at a time runs in a session, as ordinary calls do: first on the thread that serves its
//! request, then in the background. What a guest does stays, also after it traps; a call whose time
//! is up ends the session, since nothing says in which state it left it.

mod link;
mod live;
mod share;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::access::{Access, InvalidAccess};
use crate::admission::Full;
use crate::config::{Profile, SessionLimits};
use crate::limiter::{LARGE_MEMORY, Limiter};
use crate::program::Program;
pub use crate::store::SessionEnd;
use crate::store::{self, Control, State};
use crate::{Engine, Needs, StartError, poll_once};
use live::Live;

pub use link::SessionLinkError;
pub use live::{MemoryBounds, SessionOutcome};
pub use share::SessionShare;
pub use value::SessionValue;

/// How many calls of one session may wait for the one that runs.
const MAXIMUM_WAITING: usize = 16;

/// A store that lives between calls, and the instances in it. Cheap to clone; what it holds is given
/// back in the background when the last clone is dropped.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    limits: SessionLimits,
    control: Arc<Control>,
    instances: RwLock<HashMap<Box<str>, Arc<NamedInstance>>>,
    /// `None` once the session has ended by itself.
    live: Arc<Mutex<Option<Live>>>,
    waiting: AtomicUsize,
    memory: Memory,
}

/// What was last seen of the session's memory, in bytes: so that it can be told while a call runs.
#[derive(Debug, Default)]
struct Memory {
    now: AtomicUsize,
    peak: AtomicUsize,
}

/// Tells modules apart in backtraces; what it stands for is the caller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleId(pub [u8; 32]);

/// A linked program of profile [`Session`](Profile::Session), and what its nodes are called.
#[derive(Clone, Debug)]
pub struct LinkedProgram {
    /// The program.
    pub program: Arc<Program>,
    /// One for each of its nodes, in their order.
    pub nodes: Vec<ModuleId>,
}

/// What satisfies the imports of one import module.
#[derive(Clone, Debug)]
pub enum SessionLink {
    /// An instance of the session, by its name.
    Instance(String),
    /// A program, of which each node gets an instance of its own for this instantiation.
    Program(LinkedProgram),
}

/// An instance that is to be made.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// What it will be called.
    pub name: String,
    /// Its module, as [`Engine::single`](crate::Engine::single) gives it.
    pub module: Arc<Program>,
    /// What the module is called in backtraces.
    pub id: ModuleId,
    /// Import module → what satisfies it. Of others, the session's instance of that name does.
    pub links: BTreeMap<String, SessionLink>,
}

/// An instance that a session has.
#[derive(Debug)]
pub struct NamedInstance {
    instance: wasmtime::Instance,
    id: ModuleId,
    module: Arc<Program>,
}

impl NamedInstance {
    /// What its module is called.
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// Its module, which says what it exports.
    pub fn module(&self) -> &Program {
        &self.module
    }
}

/// Why something could not be done in a session; never the guest's doing.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The session has ended.
    #[error("the session has ended")]
    Ended(SessionEnd),
    /// As many calls of the session as may wait, wait; or the engine has as much to do as it can.
    #[error("too many calls at once")]
    Overloaded,
    /// The session has an instance of this name.
    #[error("the session has an instance {0:?} already")]
    NameTaken(String),
    /// The session has no instance of this name.
    #[error("the session has no instance {0:?}")]
    UnknownInstance(String),
    /// The instance exports nothing of this name and kind.
    #[error("the instance exports no {kind} {name:?}")]
    UnknownExport {
        /// What it was asked for.
        name: String,
        /// `function`, `global` or `memory`.
        kind: &'static str,
    },
    /// Imports are not satisfied, or links not used.
    #[error(transparent)]
    Link(#[from] SessionLinkError),
    /// The session would have more of something than it may.
    #[error("the session would have {asked} {what}; at most {maximum} are possible")]
    TooMany {
        /// `instances` or `memories`.
        what: &'static str,
        /// How many it would have.
        asked: usize,
        /// How many it may have.
        maximum: usize,
    },
    /// A value is not one of the type, or there are too many or too few.
    #[error("the values are not of the types")]
    Values,
    /// The global cannot be set.
    #[error("the global {0:?} is immutable")]
    Immutable(String),
    /// What is wanted of memories is not possible.
    #[error(transparent)]
    Access(#[from] InvalidAccess),
    /// Bytes outside of a memory.
    #[error(transparent)]
    Range(#[from] MemoryBounds),
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[source] wasmtime::Error),
}

impl From<StartError> for SessionError {
    fn from(error: StartError) -> Self {
        Self::Engine(wasmtime::Error::new(error))
    }
}

/// Work in a session, to its end.
type Working<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionError>> + Send + 'a>>;

impl Session {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        limits: SessionLimits,
        share: &SessionShare,
    ) -> Result<Self, StartError> {
        let running = engine.running(Profile::Session)?;
        let control = Arc::new(Control::default());
        let guests = Arc::clone(&share.memory);
        let elements = engine.config.table_elements;
        let limiter = Limiter::of_session(limits.memory_bytes, elements, guests);
        let state = State::of_session(limiter, Arc::clone(&control));
        let live = Live::new(store::new(&running.engine, state), limits, share);
        let inner = Inner {
            engine: Arc::clone(engine),
            limits,
            control,
            instances: RwLock::default(),
            live: Arc::new(Mutex::new(Some(live))),
            waiting: AtomicUsize::new(0),
            memory: Memory::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The limits it was made with.
    pub fn limits(&self) -> SessionLimits {
        self.inner.limits
    }

    /// The memory it has now, and the most it had, in bytes, as of its last call's end.
    pub fn memory(&self) -> (u64, u64) {
        let Memory { now, peak } = &self.inner.memory;
        (now.load(Ordering::Relaxed) as u64, peak.load(Ordering::Relaxed) as u64)
    }

    /// Ends it: a running call is interrupted at its next tick, those that wait are refused.
    pub fn end(&self) {
        self.inner.control.end(SessionEnd::Asked);
    }

    fn check(&self) -> Result<(), SessionError> {
        self.inner.control.over().map_or(Ok(()), |why| Err(SessionError::Ended(why)))
    }

    /// The instances that it has, by name.
    pub fn instances(&self) -> BTreeMap<String, ModuleId> {
        let instances = self.inner.instances.read().unwrap_or_else(PoisonError::into_inner);
        instances.iter().map(|(name, instance)| (name.to_string(), instance.id)).collect()
    }

    /// An instance that it has.
    ///
    /// # Errors
    ///
    /// When there is none of that name, or the session has ended.
    pub fn instance(&self, name: &str) -> Result<Arc<NamedInstance>, SessionError> {
        self.check()?;
        let instances = self.inner.instances.read().unwrap_or_else(PoisonError::into_inner);
        instances.get(name).cloned().ok_or_else(|| SessionError::UnknownInstance(name.to_owned()))
    }

    /// Makes an instance, within `timeout`.
    ///
    /// What its start function writes into what it imports stays, also if it fails; then the name is
    /// free again.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. What the guest does is an outcome.
    pub async fn instantiate(
        &self,
        new: NewInstance,
        timeout: Duration,
    ) -> Result<SessionOutcome<()>, SessionError> {
        let large = new.is_large();
        let inner = Arc::clone(&self.inner);
        self.run(timeout, large, move |live| {
            Box::pin(async move { live.instantiate(&inner.instances, new).await })
        })
        .await
    }

    /// Calls a function that an instance exports, within `timeout`; `access` is what is put into
    /// memories before, and taken out after, also after a failure.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. What the guest does is an outcome.
    pub async fn call(
        &self,
        instance: &NamedInstance,
        function: &str,
        params: Vec<SessionValue>,
        access: Option<Box<Access>>,
        timeout: Duration,
    ) -> Result<SessionOutcome<Vec<SessionValue>>, SessionError> {
        if let Some(access) = &access {
            let module = &instance.module;
            let unknown =
                || SessionError::UnknownExport { name: function.to_owned(), kind: "function" };
            let function = module.function(function).ok_or_else(unknown)?;
            access.check(module, function.params(), function.results())?;
        }
        let large = access.as_ref().is_some_and(|access| access.is_large());
        let access = access.map(|access| (access, self.inner.engine.reads.clone()));
        let (instance, function) = (instance.instance, function.to_owned());
        self.run(timeout, large, move |live| {
            Box::pin(async move { live.call(instance, &function, &params, access).await })
        })
        .await
    }

    /// The value of a global that an instance exports.
    ///
    /// # Errors
    ///
    /// See [`SessionError`].
    pub async fn global(
        &self,
        instance: &NamedInstance,
        name: &str,
    ) -> Result<SessionValue, SessionError> {
        let (instance, name) = (instance.instance, name.to_owned());
        self.run(Duration::MAX, false, move |live| {
            Box::pin(async move { live.global(instance, &name) })
        })
        .await
    }

    /// Sets a global that an instance exports.
    ///
    /// # Errors
    ///
    /// See [`SessionError`].
    pub async fn set_global(
        &self,
        instance: &NamedInstance,
        name: &str,
        value: SessionValue,
    ) -> Result<SessionOutcome<()>, SessionError> {
        let (instance, name) = (instance.instance, name.to_owned());
        self.run(Duration::MAX, false, move |live| {
            Box::pin(async move { live.set_global(instance, &name, &value).await })
        })
        .await
    }

    /// Copies bytes out of a memory that an instance exports; without a length, up to its end. Before
    /// anything is copied, `room` is asked for room for so many bytes, which is given along.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. Without room, it is overloaded.
    pub async fn read_memory<R: Send + 'static>(
        &self,
        instance: &NamedInstance,
        name: &str,
        (offset, length): (u64, Option<u64>),
        room: impl FnOnce(u64) -> Option<R> + Send + 'static,
    ) -> Result<(Vec<u8>, R), SessionError> {
        let (instance, name) = (instance.instance, name.to_owned());
        let (now, _) = self.memory();
        let large = length.unwrap_or(now) > LARGE_COPY;
        self.run(Duration::MAX, large, move |live| {
            Box::pin(async move { live.read_memory(instance, &name, (offset, length), room) })
        })
        .await
    }

    /// Copies bytes into a memory that an instance exports.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. Out of range, nothing is written.
    pub async fn write_memory(
        &self,
        instance: &NamedInstance,
        name: &str,
        offset: u64,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<(), SessionError> {
        let (instance, name) = (instance.instance, name.to_owned());
        let large = bytes.as_ref().len() as u64 > LARGE_COPY;
        self.run(Duration::MAX, large, move |live| {
            Box::pin(async move { live.write_memory(instance, &name, offset, bytes.as_ref()) })
        })
        .await
    }

    /// Does some work in the store, once those that came before are done. Work that is long, or known
    /// to be (`large`), goes on in the background; dropping the future ends it.
    async fn run<T, W>(&self, timeout: Duration, large: bool, work: W) -> Result<T, SessionError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Live) -> Working<'a, T> + Send + 'static,
    {
        let engine = &self.inner.engine;
        let turn = self.turn().await?;
        let running = engine.running(Profile::Session)?;
        // Those that run in the background from the start wait for a place there first.
        let needs = Needs { slots: 0, long: large };
        let places = match engine.try_admit(running, needs) {
            Some(places) => places,
            None => {
                let admitted = engine.admit(running, needs).await;
                admitted.map_err(|Full| SessionError::Overloaded)?
            }
        };
        let ticking = running.ticker.keep_ticking();
        let this = self.clone();
        let mut run = Box::pin(async move {
            let done = this.run_in(turn, timeout, work).await;
            drop((ticking, places));
            done
        });
        if !large && let Some(done) = poll_once(run.as_mut()).await {
            return done;
        }
        let waiting = Instant::now();
        // What it did stays, so it is not refused now: without a place it goes on all the same.
        let _long = if large { None } else { engine.long_calls.enter(1).await.ok() };
        self.inner.control.has_waited(waiting.elapsed());
        let ran = engine.background.spawn(run).await;
        ran.map_err(|error| SessionError::Engine(wasmtime::Error::new(error)))?
    }

    async fn run_in<T, W>(
        &self,
        mut turn: OwnedMutexGuard<Option<Live>>,
        timeout: Duration,
        work: W,
    ) -> Result<T, SessionError>
    where
        W: for<'a> FnOnce(&'a mut Live) -> Working<'a, T> + Send + 'static,
    {
        self.check()?;
        let Inner { memory, control, engine, .. } = &*self.inner;
        let live = turn.as_mut().ok_or(SessionError::Ended(SessionEnd::Failed))?;
        let unfinished = Unfinished(control);
        live.begin(timeout);
        let done = work(live).await;
        drop(unfinished);
        let limiter = live.limiter();
        memory.now.store(limiter.memory(), Ordering::Relaxed);
        memory.peak.store(limiter.peak_memory(), Ordering::Relaxed);
        if live.timed_out() {
            control.end(SessionEnd::Timeout);
        } else if matches!(done, Err(SessionError::Engine(_))) {
            control.end(SessionEnd::Failed);
        }
        if control.over().is_some() {
            engine.background.drop_later(turn.take());
        }
        done
    }

    /// Waits until no other call runs in the session.
    async fn turn(&self) -> Result<OwnedMutexGuard<Option<Live>>, SessionError> {
        let Inner { live, waiting, .. } = &*self.inner;
        if let Ok(turn) = Arc::clone(live).try_lock_owned() {
            return Ok(turn);
        }
        let _waiting = Waiting::join(waiting).ok_or(SessionError::Overloaded)?;
        Ok(Arc::clone(live).lock_owned().await)
    }
}

/// Work in a store that is not done. If it panics, nothing is known of the store any more.
struct Unfinished<'a>(&'a Control);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(SessionEnd::Failed);
        }
    }
}

/// Copies of more bytes than this are not made on the threads that serve requests.
const LARGE_COPY: u64 = 1 << 20;

impl NewInstance {
    /// Whether making it takes longer than a short call may wait.
    fn is_large(&self) -> bool {
        let linked = self.links.values().filter_map(|link| match link {
            SessionLink::Instance(_) => None,
            SessionLink::Program(linked) => Some(linked.program.initial_memory),
        });
        let sum = linked.fold(self.module.initial_memory, u64::saturating_add);
        sum > LARGE_MEMORY as u64
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody runs in it any more: whoever does holds a clone of the session.
        if let Ok(mut live) = self.live.try_lock() {
            self.engine.background.drop_later(live.take());
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("limits", &self.inner.limits)
            .field("memory", &self.inner.memory)
            .finish_non_exhaustive()
    }
}

/// A place among those that wait for their turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let this = Self(count);
        (before < MAXIMUM_WAITING).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
