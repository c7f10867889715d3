//! Sessions: stores that live between calls, found by an id that is hard to guess.
//!
//! A session is visible to the key that made it only; without keys, to whoever knows its id. It ends
//! when it is deleted, when nobody uses it for a while, when one of its calls takes too long, and with
//! the server; what ended it is told for some minutes.

mod id;
mod instances;
mod table;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;
use wasm_exec_engine::{
    self as engine, ClientKey, MemoryBounds, ModuleId, SessionLimits, SessionLinkError,
    SessionOutcome, SessionValue, ValueType,
};
use wasm_exec_registry::Digest;

use crate::call::{Answer, Failure, FailureKind, output_limit, report, unknown_function};
use crate::error::Error;
use crate::exec::{Exec, internal};
use crate::limits::{Granted, LimitTooHigh, RequestedLimits};
use crate::memory::{self, MemoryAccess};
use crate::values::{self, InvalidParams, WithBytes};

pub use instances::{InstanceLink, InstanceModule, InstanceReport, InstanceRequest};
pub use table::{EndReason, SessionCounts};
pub(crate) use table::{Entry, InUse, Sessions};

/// Who makes a session, as far as that bounds how many, and who else may see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionOwner {
    /// Whoever has this key. Nobody else can see it.
    Key(String),
    /// A client of a server without keys; `None` is one that may have as many as there can be.
    Client(Option<ClientKey>),
}

/// A session as somebody asks for it.
#[derive(Clone, Copy, Debug)]
pub struct SessionRef<'a> {
    /// Its id.
    pub id: &'a str,
    /// Who asks.
    pub owner: &'a SessionOwner,
}

/// A session that is to be made.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Who makes it.
    pub owner: SessionOwner,
    /// Memory for the session; time and output for each of its calls. It cannot have fuel.
    pub limits: RequestedLimits,
    /// For how long it may be idle, in milliseconds.
    pub idle_timeout_ms: Option<u64>,
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// Its id.
    pub id: String,
    /// When it ends if nobody uses it until then.
    pub expires_at: SystemTime,
    /// For how long it may be idle.
    pub idle_timeout: Duration,
    /// Time of each of its calls.
    pub timeout: Duration,
    /// The memory that it may have, in bytes.
    pub memory_maximum: u64,
    /// The output of each of its calls, in bytes.
    pub output_maximum: u64,
    /// The memory that it has, in bytes.
    pub memory_bytes: u64,
    /// The most memory that it had, in bytes.
    pub peak_memory_bytes: u64,
    /// The modules of its instances, by their names.
    pub instances: Vec<(String, Digest)>,
}

/// A call in a session.
#[derive(Clone, Debug)]
pub struct SessionCall<'a> {
    /// The instance's name.
    pub instance: &'a str,
    /// The exported function's name.
    pub function: &'a str,
    /// The parameters, as JSON text.
    pub params: &'a [&'a RawValue],
    /// What is put into memories before and taken out after; `None` is nothing.
    pub memory: Option<Box<MemoryAccess<'a>>>,
    /// Milliseconds, at most the session's.
    pub timeout_ms: Option<u64>,
    /// Bytes, at most the session's.
    pub output_bytes: Option<u64>,
}

/// An exported global's type and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalReport {
    /// The type, in the syntax of the text format.
    pub ty: String,
    /// The value as JSON.
    pub value: String,
}

/// Bytes of a memory of a session.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPart<'a> {
    /// The instance's name.
    pub instance: &'a str,
    /// The exported memory's name.
    pub memory: &'a str,
    /// Where they begin.
    pub offset: u64,
}

/// Why something could not be done with a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no session of this id, or only somebody else's.
    #[error("there is no session of this id")]
    Unknown,
    /// It has ended.
    #[error("the session has ended: {0}")]
    Ended(EndReason),
    /// The owner has as many sessions as one may have.
    #[error("there are {maximum} sessions already, which is as many as one client can have")]
    TooMany {
        /// How many one may have.
        maximum: usize,
    },
    /// An instance's name does not follow the grammar of labels.
    #[error(
        "{0:?} is no name of an instance: a letter, a digit or `_`, then up to 63 of these, `.` and `-`"
    )]
    InstanceName(String),
    /// The session has an instance of this name.
    #[error("the session has an instance {0:?} already")]
    NameTaken(String),
    /// The session has no instance of this name.
    #[error("the session has no instance {0:?}")]
    UnknownInstance(String),
    /// The instance exports nothing of this name and kind.
    #[error("{}", unknown_export(.name, .kind, .found))]
    UnknownExport {
        /// What it was asked for.
        name: String,
        /// `global` or `memory`.
        kind: &'static str,
        /// The kind of the export of that name, if there is one.
        found: Option<&'static str>,
    },
    /// Imports are not satisfied, or links not used.
    #[error(transparent)]
    Link(SessionLinkError),
    /// The session would have more instances or memories than it may.
    #[error("the session would have {asked} {what}; at most {maximum} are possible")]
    TooManyInstances {
        /// `instances` or `memories`.
        what: &'static str,
        /// How many it would have.
        asked: usize,
        /// How many it may have.
        maximum: usize,
    },
    /// The global cannot be set.
    #[error("the global {0:?} is immutable")]
    Immutable(String),
    /// Bytes outside of a memory.
    #[error(transparent)]
    Range(MemoryBounds),
}

fn unknown_export(name: &str, kind: &str, found: &Option<&'static str>) -> String {
    match found {
        Some(found) => format!("{name:?} is an exported {found}, not a {kind}"),
        None => format!("the instance exports no {kind} {name:?}"),
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::Session(Box::new(error))
    }
}

impl Exec {
    /// Makes a session.
    ///
    /// # Errors
    ///
    /// When a limit is too high, or there are as many sessions as there may be.
    pub fn create_session(&self, new: NewSession) -> Result<SessionReport, Error> {
        let granted = self.limits().grant(&new.limits)?;
        let settings = self.limits().sessions;
        let idle = settings.idle_timeout_ms.pick("idle_timeout_ms", new.idle_timeout_ms)?;
        let limits = SessionLimits {
            memory_bytes: granted.call.memory_bytes,
            instances: settings.instances,
        };
        let share = || self.engine().session_share();
        let place = self.sessions().reserve(new.owner, share)?;
        let session = self.engine().session(limits, place.share()).map_err(internal)?;
        let id = id::generate().map_err(internal)?;
        let entry = Entry::new(session, granted, Duration::from_millis(idle), place);
        let used = self.sessions().add(id, entry);
        Ok(used.report())
    }

    /// What is known of a session. Asking extends its life.
    ///
    /// # Errors
    ///
    /// When there is none, or it has ended.
    pub fn session(&self, session: SessionRef<'_>) -> Result<SessionReport, Error> {
        Ok(self.sessions().find(session)?.report())
    }

    /// Ends a session. A call that runs is interrupted.
    ///
    /// # Errors
    ///
    /// When there is none, or it has ended already.
    pub fn delete_session(&self, session: SessionRef<'_>) -> Result<(), Error> {
        self.sessions().find(session)?;
        self.sessions().end(session.id, EndReason::Deleted);
        Ok(())
    }

    /// Ends all sessions, and lets none begin: the server shuts down.
    pub fn end_sessions(&self) {
        self.sessions().shut_down();
    }

    /// Calls a function that an instance of a session exports.
    ///
    /// # Errors
    ///
    /// When the call could not be made. Once the guest runs, whatever it does is an [`Answer`].
    pub async fn call_session(
        &self,
        session: SessionRef<'_>,
        call: SessionCall<'_>,
    ) -> Result<Answer, Error> {
        let used = self.sessions().find(session)?;
        let granted = lowered(used.limits(), &call)?;
        let instance = used.instance(call.instance)?;
        let module = instance.module();
        let function = module
            .function(call.function)
            .ok_or_else(|| unknown_function(module, call.function))?;
        let WithBytes { values: params, bytes } =
            values::decode_session(call.params, function.params())?;
        let access = match (call.memory, bytes) {
            (None, bytes) if bytes.is_empty() => None,
            (memory, bytes) => {
                let memory = memory.map(|memory| *memory).unwrap_or_default();
                Some(memory::prepare(memory, bytes, granted.output_bytes).await?)
            }
        };
        let count = (function.params().len(), params.len());
        let timeout = granted.call.timeout;
        let called = used.session().call(&instance, call.function, params, access, timeout).await;
        let SessionOutcome { result, modules, usage, memory } =
            called.map_err(|error| used.explain(error, count))?;
        let read = memory.as_ref().map_or(0, memory::read_bytes);
        let result = match result {
            Ok(results) => encode(&results, read, granted.output_bytes),
            Err(failure) => Err(used.fail(failure, &modules, timeout)),
        };
        let too_much = matches!(&result, Err(failure) if failure.kind == FailureKind::OutputLimit);
        let memory = match memory.filter(|_| !too_much) {
            Some(memory) => Some(memory::encode(memory).await?),
            None => None,
        };
        Ok(Answer { module: digest(instance.id()), result, memory, usage })
    }

    /// The value of an exported global, or that it is more than a call may return.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn session_global(
        &self,
        session: SessionRef<'_>,
        instance: &str,
        name: &str,
    ) -> Result<Result<GlobalReport, Failure>, Error> {
        let used = self.sessions().find(session)?;
        let instance = used.instance(instance)?;
        let (ty, _) = global(instance.module(), name)?;
        let value = used.session().global(&instance, name).await;
        let value = value.map_err(|error| used.explain(error, (0, 0)))?;
        Ok(global_report(ty, &value, used.limits().output_bytes))
    }

    /// Sets an exported global, and gives what it is then. What is more than a call may return, or than
    /// the session has memory for, it is not set to.
    ///
    /// # Errors
    ///
    /// When there is none, it is immutable, or the value is not of its type.
    pub async fn set_session_global(
        &self,
        session: SessionRef<'_>,
        instance: &str,
        name: &str,
        value: &RawValue,
    ) -> Result<Result<GlobalReport, Failure>, Error> {
        let used = self.sessions().find(session)?;
        let instance = used.instance(instance)?;
        let (ty, mutable) = global(instance.module(), name)?;
        if !mutable {
            return Err(SessionError::Immutable(name.to_owned()).into());
        }
        let value = values::decode_session(&[value], &[ty])?.values.swap_remove(0);
        let report = match global_report(ty, &value, used.limits().output_bytes) {
            Ok(report) => report,
            Err(failure) => return Ok(Err(failure)),
        };
        let set = used.session().set_global(&instance, name, value).await;
        let set = set.map_err(|error| used.explain(error, (1, 1)))?;
        let timeout = used.limits().call.timeout;
        Ok(match set.result {
            Ok(()) => Ok(report),
            Err(failure) => Err(used.fail(failure, &set.modules, timeout)),
        })
    }

    /// Bytes of an exported memory, up to its end if no length is given. Before they are copied, `room`
    /// is asked for room for so many, which is given along.
    ///
    /// # Errors
    ///
    /// When there is no such memory, they are not in it, or there is no room for them.
    pub async fn read_session_memory<R: Send + 'static>(
        &self,
        session: SessionRef<'_>,
        part: MemoryPart<'_>,
        length: Option<u64>,
        room: impl FnOnce(u64) -> Option<R> + Send + 'static,
    ) -> Result<(Vec<u8>, R), Error> {
        let used = self.sessions().find(session)?;
        let instance = used.instance(part.instance)?;
        exported_memory(instance.module(), part.memory)?;
        let range = (part.offset, length);
        let read = used.session().read_memory(&instance, part.memory, range, room);
        read.await.map_err(|error| used.explain(error, (0, 0)))
    }

    /// Writes bytes into an exported memory: all of them, or none.
    ///
    /// # Errors
    ///
    /// When there is no such memory, or they do not fit in.
    pub async fn write_session_memory(
        &self,
        session: SessionRef<'_>,
        part: MemoryPart<'_>,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<(), Error> {
        let used = self.sessions().find(session)?;
        let instance = used.instance(part.instance)?;
        exported_memory(instance.module(), part.memory)?;
        let written = used.session().write_memory(&instance, part.memory, part.offset, bytes);
        written.await.map_err(|error| used.explain(error, (0, 0)))
    }
}

impl InUse {
    /// An instance of the session.
    fn instance(&self, name: &str) -> Result<Arc<engine::NamedInstance>, Error> {
        self.session().instance(name).map_err(|error| self.explain(error, (0, 0)))
    }

    fn report(&self) -> SessionReport {
        let (memory_bytes, peak_memory_bytes) = self.session().memory();
        let instances = self.session().instances().into_iter();
        SessionReport {
            id: self.id().to_owned(),
            expires_at: SystemTime::now() + self.idle_timeout(),
            idle_timeout: self.idle_timeout(),
            timeout: self.limits().call.timeout,
            memory_maximum: self.limits().call.memory_bytes as u64,
            output_maximum: self.limits().output_bytes as u64,
            memory_bytes,
            peak_memory_bytes,
            instances: instances.map(|(name, id)| (name, digest(id))).collect(),
        }
    }

    /// An error of the engine in terms of who asked; `expected` and `found` are numbers of values.
    fn explain(&self, error: engine::SessionError, (expected, found): (usize, usize)) -> Error {
        use engine::SessionError as E;
        let error = match error {
            E::Ended(why) => self.ended(why),
            E::Overloaded => return Error::Overloaded,
            E::NameTaken(name) => SessionError::NameTaken(name),
            E::UnknownInstance(name) => SessionError::UnknownInstance(name),
            E::UnknownExport { name, kind } => {
                SessionError::UnknownExport { name, kind, found: None }
            }
            E::Link(error) => SessionError::Link(error),
            E::TooMany { what, asked, maximum } => {
                SessionError::TooManyInstances { what, asked, maximum }
            }
            E::Values => return InvalidParams::Count { expected, found, bytes: 0 }.into(),
            E::Access(invalid) => return Error::Access(invalid),
            E::Immutable(name) => SessionError::Immutable(name),
            E::Range(error) => SessionError::Range(error),
            E::Engine(error) => return Error::Internal(error.into()),
        };
        error.into()
    }

    /// A failure with the modules of its backtrace named. A timeout has ended the session.
    fn fail(&self, failure: engine::Failure, modules: &[ModuleId], timeout: Duration) -> Failure {
        if failure == engine::Failure::Timeout {
            self.end(EndReason::Timeout);
        }
        let mut failure = report(failure, timeout, |frame, _| {
            modules.get(frame).copied().map_or_else(|| Digest::of(b""), digest)
        });
        if failure.kind == FailureKind::Timeout {
            failure.detail.push_str(", which ends the session");
        }
        failure
    }
}

/// A call's limits: the session's, or lower ones.
fn lowered(limits: Granted, call: &SessionCall<'_>) -> Result<Granted, LimitTooHigh> {
    let lower = |limit, asked: Option<u64>, maximum: u64| match asked {
        Some(asked) if asked > maximum => Err(LimitTooHigh { limit, asked, maximum }),
        asked => Ok(asked.unwrap_or(maximum)),
    };
    let timeout = u64::try_from(limits.call.timeout.as_millis()).unwrap_or(u64::MAX);
    let timeout = lower("timeout_ms", call.timeout_ms, timeout)?;
    let output = lower("output_bytes", call.output_bytes, limits.output_bytes as u64)?;
    let mut lowered = limits;
    lowered.call.timeout = Duration::from_millis(timeout);
    // It is at most what it was.
    lowered.output_bytes = usize::try_from(output).unwrap_or(usize::MAX);
    Ok(lowered)
}

fn global(module: &engine::Program, name: &str) -> Result<(ValueType, bool), SessionError> {
    module.global(name).ok_or_else(|| not_exported(module, name, "global"))
}

fn exported_memory(module: &engine::Program, name: &str) -> Result<(), SessionError> {
    match module.other_export(name) {
        Some("memory") => Ok(()),
        _ => Err(not_exported(module, name, "memory")),
    }
}

fn not_exported(module: &engine::Program, name: &str, kind: &'static str) -> SessionError {
    let function = module.function(name).map(|_| "function");
    let found = function.or_else(|| module.other_export(name));
    SessionError::UnknownExport { name: name.to_owned(), kind, found }
}

/// Results as JSON, if they are not too much; `read` bytes are returned besides.
fn encode(results: &[SessionValue], read: u64, maximum: usize) -> Result<String, Failure> {
    let fits = |bytes: usize| read.saturating_add(bytes as u64) <= maximum as u64;
    // Before they are written down: there can be a thousand of the same long text.
    let texts = results.iter().map(SessionValue::text_bytes).fold(0, usize::saturating_add);
    if !fits(texts) {
        return Err(output_limit(texts, read, maximum));
    }
    let mut json = String::new();
    values::encode_session(results, &mut json);
    if fits(json.len()) { Ok(json) } else { Err(output_limit(json.len(), read, maximum)) }
}

fn global_report(
    ty: ValueType,
    value: &SessionValue,
    maximum: usize,
) -> Result<GlobalReport, Failure> {
    if value.text_bytes() > maximum {
        return Err(output_limit(value.text_bytes(), 0, maximum));
    }
    let mut json = String::new();
    values::encode_session_value(value, &mut json);
    Ok(GlobalReport { ty: ty.to_string(), value: json })
}

/// The digest that a module of a session is known by.
fn digest(id: ModuleId) -> Digest {
    Digest::from_bytes(id.0)
}
