//! One request's way through the server: access, route, handler, request id, metrics, log.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::answer::{Answer, Content, Room};
use crate::app::App;
use crate::caller::Caller;
use crate::client::{self, Client};
use crate::connection::{Activity, Running};
use crate::cors;
use crate::keys::Need;
use crate::problem::{Cause, Code, Problem};
use crate::routes::{Hot, Route};

/// A request's body: there already, or still to come.
pub(crate) type RequestBody = Either<Full<Bytes>, Incoming>;

/// The header that says a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const MAXIMUM_REQUEST_ID: usize = 128;

/// A request's answer, and what the log is to say of the request.
#[derive(Debug)]
struct Answered {
    route: Route,
    caller: Caller,
    response: Response<Content>,
}

impl Answered {
    fn refused(route: Route, problem: Problem) -> Self {
        let problem = if route.calls() { problem.with_outcome() } else { problem };
        let response = problem.into_reply().map(Either::Left);
        Self { route, caller: Caller::anyone(), response }
    }
}

/// What stands for a request, for a handler whose work goes on when its answer has begun. In a request
/// on its way to the router it is an extension.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) activity: Arc<Activity>,
    client: Option<Arc<Client>>,
    /// The request's id.
    pub(crate) id: HeaderValue,
}

/// A request that runs on: for its connection and, if that is bound by limits, its client.
#[derive(Debug)]
pub(crate) struct Held {
    _running: Running<Arc<Activity>>,
    _request: Option<client::Request<Arc<Client>>>,
}

impl Exchange {
    /// Counts as a request that runs until it is dropped.
    pub(crate) fn hold(&self) -> Held {
        Held {
            _running: Activity::begin(Arc::clone(&self.activity)),
            _request: self.client.clone().map(Client::go_on),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Exchange {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let exchange = parts.extensions.get::<Self>().cloned();
        exchange.ok_or_else(|| Problem::new(Code::Internal, "internal error"))
    }
}

/// Where a request comes from, and its id.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    activity: &'a Arc<Activity>,
    /// `None` may do as much as it likes.
    client: Option<&'a Arc<Client>>,
    id: &'a HeaderValue,
}

impl Origin<'_> {
    fn exchange(self) -> Exchange {
        Exchange {
            activity: Arc::clone(self.activity),
            client: self.client.cloned(),
            id: self.id.clone(),
        }
    }
}

/// Lets a page of a foreign origin that may use the server read an answer, whatever it is.
fn allow(origin: Option<&HeaderValue>, response: &mut Response<Content>) {
    if let Some(origin) = origin {
        cors::allow(origin.clone(), response.headers_mut());
    }
}

/// Answers requests. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    app: App,
    router: Router,
}

impl Service {
    pub(crate) fn new(app: App) -> Self {
        let router = crate::routes::router(app.clone());
        Self { app, router }
    }

    /// Answers a request, whatever happens, and says its id, which the answer is yet to be given as
    /// [`REQUEST_ID`]. `None` is a client that may do as much as it likes.
    pub(crate) async fn answer(
        &self,
        head: &Parts,
        body: RequestBody,
        activity: &Arc<Activity>,
        client: Option<&Arc<Client>>,
    ) -> (Response<Answer>, HeaderValue) {
        let started = Instant::now();
        let id = request_id(&head.headers);
        let handled = {
            let from = Origin { activity, client, id: &id };
            // Pinned first, so that what wraps it moves a pointer and not the future.
            let mut handling = pin!(self.handle(head, body, from));
            AssertUnwindSafe(handling.as_mut()).catch_unwind().await
        };
        let Answered { route, caller, response } = handled.unwrap_or_else(|_| {
            // What the panic said is in the log already, by the panic hook.
            let problem = Problem::new(Code::Internal, "internal error");
            Answered::refused(Route::Other, problem)
        });
        let response = self.hold(head, client, route, response);
        let took = started.elapsed();
        let code = response.extensions().get::<Code>().map(|code| code.as_str());
        self.app.metrics.answered(route, code, took);
        log(head, caller.key_name(), &response, code, took, &id);
        (response, id)
    }

    /// Takes room for an answer, or answers that there is none.
    fn hold(
        &self,
        asked: &Parts,
        client: Option<&Arc<Client>>,
        route: Route,
        response: Response<Content>,
    ) -> Response<Answer> {
        let (mut head, content) = response.into_parts();
        let room = head.extensions.remove::<Room>();
        match self.app.answers.hold((asked.version, client), content, room) {
            Ok(answer) => Response::from_parts(head, answer),
            Err(problem) => {
                let mut refused = Answered::refused(route, problem).response;
                let origin = self.app.access.check(&asked.uri, &asked.headers);
                allow(origin.unwrap_or_default(), &mut refused);
                refused.map(Answer::from)
            }
        }
    }

    async fn handle(&self, head: &Parts, body: RequestBody, from: Origin<'_>) -> Answered {
        let client = from.client;
        let hot = Hot::of(&head.method, head.uri.path());
        let route = match &hot {
            Some(hot) => hot.route(),
            None => Route::of(&head.method, head.uri.path()),
        };
        let origin = match self.app.access.check(&head.uri, &head.headers) {
            Ok(origin) => origin,
            Err(problem) => return Answered::refused(route, problem),
        };
        let bound = client.filter(|_| !client::watches(head));
        let begun = match self.refuses(route, &head.method) {
            true => Err(Problem::new(Code::ShuttingDown, "the server is shutting down")),
            false => bound.map(|client| client.begin()).transpose(),
        };
        let _request = match begun {
            Ok(request) => request,
            Err(problem) => {
                let mut answered = Answered::refused(route, problem);
                allow(origin, &mut answered.response);
                return answered;
            }
        };
        let (caller, admitted) = self.admit(origin.is_some(), route, head);
        let caller = caller.from(client.map(|client| client.key));
        let mut response = match (admitted, hot) {
            (Ok(()), Some(hot)) => {
                let reply = hot.handle(&self.app, &caller, &head.headers, body).await;
                let reply = reply.map_err(Problem::with_outcome);
                reply.unwrap_or_else(Problem::into_reply).map(Either::Left)
            }
            (Ok(()), None) => self.route(origin.is_some(), &caller, from, head, body).await,
            (Err(problem), _) => Answered::refused(route, problem).response,
        };
        allow(origin, &mut response);
        Answered { route, caller, response }
    }

    /// Whom a request comes from, and whether its key lets it pass; without keys, all may.
    fn admit(&self, foreign: bool, route: Route, head: &Parts) -> (Caller, Result<(), Problem>) {
        let Some(keys) = &self.app.keys else { return (Caller::anyone(), Ok(())) };
        let need = match foreign && cors::is_preflight(&head.method, &head.headers) {
            true => Need::Nothing,
            false if route == Route::CallBatch => Need::Batch,
            false => Need::of(&head.method, head.uri.path(), route.runs_guests()),
        };
        keys.admit(need, &head.headers)
    }

    /// Whether a request comes too late. Those who watch the server are answered to the end.
    fn refuses(&self, route: Route, method: &Method) -> bool {
        let watches = route == Route::Other && *method == Method::GET;
        self.app.is_shutting_down() && !watches
    }

    /// Asks the router. Its future is large, so it is kept out of that of a hot request.
    fn route<'a>(
        &'a self,
        foreign: bool,
        caller: &'a Caller,
        from: Origin<'a>,
        head: &'a Parts,
        body: RequestBody,
    ) -> BoxFuture<'a, Response<Content>> {
        Box::pin(async move {
            if foreign && let Some(reply) = cors::preflight(&head.method, &head.headers) {
                return reply.map(Either::Left);
            }
            let mut head = head.clone();
            head.extensions.insert(caller.clone());
            head.extensions.insert(from.exchange());
            let request = Request::from_parts(head, Body::new(body));
            let Ok(response) = self.router.clone().oneshot(request).await;
            response.map(Either::Right)
        })
    }
}

/// A line for each request: a failure of the server's is a warning with its cause, other failures
/// and what changed something are told to everybody, a success only to who wants to know all.
fn log<B>(
    head: &Parts,
    key: Option<&str>,
    response: &Response<B>,
    code: Option<&'static str>,
    took: std::time::Duration,
    id: &HeaderValue,
) {
    let (method, path) = (&head.method, Loggable(head.uri.path()));
    let status = response.status();
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let outcome = code.unwrap_or("ok");
    let request_id = id.to_str().unwrap_or_default();
    let changed = matches!(status, StatusCode::CREATED | StatusCode::NO_CONTENT);
    let status = status.as_u16();
    if let Some(Cause(cause)) = response.extensions().get() {
        tracing::warn!(
            %method, %path, key, status, outcome, duration_us, request_id, cause, "failed"
        );
    } else if code.is_some() || changed {
        tracing::info!(%method, %path, key, status, outcome, duration_us, request_id, "answered");
    } else {
        tracing::debug!(%method, %path, key, status, outcome, duration_us, request_id, "answered");
    }
}

/// How much of a session's id is logged: enough to tell sessions apart, too little to use one.
const LOGGED_ID: usize = 8;

/// A path as it may be logged: whoever knows a session's id can use the session, where there are no keys.
struct Loggable<'a>(&'a str);

impl fmt::Display for Loggable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SESSIONS: &str = "/v1/sessions/";
        let Some(rest) = self.0.strip_prefix(SESSIONS) else { return f.write_str(self.0) };
        let (id, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match id.char_indices().nth(LOGGED_ID) {
            Some((end, _)) => write!(f, "{SESSIONS}{}…{rest}", &id[..end]),
            None => f.write_str(self.0),
        }
    }
}

/// The client's request id if it has a usable one, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    if let Some(id) = headers.get(REQUEST_ID)
        && (1..=MAXIMUM_REQUEST_ID).contains(&id.len())
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
    {
        return id.clone();
    }
    new_request_id()
}

/// An id that is unique with near certainty: a number drawn when the process started, and a count.
/// It says nothing that has to be kept secret.
fn new_request_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static PROCESS: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        use std::hash::{BuildHasher, Hasher};
        std::hash::RandomState::new().build_hasher().finish()
    });
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let number = PROCESS.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let mut id = [0; 16];
    for (index, digit) in id.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (60 - 4 * index)) as usize & 15];
    }
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("unknown"))
}
