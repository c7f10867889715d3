//! Why a use case could not be carried out.

use std::sync::Arc;
use std::time::Duration;

use wasm_exec_engine::{CompileError, InvalidAccess, InvalidModule, LinkError};
use wasm_exec_registry::{
    DeleteError, Digest, GraphError, InvalidName, RegisterError, RegistryError,
};

use crate::limits::LimitTooHigh;
use crate::sessions::SessionError;
use crate::source::SourceError;
use crate::values::{InvalidParams, NotBase64};

/// Why a use case could not be carried out. What a guest does is an [`Answer`](crate::Answer).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Wasm's notation is broken or it is too large.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The Wasm is not a module that runs here.
    #[error("{0}")]
    Module(#[source] InvalidModule),
    /// Compiling did not succeed.
    #[error(transparent)]
    Compile(Arc<CompileError>),
    /// A module's initial memory is more than any call can have.
    #[error("the module starts with {bytes} bytes of memory; at most {maximum} are possible")]
    InitialMemory {
        /// What it starts with.
        bytes: u64,
        /// The most a call can ask for.
        maximum: u64,
    },
    /// Imports and exports do not fit.
    #[error("{error}")]
    Link {
        /// The module whose import it is; `None` for the one that was sent.
        module: Option<Digest>,
        /// A module whose import contradicts it, if one does; `None` also for the one that was sent.
        other: Option<Digest>,
        /// What does not fit.
        error: Box<LinkError>,
    },
    /// Links contradict each other or cannot be read.
    #[error("{0}")]
    Links(String),
    /// The graph is too large, or cannot be read.
    #[error(transparent)]
    Graph(GraphError),
    /// A name or a reference does not follow the grammar.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Nothing is registered there, or the registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Registering was refused, or the registry failed.
    #[error(transparent)]
    Register(Box<RegisterError>),
    /// Deleting was refused, or the registry failed.
    #[error(transparent)]
    Delete(Box<DeleteError>),
    /// The module exports no such function.
    #[error("{}", unknown_function(.function, *.found, .exports))]
    UnknownFunction {
        /// What was asked for.
        function: String,
        /// The kind of the export of that name, if it is no function.
        found: Option<&'static str>,
        /// The first of the functions that it does export.
        exports: Vec<String>,
    },
    /// The parameters are not the function's.
    #[error(transparent)]
    Params(#[from] InvalidParams),
    /// What is wanted of memories is not possible.
    #[error(transparent)]
    Access(#[from] InvalidAccess),
    /// What is to be written into a memory is not base64.
    #[error("memory.write[{write}]: {error}")]
    Base64 {
        /// Which write.
        write: usize,
        /// What is wrong.
        error: NotBase64,
    },
    /// A limit is above its maximum.
    #[error(transparent)]
    Limit(#[from] LimitTooHigh),
    /// Something could not be done with a session.
    #[error(transparent)]
    Session(Box<SessionError>),
    /// There is no place for one more call or compilation just now.
    #[error("the server has as much to do as it can take; try again")]
    Overloaded,
    /// A call was ended because all guests together have as much memory as they may.
    #[error("all guests together have as much memory as they may; try again")]
    Exhausted {
        /// How long it had run.
        wall: Duration,
    },
    /// Something that should not happen; the source is for the log, not for the caller.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// For how long guest code ran before this ended it; `None` if none did.
    pub fn ran_for(&self) -> Option<Duration> {
        match self {
            Self::Exhausted { wall } => Some(*wall),
            _ => None,
        }
    }
}

fn unknown_function(function: &str, found: Option<&str>, exports: &[String]) -> String {
    let function = function.escape_debug();
    if let Some(kind) = found {
        return format!("\"{function}\" is an exported {kind}, not a function");
    }
    match exports {
        [] => format!("no function \"{function}\": the module exports none"),
        exports => format!("no function \"{function}\"; the module exports {}", list(exports)),
    }
}

fn list(exports: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> = exports.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    let more = if exports.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl From<RegisterError> for Error {
    fn from(error: RegisterError) -> Self {
        Self::Register(Box::new(error))
    }
}

impl From<DeleteError> for Error {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Registry(error) => Self::Registry(error),
            error => Self::Delete(Box::new(error)),
        }
    }
}

impl From<CompileError> for Error {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Overloaded => Self::Overloaded,
            CompileError::Module(invalid) => Self::Module(invalid),
            error @ CompileError::Worker(_) => Self::Internal(Box::new(error)),
            error => Self::Compile(Arc::new(error)),
        }
    }
}

impl From<GraphError> for Error {
    fn from(error: GraphError) -> Self {
        match error {
            GraphError::Registry(error) => Self::Registry(error),
            error => Self::Graph(error),
        }
    }
}
