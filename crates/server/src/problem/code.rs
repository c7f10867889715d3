//! The stable codes of problems: each has one status and one explanation.

use http::StatusCode;

macro_rules! codes {
    ($($variant:ident $text:literal $status:ident $title:literal $explanation:literal;)*) => {
        /// The stable part of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $explanation] $variant,)*
        }

        impl Code {
            /// Every code that this server can answer with.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as clients read it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its one status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// What kind of problem it is, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What it means and what to do, for a person to read.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid-request" BAD_REQUEST "Invalid request"
        "The request cannot be read: broken JSON, a member that does not exist, a value of the wrong kind, broken hex or base64. The detail says where.";
    Unauthenticated "unauthenticated" UNAUTHORIZED "Unauthenticated"
        "The server asks for a key, and the request has none that it knows. Send it as `Authorization: Bearer wxk_…`.";
    Forbidden "forbidden" FORBIDDEN "Forbidden"
        "The request comes from a web page of another origin, or names a host that this server does not answer for: start it with --host or --allow-origin to change that. Or its key lacks a scope, or cannot write to the namespace, or the name is another node's: the detail says which.";
    UnknownModule "unknown-module" NOT_FOUND "Unknown module"
        "No module is registered under this name or digest.";
    UnknownFunction "unknown-function" NOT_FOUND "Unknown function"
        "The module exports no function of this name. The member `exports` lists those that it does.";
    UnknownSession "unknown-session" NOT_FOUND "Unknown session"
        "There is no session of this id, it ended more than ten minutes ago, or another key made it.";
    UnknownInstance "unknown-instance" NOT_FOUND "Unknown instance"
        "The session has no instance of this name. `GET /v1/sessions/{id}` lists those that it has.";
    UnknownExport "unknown-export" NOT_FOUND "Unknown export"
        "The module, or the instance of a session, exports nothing of this name that can be used so; of memories, the host provides none that is imported so, either. The detail says what was looked for; where it is a call's memory, the member `memories` lists those that there are.";
    NotFound "not-found" NOT_FOUND "Not found"
        "There is nothing at this path.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "Method not allowed"
        "The path exists, but not for this method. The header Allow lists those that it has.";
    NotAcceptable "not-acceptable" NOT_ACCEPTABLE "Not acceptable"
        "The header Accept excludes every form that the answer has.";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "Request timeout"
        "The client sent its request too slowly.";
    NameTaken "name-taken" CONFLICT "Name taken"
        "The name is registered with other content, or its label is in use in the other way (with or without versions). Names keep their content until they are deleted. In a session: it has an instance of this name, for as long as it lives.";
    NameConflict "name-conflict" CONFLICT "Name conflict"
        "Different nodes of the network have registered different modules under this name, and this node has no reason to take one of them. The member `owners` lists them; each can be asked for by its name there, which begins with its owner.";
    InUse "in-use" CONFLICT "In use"
        "The module was not registered without a name, and others still use it.";
    SessionEnded "session-ended" GONE "Session ended"
        "The session was there and has ended. The member `reason` says why: `deleted`, `idle`, `timeout`, or `failed`.";
    TooLarge "too-large" PAYLOAD_TOO_LARGE "Too large"
        "The request or the module has more bytes than are accepted. The member `maximum` says how many are.";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "Unsupported media type"
        "The content type or encoding of the body is none that this route reads.";
    InvalidWasm "invalid-wasm" UNPROCESSABLE_ENTITY "Invalid WebAssembly"
        "The bytes are not a valid module. The members `offset` and `reason` say where and why.";
    InvalidWat "invalid-wat" UNPROCESSABLE_ENTITY "Invalid WebAssembly text"
        "The text does not follow the grammar of the text format. The members `line` and `column` say where.";
    UnsupportedFeature "unsupported-feature" UNPROCESSABLE_ENTITY "Unsupported feature"
        "The module is valid WebAssembly, but uses a part of it that is switched off here, or more of something than a call can have.";
    CompileLimit "compile-limit" UNPROCESSABLE_ENTITY "Compile limit"
        "The module has more of something than is compiled, takes more time or memory to compile than is allowed, or the compiler gives up or fails on it. The member `limit` says which limit it is, and `maximum` how much is allowed; `GET /v1/limits` lists those of modules under `module`.";
    LinkError "link-error" UNPROCESSABLE_ENTITY "Link error"
        "An import is not satisfied, or by something of another type, or a link is not used, or the linked graph is too large. The detail says which import and what was found.";
    InvalidParams "invalid-params" UNPROCESSABLE_ENTITY "Invalid parameters"
        "The parameters are not what the function takes. The members `index` and `expected` say which one and what it should be.";
    InvalidMemoryRange "invalid-memory-range" UNPROCESSABLE_ENTITY "Invalid memory range"
        "Bytes that were to be written or read are not within the memory; nothing was written, and no function was called. The members `index` (of a call's write), `offset`, `length` and `memory_bytes` say which and why.";
    NoAllocator "no-allocator" UNPROCESSABLE_ENTITY "No allocator"
        "A parameter is bytes, and the module exports no function that gives space for them. The detail says what was looked for.";
    InvalidName "invalid-name" UNPROCESSABLE_ENTITY "Invalid name"
        "The name does not follow the grammar `[namespace:]label[@version]`.";
    LimitTooHigh "limit-too-high" UNPROCESSABLE_ENTITY "Limit too high"
        "The request asks for more than the operator allows. `GET /v1/limits` lists the maxima.";
    Trap "trap" UNPROCESSABLE_ENTITY "The guest trapped"
        "The guest did something that ends it. The member `trap` says what and where.";
    Timeout "timeout" UNPROCESSABLE_ENTITY "Timeout"
        "The call did not end within its time. Ask for more with `limits.timeout_ms`.";
    FuelExhausted "fuel-exhausted" UNPROCESSABLE_ENTITY "Fuel exhausted"
        "The call used up its fuel. Ask for more with `limits.fuel`.";
    MemoryLimit "memory-limit" UNPROCESSABLE_ENTITY "Memory limit"
        "The initial memory does not fit, or the guest could not go on after more was refused. Ask for more with `limits.memory_bytes`.";
    StackOverflow "stack-overflow" UNPROCESSABLE_ENTITY "Stack overflow"
        "The guest's calls are nested too deeply.";
    OutputLimit "output-limit" UNPROCESSABLE_ENTITY "Output limit"
        "The results, and what is read from memories, are more than the call may return. Ask for more with `limits.output_bytes`.";
    RateLimited "rate-limited" TOO_MANY_REQUESTS "Rate limited"
        "The key made more requests per second than it may. The header Retry-After says when there is room for the next.";
    QuotaExceeded "quota-exceeded" TOO_MANY_REQUESTS "Quota exceeded"
        "The key has used up what it may call in this period, or store. The member `quota` says of what, the header Retry-After when the next period begins.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE "Overloaded"
        "As many requests as the server takes at once are running and waiting. Try again later.";
    NotReplicated "not-replicated" SERVICE_UNAVAILABLE "Not replicated"
        "The module is registered and kept on this node, but too few other nodes of the network have confirmed a copy yet; the members `replicas` and `wanted` say how many have and should. This node goes on trying; the same request again succeeds once they have.";
    ShuttingDown "shutting-down" SERVICE_UNAVAILABLE "Shutting down"
        "The server is ending what it has begun and takes nothing new.";
    Internal "internal" INTERNAL_SERVER_ERROR "Internal error"
        "Something went wrong that is not the client's doing. The log has the cause under the request's id.";
    LookupTimeout "lookup-timeout" GATEWAY_TIMEOUT "Lookup timeout"
        "The module is not on this node, and no other node of the network that should have it answered in time.";
    StorageFull "storage-full" INSUFFICIENT_STORAGE "Storage full"
        "The server's storage is full or cannot be written. Nothing was registered.";
}

impl Code {
    /// The code that clients read as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}
