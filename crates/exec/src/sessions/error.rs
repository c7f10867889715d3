//! Why something could not be done with a session.

use wasm_exec_engine::{MemoryBounds, SessionLinkError};

use super::EndReason;
use crate::error::Error;

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
