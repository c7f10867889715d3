//! A session of the server, and what it answers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::module::Source;
use crate::support::request::Request;
use crate::support::response::Response;
use crate::support::server::Server;

/// How long a call may take, in milliseconds, and how much memory a session may have, in bytes: all
/// that the server allows.
const TIMEOUT_MS: u64 = 60_000;
const MEMORY_BYTES: u64 = 256 << 20;

/// A session that lives until it is closed.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    server: &'a Server,
    path: String,
}

/// What the server made of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It did what was asked for, with these results.
    Done(Vec<Box<RawValue>>),
    /// It did not.
    Problem(Problem),
}

/// Why something was not done.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) trap: Option<Trap>,
    /// Where in a module, in bytes.
    pub(crate) offset: Option<u64>,
    /// Which limit of modules.
    pub(crate) limit: Option<String>,
}

/// How a guest trapped.
#[derive(Debug, Deserialize)]
pub(crate) struct Trap {
    pub(crate) kind: String,
}

impl<'a> Session<'a> {
    pub(crate) async fn open(server: &'a Server) -> Self {
        let limits = json!({ "timeout_ms": TIMEOUT_MS, "memory_bytes": MEMORY_BYTES });
        let response = server.post("/v1/sessions").json(json!({ "limits": limits })).await;
        let path = response.header("location").map(str::to_owned);
        response.created();
        Self { server, path: path.expect("a session has a location") }
    }

    /// Instantiates what `module` says, with each import module linked to an instance.
    pub(crate) async fn instantiate(
        &self,
        name: &str,
        module: Map<String, Value>,
        links: &[(&str, &str)],
    ) -> Answer {
        let link = |(import, instance): &(&str, &str)| {
            ((*import).to_owned(), json!({ "instance": instance }))
        };
        let mut body = module;
        body.insert("name".to_owned(), json!(name));
        body.insert("links".to_owned(), links.iter().map(link).collect());
        let response = self.server.post(&self.under("instances")).json(body.into()).await;
        Answer::of(&response, |_: IgnoredAny| Vec::new())
    }

    /// Calls a function that an instance exports.
    pub(crate) async fn call(&self, instance: &str, function: &str, params: &[Value]) -> Answer {
        #[derive(Deserialize)]
        struct Results {
            results: Vec<Box<RawValue>>,
        }
        let body = json!({ "instance": instance, "function": function, "params": params });
        let response = self.server.post(&self.under("call")).json(body).await;
        Answer::of(&response, |answer: Results| answer.results)
    }

    /// Reads a global that an instance exports.
    pub(crate) async fn global(&self, instance: &str, global: &str) -> Answer {
        #[derive(Deserialize)]
        struct Global {
            value: Box<RawValue>,
        }
        let global = utf8_percent_encode(global, NON_ALPHANUMERIC);
        let path = self.under(&format!("instances/{instance}/globals?name={global}"));
        let response = self.server.get(&path).await;
        Answer::of(&response, |answer: Global| vec![answer.value])
    }

    /// Deletes the session.
    pub(crate) async fn close(self) {
        let response = self.server.delete(&self.path).await;
        // A call that did not end in its time has ended the session, and failed its directive.
        assert!([204, 410].contains(&response.status.as_u16()), "{response:?}");
    }

    fn under(&self, resource: &str) -> String {
        format!("{}/{resource}", self.path)
    }
}

impl Answer {
    /// The results.
    ///
    /// # Errors
    ///
    /// The problem that there was.
    pub(crate) fn done(self) -> Result<Vec<Box<RawValue>>, String> {
        match self {
            Self::Done(results) => Ok(results),
            Self::Problem(problem) => Err(problem.to_string()),
        }
    }

    /// The problem.
    ///
    /// # Errors
    ///
    /// That there was none.
    pub(crate) fn problem(self) -> Result<Problem, String> {
        match self {
            Self::Problem(problem) => Ok(problem),
            Self::Done(results) => Err(format!("it succeeded: {results:?}")),
        }
    }

    /// Success, whose results `results` finds in the body, or a problem.
    fn of<'a, T: Deserialize<'a>>(
        response: &'a Response,
        results: impl FnOnce(T) -> Vec<Box<RawValue>>,
    ) -> Self {
        if !response.status.is_success() {
            return Self::Problem(Problem::of(response));
        }
        match serde_json::from_slice(&response.body) {
            Ok(answer) => Self::Done(results(answer)),
            Err(error) => panic!("{error}: {response:?}"),
        }
    }
}

impl Problem {
    fn of(response: &Response) -> Self {
        serde_json::from_slice(&response.body)
            .unwrap_or_else(|error| panic!("{error}: {response:?}"))
    }

    /// # Errors
    ///
    /// Itself, when it is another problem.
    pub(crate) fn has_code(&self, code: &str) -> Result<(), String> {
        if self.code == code { Ok(()) } else { Err(self.to_string()) }
    }

    /// # Errors
    ///
    /// Itself, when it is no trap of such a kind.
    pub(crate) fn is_trap(&self, of_kind: impl FnOnce(&str) -> bool) -> Result<(), String> {
        match &self.trap {
            Some(Trap { kind }) if self.code == "trap" && of_kind(kind) => Ok(()),
            _ => Err(self.to_string()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// Sends a module to be registered without a name; gives its digest.
///
/// # Errors
///
/// What the server has against it.
pub(crate) async fn register(server: &Server, source: &Source) -> Result<String, Problem> {
    let request = server.post("/v1/modules");
    let response = sent(request, source).await;
    if !response.status.is_success() {
        return Err(Problem::of(&response));
    }
    let description = response.value();
    Ok(description["digest"].as_str().expect("a description has a digest").to_owned())
}

fn sent(request: Request, source: &Source) -> Request {
    match source {
        Source::Wasm(bytes) => request.wasm(bytes.clone()),
        Source::Wat(text) => request.wat(text.clone()),
    }
}

/// The members of a request that send a module along.
///
/// # Errors
///
/// When it is text, but not UTF-8.
pub(crate) fn inline(source: &Source) -> Result<Map<String, Value>, String> {
    let (member, value) = match source {
        Source::Wasm(bytes) => ("wasm_base64", STANDARD.encode(bytes)),
        Source::Wat(text) => {
            ("wat", String::from_utf8(text.clone()).map_err(|error| error.to_string())?)
        }
    };
    Ok(Map::from_iter([(member.to_owned(), json!(value))]))
}

/// The member of a request that names a registered module.
pub(crate) fn registered(digest: &str) -> Map<String, Value> {
    Map::from_iter([("module".to_owned(), json!(digest))])
}
