//! The routes: which there are, and which path leads where.
//!
//! One file a resource, its handlers beside its request and response types. The routes that call
//! functions are matched by [`Hot::of`] before the router is asked, which costs a tenth of a request.

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod network;
pub(crate) mod original;
pub(crate) mod problems;
pub(crate) mod sessions;
mod source;

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;

use crate::app::App;
use crate::caller::Caller;
use crate::problem::{Code, Problem};
use crate::reply::Handled;
pub(crate) use source::{MAXIMUM_ELEMENTS, MAXIMUM_LINKS};

macro_rules! routes {
    ($($variant:ident $name:literal,)*) => {
        /// A route, for counting and for the log: by its operation, not its path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Route {
            $($variant,)*
        }

        impl Route {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

routes! {
    RunWasm "run_wasm",
    RegisterModule "register_module",
    ExecuteModule "execute_module",
    CallFunction "call_function",
    CallInline "call",
    CallBatch "call_batch",
    Modules "modules",
    CallSession "call_session",
    CreateInstance "create_instance",
    Sessions "sessions",
    Other "other",
}

impl Route {
    /// Whether it calls a function, so that every answer says how that ended.
    pub(crate) fn calls(self) -> bool {
        match self {
            Self::RunWasm
            | Self::ExecuteModule
            | Self::CallFunction
            | Self::CallInline
            | Self::CallBatch
            | Self::CallSession => true,
            Self::RegisterModule
            | Self::Modules
            | Self::CreateInstance
            | Self::Sessions
            | Self::Other => false,
        }
    }

    /// Whether guests may run, so that it counts as a call.
    pub(crate) fn runs_guests(self) -> bool {
        self.calls() || self == Self::CreateInstance
    }

    /// The route of a request that [`Hot`] does not handle.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        if *method == Method::POST && is_batch(path) {
            Self::CallBatch
        } else if path == "/register" {
            Self::RegisterModule
        } else if path.starts_with("/v1/modules") {
            Self::Modules
        } else {
            Self::of_session(method, path).unwrap_or(Self::Other)
        }
    }

    /// The route of a request that has to do with sessions.
    fn of_session(method: &Method, path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/sessions")?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let mut segments = rest.split('/').skip(2);
        Some(match (segments.next(), segments.next(), segments.next()) {
            (Some("call"), None, _) if method == Method::POST => Self::CallSession,
            (Some("instances"), Some(_), Some("functions")) => Self::CallSession,
            (Some("instances"), None, _) if method == Method::POST => Self::CreateInstance,
            _ => Self::Sessions,
        })
    }
}

/// Whether a path is `/v1/modules/{module}/functions/{function}/batch`.
fn is_batch(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let mut is = |expected| segments.next() == Some(expected);
    if !is("v1") || !is("modules") {
        return false;
    }
    let rest: [_; 5] = std::array::from_fn(|_| segments.next());
    matches!(rest, [Some(_), Some("functions"), Some(_), Some("batch"), None])
}

/// A request for a route that calls a function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hot<'a> {
    /// `POST /`
    RunWasm,
    /// `POST /execute`
    ExecuteModule,
    /// `POST /v1/call`
    Call,
    /// `POST /v1/modules/{module}/functions/{function}`, both still percent-encoded.
    CallFunction {
        /// A name or digest.
        module: &'a str,
        /// The function's name.
        function: &'a str,
    },
}

impl<'a> Hot<'a> {
    pub(crate) fn of(method: &Method, path: &'a str) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        match path {
            "/" => Some(Self::RunWasm),
            "/execute" => Some(Self::ExecuteModule),
            "/v1/call" => Some(Self::Call),
            _ => {
                let (module, function) =
                    path.strip_prefix("/v1/modules/")?.split_once("/functions/")?;
                let segments = !module.is_empty() && !function.is_empty();
                (segments && !module.contains('/') && !function.contains('/'))
                    .then_some(Self::CallFunction { module, function })
            }
        }
    }

    pub(crate) fn route(&self) -> Route {
        match self {
            Self::RunWasm => Route::RunWasm,
            Self::ExecuteModule => Route::ExecuteModule,
            Self::Call => Route::CallInline,
            Self::CallFunction { .. } => Route::CallFunction,
        }
    }

    /// Handles the request that this was made of.
    pub(crate) async fn handle<B>(
        &self,
        app: &App,
        caller: &Caller,
        headers: &http::HeaderMap,
        body: B,
    ) -> Handled
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let handled = match self {
            Self::RunWasm => original::run_wasm(app, caller, headers, body).await,
            Self::ExecuteModule => original::execute_module(app, caller, headers, body).await,
            Self::Call => call::call(app, caller, headers, body).await,
            Self::CallFunction { module, function } => match (segment(module), segment(function)) {
                (Ok(module), Ok(function)) => {
                    call::call_function(app, caller, &module, &function, headers, body).await
                }
                (Err(problem), _) | (_, Err(problem)) => Err(problem),
            },
        };
        handled.map_err(Problem::with_outcome)
    }
}

/// Decodes a path segment.
fn segment(segment: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(segment).decode_utf8().map_err(|_| {
        Problem::invalid_request("a path segment is not UTF-8 once its percent signs are decoded")
    })
}

/// All routes, those that [`Hot`] handles included so that other methods are refused rightly.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(index::get_index).post(hot))
        .route("/register", post(original::register_module))
        .route("/execute", post(hot))
        .route("/v1/call", post(hot))
        .route("/v1/limits", get(limits::get_limits))
        .route("/v1/network", get(network::get_network))
        .route("/v1/modules", get(modules::list_modules).post(modules::post_module))
        .route(
            "/v1/modules/{module}",
            get(modules::get_module).put(modules::put_module).delete(modules::delete_module),
        )
        .route("/v1/modules/{module}/wasm", get(modules::get_wasm))
        .route("/v1/modules/{module}/wat", get(modules::get_wat))
        .route("/v1/modules/{module}/functions/{function}", post(hot))
        .route("/v1/modules/{module}/functions/{function}/batch", post(batch::call_batch))
        .route("/v1/sessions", post(sessions::create_session))
        .route("/v1/sessions/{id}", get(sessions::get_session).delete(sessions::delete_session))
        .route("/v1/sessions/{id}/instances", post(sessions::instances::create_instance))
        .route("/v1/sessions/{id}/call", post(sessions::call::call_session))
        .route(
            "/v1/sessions/{id}/instances/{name}/functions/{function}",
            post(sessions::call::call_instance),
        )
        .route(
            "/v1/sessions/{id}/instances/{name}/globals/{global}",
            get(sessions::globals::get_global).put(sessions::globals::put_global),
        )
        .route(
            "/v1/sessions/{id}/instances/{name}/globals",
            get(sessions::globals::get_global_by_query).put(sessions::globals::put_global_by_query),
        )
        .route(
            "/v1/sessions/{id}/instances/{name}/memories/{memory}",
            get(sessions::memories::get_memory).put(sessions::memories::put_memory),
        )
        .route(
            "/v1/sessions/{id}/instances/{name}/memories",
            get(sessions::memories::get_memory_by_query)
                .put(sessions::memories::put_memory_by_query),
        )
        .route("/healthz", get(health::get_health))
        .route("/readyz", get(health::get_readiness))
        .route("/metrics", get(health::get_metrics))
        .route("/openapi.json", get(index::get_openapi))
        .route("/problems", get(problems::list_problems))
        .route("/problems/{code}", get(problems::get_problem))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn nothing(request: Request) -> Problem {
    let path = request.uri().path();
    let shown: String = path.chars().take(200).collect();
    Problem::new(Code::NotFound, format!("there is nothing at {shown:?}; GET / lists what is"))
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} is not possible here", request.method());
    Problem::new(Code::MethodNotAllowed, detail)
}

/// Only asked if a path is matched by the router and not by [`Hot`], which a difference in how they
/// decode could cause.
async fn hot(State(app): State<App>, caller: Caller, request: Request) -> Handled {
    let (head, body) = request.into_parts();
    match Hot::of(&head.method, head.uri.path()) {
        Some(hot) => hot.handle(&app, &caller, &head.headers, body).await,
        None => Err(Problem::new(Code::NotFound, "there is nothing at this path")),
    }
}
