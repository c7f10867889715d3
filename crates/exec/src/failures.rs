//! What failed before and would fail again: remembered, so that trying again costs nothing.
//!
//! Only what the bytes themselves cause is remembered. Whatever is the machine's doing, like too
//! much work or a broken store, is tried anew each time; and what could be either, like taking too
//! long, is forgotten after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use wasm_exec_engine::{CompileError, InvalidModule, LinkError, Profile};
use wasm_exec_registry::Digest;

use crate::error::Error;

/// How many failures are remembered.
const REMEMBERED_FAILURES: usize = 4096;

/// Failures whose text has more bytes than this are not remembered. Those that quote a module quote
/// a few hundred bytes of each name, some of them escaped.
const MAXIMUM_TEXT: usize = 4096;

/// For how long it is remembered that compiling takes too long: the machine may have been busy.
const TIMEOUTS_LAST: Duration = Duration::from_secs(60);

/// For how long it is remembered that the compiler failed: it may have lacked memory or threads.
const COMPILER_FAILURES_LAST: Duration = Duration::from_secs(600);

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// A module, by the digest of its bytes.
    Module(Digest),
    /// A program, by the digest of its manifest.
    Program(Digest),
}

type Key = (Subject, Profile);

/// A bounded memory of failures.
#[derive(Debug)]
pub(crate) struct Failures {
    cache: Cache<Key, Failed>,
    /// How often one was the answer.
    repeated: AtomicU64,
}

#[derive(Clone, Debug)]
struct Failed {
    why: Why,
    until: Option<Instant>,
}

/// The errors that can be remembered.
#[derive(Clone, Debug)]
enum Why {
    Module(InvalidModule),
    Compile(Arc<CompileError>),
    InitialMemory { bytes: u64, maximum: u64 },
    Link { module: Option<Digest>, other: Option<Digest>, error: Box<LinkError> },
}

/// For how long an error is the answer to the same question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    ForEver,
    For(Duration),
    Not,
}

/// How long an error of the compiler lasts.
fn lasting(error: &CompileError) -> Lasting {
    match error {
        CompileError::Module(_) => Lasting::ForEver,
        CompileError::Timeout { .. } => Lasting::For(TIMEOUTS_LAST),
        CompileError::Compiler(_)
        | CompileError::CpuLimit { .. }
        | CompileError::MemoryLimit { .. }
        | CompileError::Crashed { .. }
        | CompileError::Unsupported(_) => Lasting::For(COMPILER_FAILURES_LAST),
        CompileError::Killed { .. } | CompileError::Overloaded | CompileError::Worker(_) => {
            Lasting::Not
        }
    }
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self { cache: Cache::new(REMEMBERED_FAILURES), repeated: AtomicU64::new(0) }
    }

    /// How often something was not tried again because it was known to fail.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// What `attempt` gives, unless it is known to fail; if it fails, that is remembered.
    pub(crate) async fn or_try<T>(
        &self,
        key: Key,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(error) = self.get(key, Instant::now()) {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return Err(error);
        }
        let attempted = attempt.await;
        if let Err(error) = &attempted {
            self.remember(key, error, Instant::now());
        }
        attempted
    }

    /// The same for a module's validity, whatever else is known of it.
    pub(crate) async fn or_validate<T>(
        &self,
        key: Key,
        validate: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(error @ Error::Module(_)) = self.get(key, Instant::now()) {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return Err(error);
        }
        let validated = validate.await;
        if let Err(error) = &validated {
            self.remember(key, error, Instant::now());
        }
        validated
    }

    fn get(&self, key: Key, now: Instant) -> Option<Error> {
        let Failed { why, until } = self.cache.get(&key)?;
        if until.is_some_and(|until| until <= now) {
            self.cache.remove(&key);
            return None;
        }
        Some(match why {
            Why::Module(invalid) => Error::Module(invalid),
            Why::Compile(error) => Error::Compile(error),
            Why::InitialMemory { bytes, maximum } => Error::InitialMemory { bytes, maximum },
            Why::Link { module, other, error } => Error::Link { module, other, error },
        })
    }

    fn remember(&self, key: Key, error: &Error, now: Instant) {
        let (why, lasting) = match error {
            // A program that fails because a module does is that module's failure.
            Error::Module(_) | Error::Compile(_) | Error::InitialMemory { .. }
                if matches!(key.0, Subject::Program(_)) =>
            {
                return;
            }
            Error::Module(invalid) => (Why::Module(invalid.clone()), Lasting::ForEver),
            Error::Compile(error) => (Why::Compile(Arc::clone(error)), lasting(error)),
            Error::InitialMemory { bytes, maximum } => {
                (Why::InitialMemory { bytes: *bytes, maximum: *maximum }, Lasting::ForEver)
            }
            Error::Link { module, other, error } => {
                let (module, other, error) = (*module, *other, error.clone());
                (Why::Link { module, other, error }, Lasting::ForEver)
            }
            // None of these is about the module's bytes.
            _ => return,
        };
        let until = match lasting {
            Lasting::ForEver => None,
            Lasting::For(duration) => Some(now + duration),
            Lasting::Not => return,
        };
        if error.to_string().len() <= MAXIMUM_TEXT && self.get(key, now).is_none() {
            self.cache.insert(key, Failed { why, until });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: Profile = Profile::Fast;

    fn invalid(reason: String) -> Error {
        Error::Module(InvalidModule::Invalid { offset: 8, reason })
    }

    fn timeout() -> Error {
        Error::from(CompileError::Timeout { limit: Duration::from_secs(1) })
    }

    fn key(content: &[u8]) -> Key {
        (Subject::Module(Digest::of(content)), PROFILE)
    }

    #[tokio::test]
    async fn what_failed_is_not_tried_again() {
        let failures = Failures::new();
        let attempt = async { Err::<(), _>(invalid("broken".into())) };
        let failed = failures.or_try(key(b"a"), attempt).await.unwrap_err();
        assert_eq!(failures.repeated(), 0);
        let again = async { Ok::<(), Error>(()) };
        let again = failures.or_try(key(b"a"), again).await.unwrap_err();
        assert_eq!(failed.to_string(), again.to_string());
        assert_eq!(failures.repeated(), 1);
        failures.or_try(key(b"b"), async { Ok(()) }).await.unwrap();
        let other = (key(b"a").0, Profile::Metered);
        failures.or_try(other, async { Ok(()) }).await.unwrap();
    }

    #[test]
    fn links_that_do_not_fit_are_remembered_whatever_they_are_called() {
        let (failures, now) = (Failures::new(), Instant::now());
        // As long as the engine quotes them, and all of it escaped.
        let name = || format!("{}…", "\u{7f}".repeat(200));
        let (module, expected) = (name(), "(func)".to_owned());
        let error = Box::new(LinkError::NoLink { node: 0, module, name: name(), expected });
        let error = Error::Link { module: None, other: None, error };
        assert!(error.to_string().len() > 2048, "{error}");
        failures.remember(key(b"linked"), &error, now);
        assert!(failures.get(key(b"linked"), now).is_some());
    }

    #[test]
    fn a_modules_failure_is_not_its_programs() {
        let (failures, now) = (Failures::new(), Instant::now());
        let program = (Subject::Program(Digest::of(b"p")), PROFILE);
        failures.remember(program, &timeout(), now);
        assert!(failures.get(program, now).is_none());
        let error = Box::new(LinkError::Unused { node: 0, module: "m".into() });
        failures.remember(program, &Error::Link { module: None, other: None, error }, now);
        assert!(failures.get(program, now).is_some());
    }

    #[test]
    fn what_may_be_the_machines_doing_is_forgotten() {
        let (failures, now) = (Failures::new(), Instant::now());
        failures.remember(key(b"slow"), &timeout(), now);
        let crashed = CompileError::Crashed { report: String::new() };
        failures.remember(key(b"crash"), &Error::from(crashed), now);
        failures.remember(key(b"invalid"), &invalid("broken".into()), now);
        let known = |content: &[u8], after| failures.get(key(content), now + after).is_some();
        assert!(known(b"slow", TIMEOUTS_LAST - Duration::from_millis(1)));
        assert!(!known(b"slow", TIMEOUTS_LAST));
        assert!(known(b"crash", TIMEOUTS_LAST));
        assert!(!known(b"crash", COMPILER_FAILURES_LAST));
        assert!(known(b"invalid", 100 * COMPILER_FAILURES_LAST));
    }

    #[test]
    fn overload_and_internal_errors_are_never_remembered() {
        let (failures, now) = (Failures::new(), Instant::now());
        let internal = Error::Internal(Box::new(std::io::Error::other("disk")));
        let killed = CompileError::Killed { report: String::new() };
        let overloaded = CompileError::Overloaded;
        for error in [Error::Overloaded, overloaded.into(), killed.into(), internal] {
            failures.remember(key(b"a"), &error, now);
            assert!(failures.get(key(b"a"), now).is_none(), "{error}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, now) = (Failures::new(), Instant::now());
        failures.remember(key(b"long"), &invalid("x".repeat(MAXIMUM_TEXT + 1)), now);
        assert_eq!(failures.cache.len(), 0);
        for index in 0..2 * REMEMBERED_FAILURES {
            failures.remember(key(&index.to_le_bytes()), &timeout(), now);
        }
        assert!(failures.cache.len() <= REMEMBERED_FAILURES);
    }
}
