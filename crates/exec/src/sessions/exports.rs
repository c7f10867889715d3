//! Exported globals and memories of a session's instances, read and written from outside.

use serde_json::value::RawValue;
use wasm_exec_engine::{self as engine, SessionValue, ValueType};

use super::{SessionError, SessionRef};
use crate::call::{Failure, output_limit};
use crate::error::Error;
use crate::exec::Exec;
use crate::values;

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

impl Exec {
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

    /// Bytes of an exported memory, up to its end if no length is given, copied by `copy` if there is
    /// room for them.
    ///
    /// # Errors
    ///
    /// When there is no such memory, they are not in it, or `copy` gives nothing.
    pub async fn read_session_memory<R: Send + 'static>(
        &self,
        session: SessionRef<'_>,
        part: MemoryPart<'_>,
        length: Option<u64>,
        copy: impl FnOnce(&[u8]) -> Option<R> + Send + 'static,
    ) -> Result<R, Error> {
        let used = self.sessions().find(session)?;
        let instance = used.instance(part.instance)?;
        exported_memory(instance.module(), part.memory)?;
        let range = (part.offset, length);
        let read = used.session().read_memory(&instance, part.memory, range, copy);
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
