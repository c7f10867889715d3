//! Why something could not be done in a session.

use std::time::Duration;

use super::{MemoryBounds, SessionEnd, SessionLinkError};
use crate::StartError;
use crate::access::InvalidAccess;

/// Why something could not be done in a session; never the guest's doing.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The session has ended.
    #[error("the session has ended")]
    Ended(SessionEnd),
    /// As many calls of the session as may wait, wait; or the engine has as much to do as it can.
    #[error("too many calls at once")]
    Overloaded,
    /// What was done was ended because all guests, or all sessions, together have as much memory as
    /// they may.
    #[error("all guests together have as much memory as they may")]
    Exhausted {
        /// How long it had run.
        wall: Duration,
    },
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
