//! The OpenAPI 3.1 document, made from the types and the handlers.
//!
//! What each operation answers when it succeeds stands beside its handler. Which problems it can
//! answer with is listed here, since most are the same for all.

mod constraints;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::Code;
use crate::keys::Scope;
use crate::routes::{
    batch, call, health, index, limits, memory, modules, network, original, problems, sessions,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "wasm-exec-api",
        description = "Runs WebAssembly: any exported function, plain JSON, limits in every request.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "original", description = "The original three routes"),
        (name = "modules", description = "Registered modules"),
        (name = "calls", description = "Calling functions"),
        (name = "sessions", description = "Stores that live between calls, with named instances"),
        (name = "operations", description = "About the server"),
    ),
    paths(
        original::run_wasm, original::register_module, original::execute_module,
        modules::list_modules, modules::post_module, modules::get_module, modules::put_module,
        modules::delete_module, modules::download::get_wasm, modules::download::get_wat,
        call::call_function, batch::call_batch, call::call,
        sessions::create_session, sessions::get_session, sessions::delete_session,
        sessions::instances::create_instance, sessions::call::call_instance, sessions::call::call_session,
        sessions::globals::get_global, sessions::globals::put_global,
        sessions::globals::get_global_by_query, sessions::globals::put_global_by_query,
        sessions::memories::get_memory, sessions::memories::put_memory,
        sessions::memories::get_memory_by_query, sessions::memories::put_memory_by_query,
        index::get_index, index::get_openapi, limits::get_limits, network::get_network,
        problems::list_problems, problems::get_problem,
        health::get_health, health::get_readiness, health::get_metrics,
    ),
    components(schemas(call::Trap, call::CallFunctionRequest<'static>)),
)]
struct Document;

/// Problems that every operation can answer with.
const ALWAYS: &[Code] = &[Code::InvalidRequest, Code::Forbidden, Code::MethodNotAllowed];

/// Problems of operations that need a key, on a server that asks for keys.
const WITH_KEY: &[Code] = &[Code::Unauthenticated];

/// Problems of operations that choose the form of their answer.
const NEGOTIATED: &[Code] = &[Code::NotAcceptable];

/// Problems of operations that read a body.
const WITH_BODY: &[Code] = &[
    Code::RequestTimeout,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::Overloaded,
    Code::ShuttingDown,
    Code::Internal,
];

/// Problems of operations that look for a registered module, on a node of a network.
const WITH_LOOKUP: &[Code] = &[Code::NameConflict, Code::LookupTimeout];

/// Problems of operations that register, on any server.
const REGISTERING: &[Code] = &[Code::NameTaken, Code::NotReplicated, Code::StorageFull];

/// Problems of operations that take Wasm.
const WITH_WASM: &[Code] = &[
    Code::InvalidWasm,
    Code::InvalidWat,
    Code::UnsupportedFeature,
    Code::CompileLimit,
    Code::MemoryLimit,
    Code::LinkError,
    Code::InvalidName,
    Code::UnknownModule,
];

/// Problems of operations that make a registered module ready to be called.
const WITH_PROGRAM: &[Code] = &[
    Code::InvalidName,
    Code::UnknownModule,
    Code::UnknownFunction,
    Code::CompileLimit,
    Code::LinkError,
    Code::MemoryLimit,
];

/// Problems of operations that call a function of a module.
const WITH_CALL: &[Code] = &[
    Code::InvalidName,
    Code::UnknownModule,
    Code::UnknownFunction,
    Code::UnknownExport,
    Code::InvalidParams,
    Code::InvalidMemoryRange,
    Code::NoAllocator,
    Code::LimitTooHigh,
    Code::CompileLimit,
    Code::LinkError,
    Code::Trap,
    Code::Timeout,
    Code::FuelExhausted,
    Code::MemoryLimit,
    Code::StackOverflow,
    Code::OutputLimit,
    Code::QuotaExceeded,
];

/// Problems of operations that read what is registered.
const WITH_MODULE: &[Code] =
    &[Code::InvalidName, Code::UnknownModule, Code::ShuttingDown, Code::Internal];

/// Problems of operations in a session.
const WITH_SESSION: &[Code] = &[
    Code::UnknownSession,
    Code::SessionEnded,
    Code::Overloaded,
    Code::ShuttingDown,
    Code::Internal,
];

/// Problems of operations that call a function of an instance, or start one.
const WITH_SESSION_CALL: &[Code] = &[
    Code::UnknownInstance,
    Code::Trap,
    Code::Timeout,
    Code::MemoryLimit,
    Code::StackOverflow,
    Code::QuotaExceeded,
];

/// Problems of operations on what an instance exports.
const WITH_EXPORT: &[Code] = &[Code::UnknownInstance, Code::UnknownExport];

fn problems_of(operation: &str) -> Vec<&'static [Code]> {
    match operation {
        "run_wasm" => vec![WITH_BODY, WITH_WASM, WITH_LOOKUP, WITH_CALL],
        "call" => vec![NEGOTIATED, WITH_BODY, WITH_WASM, WITH_LOOKUP, WITH_CALL],
        "execute_module" => vec![WITH_BODY, WITH_LOOKUP, WITH_CALL],
        "call_function" => vec![NEGOTIATED, WITH_BODY, WITH_LOOKUP, WITH_CALL],
        // What becomes of a call is in its line.
        "call_batch" => vec![NEGOTIATED, WITH_BODY, WITH_LOOKUP, WITH_PROGRAM],
        "register_module" => vec![WITH_BODY, WITH_WASM, WITH_LOOKUP, REGISTERING],
        "put_module" | "post_module" => {
            vec![NEGOTIATED, WITH_BODY, WITH_WASM, WITH_LOOKUP, REGISTERING]
        }
        "get_module" | "get_wasm" => vec![NEGOTIATED, WITH_MODULE, WITH_LOOKUP],
        "get_wat" => vec![NEGOTIATED, WITH_MODULE, WITH_LOOKUP, &[Code::TooLarge]],
        "delete_module" => vec![WITH_MODULE, &[Code::InUse, Code::StorageFull]],
        "list_modules" => vec![NEGOTIATED, &[Code::ShuttingDown, Code::Internal]],
        "get_problem" | "get_network" => vec![NEGOTIATED, &[Code::NotFound]],
        "get_readiness" => vec![&[Code::ShuttingDown, Code::Internal, Code::StorageFull]],
        "create_session" => vec![NEGOTIATED, WITH_BODY, &[Code::LimitTooHigh]],
        "get_session" => vec![NEGOTIATED, WITH_SESSION],
        "delete_session" => vec![WITH_SESSION],
        "create_instance" => vec![
            NEGOTIATED,
            WITH_BODY,
            WITH_WASM,
            WITH_LOOKUP,
            WITH_SESSION,
            WITH_SESSION_CALL,
            &[Code::NameTaken, Code::LimitTooHigh],
        ],
        "call_instance" | "call_session" => vec![
            NEGOTIATED,
            WITH_BODY,
            WITH_SESSION,
            WITH_SESSION_CALL,
            &[
                Code::UnknownFunction,
                Code::UnknownExport,
                Code::InvalidParams,
                Code::InvalidMemoryRange,
                Code::NoAllocator,
                Code::LimitTooHigh,
                Code::OutputLimit,
            ],
        ],
        "get_global" | "get_global_by_query" => {
            vec![NEGOTIATED, WITH_SESSION, WITH_EXPORT, &[Code::OutputLimit]]
        }
        "put_global" | "put_global_by_query" => vec![
            NEGOTIATED,
            WITH_BODY,
            WITH_SESSION,
            WITH_EXPORT,
            &[Code::InvalidParams, Code::MemoryLimit, Code::OutputLimit],
        ],
        "get_memory" | "get_memory_by_query" => {
            vec![NEGOTIATED, WITH_SESSION, WITH_EXPORT, &[Code::InvalidMemoryRange]]
        }
        "put_memory" | "put_memory_by_query" => {
            vec![WITH_BODY, WITH_SESSION, WITH_EXPORT, &[Code::InvalidMemoryRange]]
        }
        "get_health" | "get_metrics" => vec![],
        _ => vec![NEGOTIATED],
    }
}

/// The scope that a key needs for an operation: `Some(None)` is any, and `None` that no key is
/// needed.
fn scope_of(operation: &str) -> Option<Option<Scope>> {
    match operation {
        "run_wasm" | "execute_module" | "call_function" | "call_batch" | "call" => {
            Some(Some(Scope::Call))
        }
        "create_session"
        | "get_session"
        | "delete_session"
        | "create_instance"
        | "call_instance"
        | "call_session"
        | "get_global"
        | "put_global"
        | "get_global_by_query"
        | "put_global_by_query"
        | "get_memory"
        | "put_memory"
        | "get_memory_by_query"
        | "put_memory_by_query" => Some(Some(Scope::Call)),
        "register_module" | "put_module" | "post_module" | "delete_module" => {
            Some(Some(Scope::Register))
        }
        "get_metrics" | "get_network" => Some(Some(Scope::Admin)),
        "get_index" | "get_openapi" | "list_problems" | "get_problem" | "get_health"
        | "get_readiness" => None,
        _ => Some(None),
    }
}

/// The document, as JSON.
pub fn document() -> String {
    // Its types have string keys only, so they do not fail to serialize into memory.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let operations = document["paths"]
        .as_object_mut()
        .into_iter()
        .flat_map(|paths| paths.values_mut())
        .filter_map(Value::as_object_mut)
        .flat_map(|methods| methods.values_mut());
    for operation in operations {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        let mut codes: Vec<Code> = [&[ALWAYS], &*problems_of(&id)].concat().concat();
        // Those who watch the server are answered however often they ask.
        if !matches!(&*id, "get_health" | "get_readiness") {
            codes.push(Code::RateLimited);
        }
        if let Some(scope) = scope_of(&id) {
            codes.extend(WITH_KEY);
            // The second alternative, nothing, is for servers that ask for no keys.
            let scopes: Vec<_> = scope.iter().map(|scope| scope.as_str()).collect();
            operation["security"] = json!([{ "key": scopes }, {}]);
        }
        codes.sort_by_key(|code| (code.status().as_u16(), code.as_str()));
        codes.dedup();
        if let Some(responses) = operation["responses"].as_object_mut() {
            for codes in codes.chunk_by(|a, b| a.status() == b.status()) {
                responses.insert(codes[0].status().as_str().to_owned(), response(codes));
            }
        }
    }
    constraints::add(&mut document);
    document["components"]["schemas"]["Problem"] = problem_schema();
    document["components"]["schemas"]["MemoryAnswer"] = memory::answer_schema();
    document["components"]["securitySchemes"]["key"] = json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "wxk_ID_SECRET",
        "description": "A key, on a server that asks for keys; the scope that an operation needs is \
                        listed with it, and `admin` includes all. Where none is listed, any key does.",
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// The response of a status, with an example of each code that it can have.
fn response(codes: &[Code]) -> Value {
    let titles: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            let example = json!({
                "type": format!("/problems/{}", code.as_str()),
                "title": code.title(),
                "status": code.status().as_u16(),
                "code": code.as_str(),
                "detail": code.explanation(),
            });
            (code.as_str().to_owned(), json!({ "summary": code.title(), "value": example }))
        })
        .collect();
    json!({
        "description": titles.join(", "),
        "content": { "application/problem+json": {
            "schema": { "$ref": "#/components/schemas/Problem" },
            "examples": examples,
        }},
    })
}

fn problem_schema() -> Value {
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "RFC 9457 problem details. Codes have members of their own besides these; \
                        clients ignore those they do not know.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "type": "string", "examples": codes },
            "detail": { "type": "string" },
            "outcome": { "type": "string", "description": "The code, where a call was asked for." },
            "module": { "type": "string", "description": "The digest of the module called." },
            "usage": { "$ref": "#/components/schemas/Usage" },
            "trap": { "$ref": "#/components/schemas/Trap" },
            "memory": { "$ref": "#/components/schemas/MemoryAnswer" },
            "line": { "type": "integer", "description": "The line of a batch, from 0." },
            "retry_after": {
                "type": "integer",
                "description": "Seconds after which to try again, for a line of a batch.",
            },
        },
    })
}
