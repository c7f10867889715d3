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
        Some(match (segments.next(), segments.next()) {
            (Some("instances"), None) if method == Method::POST => Self::CreateInstance,
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
    /// `POST /v1/modules/{module}/functions/{function}`
    CallFunction {
        /// A name or digest.
        module: Segment<'a>,
        /// The function's name.
        function: Segment<'a>,
    },
    /// `POST /v1/sessions/{id}/call`
    CallSession {
        /// The session's id.
        id: Segment<'a>,
    },
    /// `POST /v1/sessions/{id}/instances/{name}/functions/{function}`
    CallInstance {
        /// The session's id.
        id: Segment<'a>,
        /// The instance's name.
        name: Segment<'a>,
        /// The function's name.
        function: Segment<'a>,
    },
}

/// A segment of a path, not empty, still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a>(&'a str);

impl<'a> Segment<'a> {
    fn decode(self) -> Result<Cow<'a, str>, Problem> {
        percent_decode_str(self.0).decode_utf8().map_err(|_| {
            let detail = "a path segment is not UTF-8 once its percent signs are decoded";
            Problem::invalid_request(detail)
        })
    }
}

impl<'a> Hot<'a> {
    pub(crate) fn of(method: &Method, path: &'a str) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        match path {
            "/" => Some(Self::RunWasm),
            "/execute" => Some(Self::ExecuteModule),
            _ => Self::of_segments(path.strip_prefix("/v1/")?),
        }
    }

    /// What the rest of a path leads to, after `/v1/`.
    fn of_segments(rest: &'a str) -> Option<Self> {
        let mut rest = rest.split('/');
        let segments: [_; 7] = std::array::from_fn(|_| rest.next());
        if segments.contains(&Some("")) {
            return None;
        }
        Some(match segments {
            [Some("call"), None, ..] => Self::Call,
            [Some("modules"), Some(module), Some("functions"), Some(function), None, ..] => {
                Self::CallFunction { module: Segment(module), function: Segment(function) }
            }
            [Some("sessions"), Some(id), Some("call"), None, ..] => {
                Self::CallSession { id: Segment(id) }
            }
            [
                Some("sessions"),
                Some(id),
                Some("instances"),
                Some(name),
                Some("functions"),
                Some(function),
                None,
            ] => Self::CallInstance {
                id: Segment(id),
                name: Segment(name),
                function: Segment(function),
            },
            _ => return None,
        })
    }

    pub(crate) fn route(&self) -> Route {
        match self {
            Self::RunWasm => Route::RunWasm,
            Self::ExecuteModule => Route::ExecuteModule,
            Self::Call => Route::CallInline,
            Self::CallFunction { .. } => Route::CallFunction,
            Self::CallSession { .. } | Self::CallInstance { .. } => Route::CallSession,
        }
    }

    /// Handles the request that this was made of. Its problems are yet to be given an
    /// [outcome](Problem::with_outcome).
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
        match self {
            Self::RunWasm => original::run_wasm(app, caller, headers, body).await,
            Self::ExecuteModule => original::execute_module(app, caller, headers, body).await,
            Self::Call => call::call(app, caller, headers, body).await,
            Self::CallFunction { module, function } => {
                let (module, function) = (module.decode()?, function.decode()?);
                call::call_function(app, caller, &module, &function, headers, body).await
            }
            Self::CallSession { id } => {
                let id = id.decode()?;
                sessions::call::call_session(app, caller, &id, headers, body).await
            }
            Self::CallInstance { id, name, function } => {
                let (id, name, function) = (id.decode()?, name.decode()?, function.decode()?);
                let callee =
                    sessions::call::Callee { id: &id, instance: &name, function: &function };
                sessions::call::call_instance(app, caller, callee, headers, body).await
            }
        }
    }
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
        .route("/v1/sessions/{id}/call", post(hot))
        .route("/v1/sessions/{id}/instances/{name}/functions/{function}", post(hot))
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
        Some(hot) => {
            let handled = hot.handle(&app, &caller, &head.headers, body).await;
            handled.map_err(Problem::with_outcome)
        }
        None => Err(Problem::new(Code::NotFound, "there is nothing at this path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_paths_call_functions() {
        fn post(path: &str) -> Option<Hot<'_>> {
            Hot::of(&Method::POST, path)
        }
        let (module, function) = (Segment("m%2Fn"), Segment("f"));
        let (id, name) = (Segment("id"), Segment("i"));
        for (path, hot) in [
            ("/", Hot::RunWasm),
            ("/execute", Hot::ExecuteModule),
            ("/v1/call", Hot::Call),
            ("/v1/modules/m%2Fn/functions/f", Hot::CallFunction { module, function }),
            ("/v1/sessions/id/call", Hot::CallSession { id }),
            ("/v1/sessions/id/instances/i/functions/f", Hot::CallInstance { id, name, function }),
        ] {
            assert_eq!(post(path), Some(hot), "{path}");
            assert_eq!(Hot::of(&Method::GET, path), None, "{path}");
            for other in [format!("{path}/"), format!("{path}/more"), format!("/{path}")] {
                assert_eq!(post(&other), None, "{other}");
            }
        }
        for path in [
            "/v1/modules//functions/f",
            "/v1/modules/m/functions/",
            "/v1/modules/m/functions/f/batch",
            "/v1/sessions//call",
            "/v1/sessions/id/instances//functions/f",
            "/v1/sessions/id/instances/i/functions",
            "/v1/sessions/id/instances/i/functions/f/a/b/c",
            "/v2/call",
        ] {
            assert_eq!(post(path), None, "{path}");
        }
    }
}
