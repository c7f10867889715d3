//! Which problem each error of the use cases is. No wildcard arms: a new error has to be placed.

use std::time::Duration;

use serde_json::json;
use wasm_exec::{
    CompileError, DeleteError, EndReason, Error, GraphError, InvalidAccess, InvalidModule,
    InvalidParams, LimitExceeded, LinkError, MemoryBounds, NameTakenReason, RegisterError,
    RegistryError, SessionError, SessionLinkError, SourceError, StorageError,
};

use super::{Code, Problem};
use crate::routes::memory;

/// When it is worth asking again whether enough nodes have a copy.
const REPLICATION_TAKES: Duration = Duration::from_secs(5);

/// When it is worth trying again to store what somebody has to make room for.
const UNTIL_DELETED: Duration = Duration::from_secs(3600);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let problem = |code| Self::new(code, detail.clone());
        match error {
            Error::Source(error) => source(error, detail),
            Error::Module(InvalidModule::Invalid { offset, reason }) => {
                problem(Code::InvalidWasm).with("offset", offset).with("reason", reason)
            }
            Error::Module(InvalidModule::Unsupported { offset, reason }) => {
                let problem = problem(Code::UnsupportedFeature).with("reason", reason);
                match offset {
                    Some(offset) => problem.with("offset", offset),
                    None => problem,
                }
            }
            Error::Module(InvalidModule::Limit(exceeded)) => module_limit(exceeded, detail),
            Error::Compile(error) => compile(&error, detail),
            Error::InitialMemory { bytes, maximum } => {
                problem(Code::MemoryLimit).with("initial_bytes", bytes).with("maximum", maximum)
            }
            Error::Link { module, other, error } => {
                let mut problem = link(*error, detail);
                if let Some(module) = module {
                    problem = problem.with("in", module.to_string());
                }
                match other {
                    Some(other) => problem.with("contradicts", other.to_string()),
                    None => problem,
                }
            }
            Error::Links(_) => problem(Code::LinkError),
            Error::Graph(error) => graph(error, detail),
            Error::Name(_) => problem(Code::InvalidName),
            Error::Registry(error) => registry(error, detail),
            Error::Register(error) => register(*error, detail),
            Error::Delete(error) => delete(*error, detail),
            Error::UnknownFunction { function, found, exports } => {
                let problem = problem(Code::UnknownFunction)
                    .with("function", function)
                    .with("exports", exports);
                match found {
                    Some(kind) => problem.with("found", kind),
                    None => problem,
                }
            }
            Error::Params(error) => params(error, detail),
            Error::Access(error) => access(error, detail),
            Error::Base64 { write, error } => {
                let problem = Problem::invalid_request(detail).with("index", write);
                match error.position {
                    Some(position) => problem.with("position", position),
                    None => problem,
                }
            }
            Error::Limit(error) => problem(Code::LimitTooHigh)
                .with("limit", error.limit)
                .with("maximum", error.maximum),
            Error::Session(error) => session(*error, detail),
            Error::Overloaded | Error::Exhausted { .. } => problem(Code::Overloaded),
            Error::Internal(cause) => internal(cause),
        }
    }
}

fn session(error: SessionError, detail: String) -> Problem {
    let problem = |code| Problem::new(code, detail.clone());
    match error {
        SessionError::Unknown => problem(Code::UnknownSession),
        SessionError::Ended(EndReason::ShuttingDown) => problem(Code::ShuttingDown),
        SessionError::Ended(
            reason
            @ (EndReason::Deleted | EndReason::Idle | EndReason::Timeout | EndReason::Failed),
        ) => problem(Code::SessionEnded).with("reason", reason.as_str()),
        SessionError::TooMany { maximum } => problem(Code::RateLimited).with("maximum", maximum),
        SessionError::InstanceName(_) => problem(Code::InvalidName),
        SessionError::NameTaken(name) => problem(Code::NameTaken).with("name", name),
        SessionError::UnknownInstance(name) => {
            problem(Code::UnknownInstance).with("instance", shortened(name))
        }
        SessionError::UnknownExport { name, kind, found } => {
            let problem = problem(Code::UnknownExport);
            let problem = problem.with("export", shortened(name)).with("expected", kind);
            match found {
                Some(found) => problem.with("found", found),
                None => problem,
            }
        }
        SessionError::Link(error) => session_link(error, detail),
        SessionError::TooManyInstances { what, asked: _, maximum } => {
            problem(Code::LimitTooHigh).with("limit", what).with("maximum", maximum)
        }
        SessionError::Immutable(_) => problem(Code::MethodNotAllowed).allowing("GET, HEAD"),
        SessionError::Range(MemoryBounds { offset, length, memory_bytes }) => {
            let problem = problem(Code::InvalidMemoryRange);
            problem.with("offset", offset).with("length", length).with("memory_bytes", memory_bytes)
        }
    }
}

fn session_link(error: SessionLinkError, detail: String) -> Problem {
    let problem = Problem::new(Code::LinkError, detail);
    let import = |module: String, name: String| json!({ "module": module, "name": name });
    match error {
        SessionLinkError::NoSource { module, name, expected }
        | SessionLinkError::NoExport { module, name, expected, from: _ } => {
            problem.with("import", import(module, name)).with("expected", expected)
        }
        SessionLinkError::Mismatch { module, name, expected, found, from: _ } => problem
            .with("import", import(module, name))
            .with("expected", expected)
            .with("found", found),
        SessionLinkError::HostMemory { module } | SessionLinkError::Unused { module } => {
            problem.with("link", module)
        }
    }
}

/// A name that a client made up, of which a problem repeats only so much.
fn shortened(mut name: String) -> String {
    const MAXIMUM: usize = 200;
    name.truncate(name.floor_char_boundary(MAXIMUM));
    name
}

fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Problem {
    Problem::new(Code::Internal, "internal error").because(cause)
}

fn source(error: SourceError, detail: String) -> Problem {
    match error {
        SourceError::OddHex { .. } | SourceError::NotBase64 { .. } => {
            Problem::invalid_request(detail)
        }
        SourceError::NotHex { position, .. } => {
            Problem::invalid_request(detail).with("position", position)
        }
        SourceError::InvalidText(error) => Problem::new(Code::InvalidWat, detail)
            .with("line", error.line)
            .with("column", error.column)
            .with("reason", error.reason),
        SourceError::TooLarge { size, maximum } => {
            Problem::new(Code::TooLarge, detail).with("size", size).with("maximum", maximum)
        }
    }
}

fn module_limit(exceeded: LimitExceeded, detail: String) -> Problem {
    let LimitExceeded { limit, found, maximum, function, offset } = exceeded;
    let problem = Problem::new(Code::CompileLimit, detail)
        .with("limit", limit.as_str())
        .with("found", found)
        .with("maximum", maximum)
        .with("offset", offset);
    match function {
        Some(function) => problem.with("function", function),
        None => problem,
    }
}

fn compile(error: &CompileError, detail: String) -> Problem {
    match error {
        CompileError::Timeout { limit } => Problem::new(Code::CompileLimit, detail)
            .with("limit", "compile_timeout_ms")
            .with("maximum", milliseconds(*limit)),
        CompileError::CpuLimit { limit } => Problem::new(Code::CompileLimit, detail)
            .with("limit", "compile_cpu_ms")
            .with("maximum", milliseconds(*limit)),
        CompileError::MemoryLimit { limit } => Problem::new(Code::CompileLimit, detail)
            .with("limit", "compile_memory_bytes")
            .with("maximum", *limit),
        CompileError::Module(_) => Problem::new(Code::InvalidWasm, detail),
        CompileError::Compiler(_) | CompileError::Crashed { .. } | CompileError::Killed { .. } => {
            Problem::new(Code::CompileLimit, detail).with("limit", "compiler")
        }
        CompileError::Unsupported(_) => Problem::new(Code::UnsupportedFeature, detail),
        CompileError::Overloaded => Problem::new(Code::Overloaded, detail),
        CompileError::Worker(_) => internal(detail),
    }
}

fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

fn link(error: LinkError, detail: String) -> Problem {
    let problem = Problem::new(Code::LinkError, detail);
    let import = |module: String, name: String| json!({ "module": module, "name": name });
    match error {
        LinkError::NoLink { module, name, expected, .. }
        | LinkError::NoExport { module, name, expected, .. } => {
            problem.with("import", import(module, name)).with("expected", expected)
        }
        LinkError::Mismatch { module, name, expected, found, .. } => problem
            .with("import", import(module, name))
            .with("expected", expected)
            .with("found", found),
        LinkError::HostMemory { module, name, expected, found, .. } => problem
            .with("import", import(module, name))
            .with("expected", expected)
            .with("found", found),
        LinkError::TooManyHostMemories { maximum, .. } => problem.with("maximum", maximum),
        // The use cases give these two another meaning.
        LinkError::InitialMemory { .. } | LinkError::Unavailable(_) => problem,
        LinkError::Unused { module, .. } => problem.with("link", module),
        LinkError::TooLarge { maximum, .. } => problem.with("maximum", maximum),
    }
}

fn graph(error: GraphError, detail: String) -> Problem {
    match error {
        GraphError::TooManyModules { maximum } | GraphError::TooDeep { maximum } => {
            Problem::new(Code::LinkError, detail).with("maximum", maximum)
        }
        GraphError::Registry(error) => registry(error, detail),
    }
}

fn registry(error: RegistryError, detail: String) -> Problem {
    match error {
        RegistryError::UnknownName(_) | RegistryError::UnknownDigest { .. } => {
            Problem::new(Code::UnknownModule, detail)
        }
        RegistryError::NameConflict { name, owners } => {
            let owners: Vec<_> = owners.iter().map(ToString::to_string).collect();
            Problem::new(Code::NameConflict, detail)
                .with("name", name.as_str())
                .with("owners", owners)
        }
        RegistryError::LookupTimeout => Problem::new(Code::LookupTimeout, detail),
        RegistryError::Storage(error) => storage(error),
        error @ RegistryError::Corrupt { .. } => internal(error),
    }
}

fn register(error: RegisterError, detail: String) -> Problem {
    match error {
        RegisterError::NameTaken { name, by, reason } => {
            let problem = Problem::new(Code::NameTaken, detail)
                .with("name", name.as_str())
                .with("by", by.as_str());
            match reason {
                NameTakenReason::OtherContent { digest }
                | NameTakenReason::WasOtherContent { digest } => {
                    problem.with("digest", digest.to_string())
                }
                NameTakenReason::Versioned | NameTakenReason::Unversioned => problem,
            }
        }
        RegisterError::ReservedNamespace { name: _ } => Problem::new(Code::InvalidName, detail),
        RegisterError::OtherOwner { name: _, owner } => other_owner(owner, detail),
        RegisterError::NotReplicated { digest, wanted, replicas } => {
            Problem::new(Code::NotReplicated, detail)
                .with("digest", digest.to_string())
                .with("wanted", wanted)
                .with("replicas", replicas)
                .retry_after(REPLICATION_TAKES)
        }
        RegisterError::TooMuchHeld { held, asked, maximum } => {
            Problem::new(Code::QuotaExceeded, format!("the quota of stored-bytes: {detail}"))
                .with("quota", "stored-bytes")
                .with("held", held)
                .with("asked", asked)
                .with("maximum", maximum)
                .retry_after(UNTIL_DELETED)
        }
        RegisterError::UnknownLink { import, digest } => Problem::new(Code::LinkError, detail)
            .with("link", import)
            .with("digest", digest.to_string()),
        RegisterError::Storage(error) => storage(error),
    }
}

fn delete(error: DeleteError, detail: String) -> Problem {
    match error {
        DeleteError::Registry(error) => registry(error, detail),
        DeleteError::InUse { digest, by } => Problem::new(Code::InUse, detail)
            .with("digest", digest.to_string())
            .with("names", by.names)
            .with("links", by.links),
        DeleteError::OtherOwner { name: _, owner } => other_owner(owner, detail),
        DeleteError::Storage(error) => storage(error),
    }
}

fn other_owner(owner: String, detail: String) -> Problem {
    Problem::new(Code::Forbidden, detail).with("owner", owner)
}

fn storage(error: StorageError) -> Problem {
    match error {
        StorageError::Full(_) | StorageError::ReadOnly(_) => {
            Problem::new(Code::StorageFull, error.to_string()).because(error)
        }
        error @ (StorageError::Corrupt { .. } | StorageError::Io(_)) => internal(error),
    }
}

fn params(error: InvalidParams, detail: String) -> Problem {
    let problem = Problem::new(Code::InvalidParams, detail);
    match error {
        InvalidParams::Count { expected, found, bytes: _ } => {
            problem.with("expected", expected).with("found", found)
        }
        InvalidParams::Value { index, expected, found, reason: _ } => {
            problem.with("index", index).with("expected", expected).with("found", found)
        }
        InvalidParams::Base64 { index, error } => {
            let problem = problem.with("index", index).with("expected", "base64");
            match error.position {
                Some(position) => problem.with("position", position),
                None => problem,
            }
        }
    }
}

fn access(error: InvalidAccess, detail: String) -> Problem {
    match error {
        InvalidAccess::UnknownMemory { asked, memories } => {
            let memories: Vec<_> = memories.iter().map(memory::name).collect();
            Problem::new(Code::UnknownExport, detail)
                .with("memory", memory::name(&asked))
                .with("memories", memories)
        }
        InvalidAccess::Result { read, result, results, found } => {
            let problem = Problem::new(Code::InvalidParams, detail)
                .with("index", read)
                .with("result", result)
                .with("results", results)
                .with("expected", "i32 or i64");
            match found {
                Some(found) => problem.with("found", found.to_string()),
                None => problem,
            }
        }
        InvalidAccess::NoAllocator { address } => {
            Problem::new(Code::NoAllocator, detail).with("address", address.to_string())
        }
        InvalidAccess::NoPair { index } => {
            Problem::new(Code::InvalidParams, detail).with("index", index)
        }
    }
}
