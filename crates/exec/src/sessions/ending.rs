//! What ends sessions, and how many did.

use std::fmt;

/// What ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody deleted it.
    Deleted,
    /// Nobody used it for as long as it may be idle.
    Idle,
    /// One of its calls took too long.
    Timeout,
    /// The server failed in the middle of one of its calls.
    Failed,
    /// The server shuts down.
    ShuttingDown,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Deleted, Self::Idle, Self::Timeout, Self::Failed, Self::ShuttingDown];

    /// The stable name, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Idle => "idle",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::ShuttingDown => "shutting-down",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "it was deleted",
            Self::Idle => "nobody used it for too long",
            Self::Timeout => "one of its calls took too long",
            Self::Failed => "the server failed in one of its calls",
            Self::ShuttingDown => "the server is shutting down",
        })
    }
}

/// How many sessions there are and were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Those that there are.
    pub now: usize,
    /// Those that were made.
    pub made: u64,
    /// Those that ended, in the order of [`EndReason::ALL`].
    pub ended: [u64; EndReason::ALL.len()],
}
