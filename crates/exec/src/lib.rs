//! The use cases: register, describe and call modules.
//!
//! [`Exec`] joins the registry, which knows what a name means, and the engine, which runs what it
//! means. It knows neither HTTP nor where things are kept.
//!
//! ```
//! use std::sync::Arc;
//! use wasm_exec::{Call, Exec, Limits, Links, RequestedLimits, Source, Style, Target};
//! use wasm_exec_engine::{ArtifactStore, Engine, EngineConfig};
//! use wasm_exec_registry::{RedbBackend, Registry};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineConfig::default(), ArtifactStore::in_memory(1 << 20))?;
//! let registry = Registry::new(Arc::new(RedbBackend::in_memory(1 << 20)?));
//! let exec = Exec::new(engine, registry, Limits::default());
//!
//! let wat = r#"(module (func (export "two") (result i32) (i32.const 2)))"#;
//! let wasm = exec.decode(Source::Wat(wat)).await?;
//! exec.register(Some("utils"), wasm, Links::none(), None).await?;
//! let answer = exec
//!     .call(Call {
//!         target: Target::Module("utils"),
//!         function: "two",
//!         params: &[],
//!         limits: RequestedLimits::default(),
//!         memory: None,
//!         style: Style::Plain,
//!         client: None,
//!     })
//!     .await?;
//! assert_eq!(answer.result, Ok("[2]".to_owned()));
//! # Ok(())
//! # }
//! ```

mod call;
mod callee;
mod describe;
mod error;
mod exec;
mod failures;
mod limits;
mod memory;
mod programs;
mod register;
mod sessions;
mod source;
pub mod values;

pub use call::{Answer, BacktraceFrame, Call, Failure, FailureKind, Target, TrapReport};
pub use callee::Callee;
pub use describe::{Blob, ModuleDescription};
pub use error::Error;
pub use exec::{Exec, Statistics};
pub use limits::{LimitTooHigh, Limits, RequestedLimits, SessionSettings, Setting};
pub use memory::{MemoryAccess, MemoryWrite};
pub use programs::ReadyProgram;
pub use register::{Links, Registered};
pub use sessions::{
    EndReason, GlobalReport, InstanceLink, InstanceModule, InstanceReport, InstanceRequest,
    MemoryPart, NewSession, SessionCall, SessionCounts, SessionError, SessionOwner, SessionRef,
    SessionReport,
};
pub use source::{Source, SourceError};
pub use values::{BytesText, InvalidParams, NotBase64, Style};

/// The engine's types that answers are made of.
pub use wasm_exec_engine::{
    ClientKey, CompileError, Confinement, Description, EngineConfig, Export, Import, InvalidAccess,
    InvalidModule, Item, LimitExceeded, LinkError, MemoryBounds, MemoryName, MemoryRange,
    ModuleLimit, ModuleLimits, Occupancy, Quantity, Read, SessionLinkError, Turn, Usage,
};
/// The registry's types that requests and answers are made of.
pub use wasm_exec_registry::{
    Account, DeleteError, Digest, GraphError, GraphLimits, InvalidName, ListQuery, MAX_PAGE,
    ModuleRecord, ModuleSource, Name, NameTakenReason, NetworkStatus, Page, PeerStatus, Provenance,
    RegisterError, RegistryError, StorageError, Summary, View, mapped,
};
