//! Sessions: stores that live between calls, with named instances that share what they export.
//!
//! One call at a time runs in a session, as ordinary calls do: first on the thread that serves its
//! request, then in the background. What a guest does stays, also after it traps; a call whose time
//! is up ends the session, since nothing says in which state it left it.

mod error;
mod instance;
mod link;
mod live;
mod share;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::access::Access;
use crate::admission::{Full, Patience};
use crate::calling::{Needs, Rare, poll_once};
use crate::config::{Profile, SessionLimits};
use crate::limiter::{Exhausted, Limiter};
pub use crate::store::SessionEnd;
use crate::store::{self, Control, State};
use crate::{Engine, StartError};
use live::Live;

pub use error::SessionError;
pub use instance::{LinkedProgram, ModuleId, NamedInstance, NewInstance, SessionLink};
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
    share: SessionShare,
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
            share: share.clone(),
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

    /// Why it is over, if it is.
    pub fn ended(&self) -> Option<SessionEnd> {
        self.inner.control.over()
    }

    fn check(&self) -> Result<(), SessionError> {
        self.ended().map_or(Ok(()), |why| Err(SessionError::Ended(why)))
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

    /// Copies bytes out of a memory that an instance exports; without a length, up to its end. `copy` is
    /// given the bytes, and gives nothing if there is no room for them.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. Without room, it is overloaded.
    pub async fn read_memory<R: Send + 'static>(
        &self,
        instance: &NamedInstance,
        name: &str,
        (offset, length): (u64, Option<u64>),
        copy: impl FnOnce(&[u8]) -> Option<R> + Send + 'static,
    ) -> Result<R, SessionError> {
        let (instance, name) = (instance.instance, name.to_owned());
        let (now, _) = self.memory();
        let large = length.unwrap_or(now) > LARGE_COPY;
        self.run(Duration::MAX, large, move |live| {
            Box::pin(async move { live.read_memory(instance, &name, (offset, length), copy) })
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

    /// Gives back, in the background, what the session keeps for the next call to be faster: the stack,
    /// of which a guest may have used all. For when none has come for a while; if one comes meanwhile,
    /// it waits for some microseconds, or nothing is done.
    pub fn rest(&self) {
        let inner = Arc::downgrade(&self.inner);
        self.inner.engine.background.spawn_blocking(move || {
            let Some(inner) = inner.upgrade() else { return };
            let Ok(mut live) = inner.live.try_lock() else { return };
            let unfinished = Unfinished(&inner.control);
            live.as_mut().map(Live::rest);
            drop(unfinished);
        });
    }

    /// Does some work in the store, once those that came before are done. Work that is long, or known
    /// to be (`large`), goes on in the background; dropping the future ends it.
    async fn run<T, W>(&self, timeout: Duration, large: bool, work: W) -> Result<T, SessionError>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a mut Live) -> Working<'a, T> + Send + 'static,
    {
        let engine = &self.inner.engine;
        let turn = match Arc::clone(&self.inner.live).try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => self.turn().await?,
        };
        let running = engine.running(Profile::Session)?;
        let running_call = self.inner.share.begin_call();
        let running_call = running_call.map_err(|Exhausted| SessionError::Overloaded)?;
        // Those that run in the background from the start wait for a place there first.
        let needs = Needs { slots: 0, long: large, quick: false, client: None };
        let places = match engine.try_admit(running, needs) {
            Some(places) => places,
            None => {
                let admitted = engine.admit(running, needs, Patience::Bounded).await;
                admitted.map_err(|Full| SessionError::Overloaded)?
            }
        };
        let ticking = running.ticker.keep_ticking();
        let this = self.clone();
        let mut run: Working<'static, T> = Box::pin(async move {
            let done = this.run_in(turn, timeout, work).await;
            drop((ticking, places, running_call));
            done
        });
        if !large && let Some(done) = poll_once(run.as_mut()).await {
            return done;
        }
        self.go_on(run, large).await
    }

    /// Runs work to its end, in the background, that is not done after its first slice, or known to be
    /// long.
    #[cold]
    fn go_on<T: Send + 'static>(
        &self,
        run: Working<'static, T>,
        large: bool,
    ) -> Rare<'_, Result<T, SessionError>> {
        let engine = &self.inner.engine;
        Box::pin(async move {
            // What it did stays, so it is not refused now: without a place it goes on all the same.
            let _long = if large { None } else { engine.prolonged_in_sessions.enter(1).await.ok() };
            let ran = engine.background.spawn(run).await;
            ran.map_err(|error| SessionError::Engine(wasmtime::Error::new(error)))?
        })
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
    #[cold]
    fn turn(&self) -> Rare<'_, Result<OwnedMutexGuard<Option<Live>>, SessionError>> {
        Box::pin(async move {
            let Inner { live, waiting, .. } = &*self.inner;
            let _waiting = Waiting::join(waiting).ok_or(SessionError::Overloaded)?;
            Ok(Arc::clone(live).lock_owned().await)
        })
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
