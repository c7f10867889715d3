//! Sessions: stores that live between calls, found by an id that is hard to guess.
//!
//! A session is visible to the key that made it only; without keys, to whoever knows its id. It ends
//! when it is deleted, when nobody uses it for a while, when one of its calls takes too long, and with
//! the server; what ended it is told for some minutes.

mod ending;
mod error;
mod exports;
mod id;
mod instances;
mod table;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;
use wasm_exec_engine::{
    self as engine, ClientKey, ModuleId, SessionLimits, SessionOutcome, SessionValue,
};
use wasm_exec_registry::Digest;

use crate::call::{Answer, Failure, FailureKind, output_limit, report, unknown_function};
use crate::error::Error;
use crate::exec::{Exec, internal};
use crate::limits::{Granted, LimitTooHigh, RequestedLimits};
use crate::memory::{self, MemoryAccess};
use crate::values::{self, InvalidParams, WithBytes};

pub use ending::{EndReason, SessionCounts};
pub use error::SessionError;
pub use exports::{GlobalReport, MemoryPart};
pub use instances::{InstanceLink, InstanceModule, InstanceReport, InstanceRequest};
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
                Some(memory::prepare(self, memory, bytes, granted.output_bytes).await?)
            }
        };
        let count = (function.params().len(), params.len());
        let timeout = granted.call.timeout;
        let called = used.session().call(&instance, call.function, params, access, timeout).await;
        let SessionOutcome { result, modules, usage, memory } =
            called.map_err(|error| used.explain(error, count))?;
        let read = memory.as_deref().map_or(0, memory::read_bytes);
        let result = match result {
            Ok(results) => encode(&results, read, granted.output_bytes),
            Err(failure) => Err(used.fail(failure, &modules, timeout)),
        };
        let too_much = matches!(&result, Err(failure) if failure.kind == FailureKind::OutputLimit);
        let memory = match memory.filter(|_| !too_much) {
            Some(memory) => Some(memory::encode(self, memory).await?),
            None => None,
        };
        Ok(Answer { module: digest(instance.id()), result, memory, usage })
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
            E::Exhausted { wall } => return Error::Exhausted { wall },
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
            E::Engine(error) => {
                if let Some(why) = self.session().ended() {
                    self.ended(why);
                }
                return Error::Internal(error.into());
            }
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

/// The digest that a module of a session is known by.
fn digest(id: ModuleId) -> Digest {
    Digest::from_bytes(id.0)
}
