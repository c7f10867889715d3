//! Calling functions: `POST /v1/modules/{module}/functions/{function}` and `POST /v1/call`.

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use wasm_exec::{
    Answer, Call, Digest, Failure, FailureKind, Links, MemoryAccess, MemoryRange, RequestedLimits,
    Style, Target, TrapReport,
};

use super::memory::MemoryRequest;
use super::source::{LinkMap, Text, at_most_one, short_list};
use crate::app::App;
use crate::body::{self, ContentType, Strict};
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled};

/// Room for an answer besides its results, in bytes, so that it need not grow.
const TYPICAL_ANSWER: usize = 224;

/// Parameters and limits of a call. All members may be missing, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallFunctionRequest<'a> {
    /// One value for each parameter, or `{"utf8": TEXT}` or `{"base64": TEXT}` for two: the address
    /// and the length of bytes in space that the module's own allocator gives.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<serde_json::Value>, max_items = 1000)]
    params: Vec<&'a RawValue>,
    /// What is put into memories before the call and taken out after it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MemoryRequest<'static>>)]
    memory: Option<Box<Strict<MemoryRequest<'a>>>>,
    /// What the call may use.
    #[serde(default, deserialize_with = "body::object")]
    limits: CallLimits,
}

/// The parameters alone, as a line of a batch may have them.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Params<'a>(#[serde(borrow, deserialize_with = "short_list")] Vec<&'a RawValue>);

impl<'a> CallFunctionRequest<'a> {
    /// Reads a line of a batch: parameters alone, or the object that a single call's body is.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub(crate) fn of_line(line: &'a [u8]) -> Result<Self, Problem> {
        match line.trim_ascii_start().first() {
            Some(b'[') => {
                let params = || serde_json::from_slice::<Params<'_>>(line);
                let params = body::beside_others(line, params);
                let params =
                    params.map_err(|error| Problem::invalid_request(format!("JSON: {error}")))?;
                Ok(Self { params: params.0, ..Self::default() })
            }
            Some(_) => body::json(line),
            None => Err(Problem::invalid_request("JSON: the line is empty")),
        }
    }

    /// The parameters, what is to be done with memories, and limits.
    ///
    /// # Errors
    ///
    /// When what is to be done with memories contradicts itself.
    pub(crate) fn parts(&self) -> Result<Parts<'_>, Problem> {
        Ok((&self.params, access(&self.memory)?, self.limits.into()))
    }
}

/// What a call's body asks for: parameters, what is to be done with memories, limits.
type Parts<'a> = (&'a [&'a RawValue], Option<Box<MemoryAccess<'a>>>, RequestedLimits);

/// A call of a registered module (`module`) or of Wasm that is sent along (one of `wasm_hex`,
/// `wasm_base64` and `wat`, with `links`).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallRequest<'a> {
    /// A name or a module digest.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    module: Option<Text<'a>>,
    /// The Wasm as hex digits.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wasm_hex: Option<Text<'a>>,
    /// The Wasm as base64.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wasm_base64: Option<Text<'a>>,
    /// The Wasm in the text format.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wat: Option<Text<'a>>,
    /// For Wasm that is sent along: import module → name or digest of a registered module.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    links: Option<LinkMap>,
    /// The exported function.
    #[serde(borrow)]
    #[schema(value_type = String)]
    function: Text<'a>,
    /// One value for each parameter, or `{"utf8": TEXT}` or `{"base64": TEXT}` for two: the address
    /// and the length of bytes in space that the module's own allocator gives.
    #[serde(borrow, default, deserialize_with = "short_list")]
    #[schema(value_type = Vec<serde_json::Value>, max_items = 1000)]
    params: Vec<&'a RawValue>,
    /// What is put into memories before the call and taken out after it.
    #[serde(borrow, default)]
    #[schema(value_type = Option<MemoryRequest<'static>>)]
    memory: Option<Box<Strict<MemoryRequest<'a>>>>,
    /// What the call may use.
    #[serde(default, deserialize_with = "body::object")]
    limits: CallLimits,
}

/// What a call may use; `GET /v1/limits` says the defaults and maxima.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallLimits {
    /// Milliseconds from admission to the last result.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Bytes of memory, summed over the linked graph.
    #[serde(default)]
    memory_bytes: Option<u64>,
    /// Fuel; makes the call metered.
    #[serde(default)]
    fuel: Option<u64>,
    /// Bytes of output.
    #[serde(default)]
    output_bytes: Option<u64>,
}

impl From<CallLimits> for RequestedLimits {
    fn from(limits: CallLimits) -> Self {
        let CallLimits { timeout_ms, memory_bytes, fuel, output_bytes } = limits;
        Self { timeout_ms, memory_bytes, fuel, output_bytes }
    }
}

/// How a call ended that gave results.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallAnswer<'a> {
    /// `ok`
    outcome: &'static str,
    /// One value for each result.
    #[schema(value_type = Vec<serde_json::Value>)]
    results: &'a RawValue,
    /// What was read from memories, if anything was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = memory_answer)]
    memory: Option<Box<RawValue>>,
    usage: Option<Usage>,
    /// The digest of the module that was called.
    module: &'a str,
}

/// The answer to a line of a batch whose call gave results; that to another line is a problem with
/// `line`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer<'a> {
    #[serde(flatten)]
    answer: CallAnswer<'a>,
    /// The line's number, from 0.
    line: u64,
}

/// The schema of an answer's `memory`.
pub(crate) fn memory_answer() -> Ref {
    Ref::from_schema_name("MemoryAnswer")
}

/// What a call used. It is there exactly when guest code ran.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Microseconds from admission to the last result.
    wall_us: u64,
    /// Fuel that was used, for a metered call.
    fuel: Option<u64>,
    /// The largest sum of the graph's memories, in bytes.
    memory_bytes: u64,
    /// There and true when growing a memory or table was refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    growth_refused: bool,
}

impl From<wasm_exec::Usage> for Usage {
    fn from(usage: wasm_exec::Usage) -> Self {
        Self {
            wall_us: u64::try_from(usage.wall.as_micros()).unwrap_or(u64::MAX),
            fuel: usage.fuel,
            memory_bytes: usage.memory_bytes,
            growth_refused: usage.growth_refused,
        }
    }
}

/// What ended a guest, and where.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trap {
    /// `unreachable`, `integer-divide-by-zero`, …
    kind: &'static str,
    /// Innermost frame first, at most 20.
    backtrace: Vec<Frame>,
}

/// A frame of a backtrace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Frame {
    /// The digest of the module that the function belongs to.
    module: String,
    /// The function's name, if the module names it.
    function: Option<String>,
    /// The function's index in its module.
    index: u32,
    /// The offset of the instruction in the Wasm binary.
    offset: Option<usize>,
}

impl From<TrapReport> for Trap {
    fn from(trap: TrapReport) -> Self {
        let frame = |frame: wasm_exec::BacktraceFrame| Frame {
            module: frame.module.to_string(),
            function: frame.function,
            index: frame.index,
            offset: frame.offset,
        };
        Self { kind: trap.kind, backtrace: trap.backtrace.into_iter().map(frame).collect() }
    }
}

/// Call a function of a registered module
#[utoipa::path(
    post, path = "/v1/modules/{module}/functions/{function}", tag = "calls",
    params(
        ("module" = String, Path, description = "A name or a module digest"),
        ("function" = String, Path, description = "An exported function"),
    ),
    request_body = CallFunctionRequest<'static>,
    responses((status = 200, description = "The function's results", body = CallAnswer<'static>)),
)]
pub(crate) async fn call_function<B>(
    app: &App,
    caller: &Caller,
    module: &str,
    function: &str,
    headers: &HeaderMap,
    body: B,
) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    accepts(headers, &["application/json"])?;
    let body = app.read(headers, body).await?;
    let request = match (ContentType::of(headers), body.bytes.is_empty()) {
        (_, true) => CallFunctionRequest::default(),
        (ContentType::Json, false) => body::json(&body.bytes)?,
        _ => return Err(body::unsupported(headers, "application/json")),
    };
    let (params, memory, limits) = request.parts()?;
    let (target, style) = (Target::Module(module), Style::Plain);
    let call = Call { target, function, params, memory, limits, style, client: caller.client() };
    answer(app, caller, call).await
}

/// Call a function of a registered module, or of Wasm that is sent along
#[utoipa::path(
    post, path = "/v1/call", tag = "calls",
    request_body = CallRequest<'static>,
    responses((status = 200, description = "The function's results", body = CallAnswer<'static>)),
)]
pub(crate) async fn call<B>(app: &App, caller: &Caller, headers: &HeaderMap, body: B) -> Handled
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    accepts(headers, &["application/json"])?;
    let ContentType::Json = ContentType::of(headers) else {
        return Err(body::unsupported(headers, "application/json"));
    };
    let body = app.read(headers, body).await?;
    let request: CallRequest<'_> = body::json(&body.bytes)?;
    let source = at_most_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
    let target = match (&request.module, source, request.links) {
        (Some(module), None, None) => Target::Module(&module.0),
        (None, Some(source), links) => {
            let wasm = app.decode(source).await?;
            Target::Inline { wasm, links: Links::Named(links.unwrap_or_default().0) }
        }
        (Some(_), None, Some(_)) => {
            let detail = "`links` is for Wasm that is sent along; a registered module has its own";
            return Err(Problem::invalid_request(detail));
        }
        (Some(_), Some(_), _) | (None, None, _) => {
            let detail = "one of `module`, `wasm_hex`, `wasm_base64` and `wat` has to be given";
            return Err(Problem::invalid_request(detail));
        }
    };
    let (params, limits) = (&*request.params, request.limits.into());
    let memory = access(&request.memory)?;
    let (function, style) = (&*request.function.0, Style::Plain);
    let call = Call { target, function, params, memory, limits, style, client: caller.client() };
    answer(app, caller, call).await
}

/// What a call is to do with memories, if anything.
pub(crate) fn access<'a>(
    request: &'a Option<Box<Strict<MemoryRequest<'_>>>>,
) -> Result<Option<Box<MemoryAccess<'a>>>, Problem> {
    request.as_ref().map(|request| request.0.access()).transpose()
}

async fn answer(app: &App, caller: &Caller, call: Call<'_>) -> Handled {
    answered(run(app, caller, call).await?)
}

/// The answer to a call that was made.
pub(crate) fn answered(answer: Answer) -> Handled {
    let results = match answer.result {
        Ok(results) => results,
        Err(failure) => return Err(failed(failure, answer.module, answer.usage, answer.memory)),
    };
    let mut text = Vec::with_capacity(TYPICAL_ANSWER + results.len());
    let (rest, module) = ((answer.memory, answer.usage), answer.module.to_string());
    write_answer(&results, rest, &module, &mut text)?;
    Ok(reply::content(reply::JSON, text))
}

/// What a call gave besides results: what was read from memories, and what it used.
type Rest = (Option<Box<RawValue>>, Option<wasm_exec::Usage>);

/// Appends what [`CallAnswer`] says of a call that gave these results, a JSON array. Nearly all of it
/// is JSON already, or has nothing to escape, so looking at it again would cost more than to copy it.
///
/// # Errors
///
/// Never: numbers can be written.
fn write_answer(
    results: &str,
    (memory, usage): Rest,
    module: &str,
    text: &mut Vec<u8>,
) -> Result<(), Problem> {
    text.extend_from_slice(br#"{"outcome":"ok","results":"#);
    text.extend_from_slice(results.as_bytes());
    if let Some(memory) = memory {
        text.extend_from_slice(br#","memory":"#);
        text.extend_from_slice(memory.get().as_bytes());
    }
    text.extend_from_slice(br#","usage":"#);
    write_json(&usage.map(Usage::from), text)?;
    text.extend_from_slice(br#","module":""#);
    text.extend_from_slice(module.as_bytes());
    text.extend_from_slice(br#""}"#);
    Ok(())
}

/// Appends the answer to a line of a batch whose call gave these results, a JSON array: what
/// [`BatchAnswer`] says.
///
/// # Errors
///
/// Never: numbers can be written.
pub(crate) fn write_line(
    results: &str,
    rest: Rest,
    module: &str,
    line: u64,
    text: &mut Vec<u8>,
) -> Result<(), Problem> {
    write_answer(results, rest, module, text)?;
    text.pop();
    text.extend_from_slice(br#","line":"#);
    write_json(&line, text)?;
    text.extend_from_slice(b"}\n");
    Ok(())
}

fn write_json(value: &impl Serialize, text: &mut Vec<u8>) -> Result<(), Problem> {
    serde_json::to_writer(text, value)
        .map_err(|error| Problem::new(Code::Internal, "internal error").because(error))
}

/// Makes a call as its caller may, and counts its time.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    call: Call<'_>,
) -> Result<Answer, wasm_exec::Error> {
    let meter = caller.begin_call();
    let answer = caller.exec(app).call(call).await;
    meter.end(match &answer {
        Ok(answer) => answer.usage.map(|usage| usage.wall),
        Err(error) => error.ran_for(),
    });
    answer
}

/// The problem of a guest that gave no results, with the members an answer would have.
pub(crate) fn failed(
    failure: Failure,
    module: Digest,
    usage: Option<wasm_exec::Usage>,
    memory: Option<Box<RawValue>>,
) -> Problem {
    let code = match failure.kind {
        FailureKind::Trap => Code::Trap,
        FailureKind::Timeout => Code::Timeout,
        FailureKind::FuelExhausted => Code::FuelExhausted,
        FailureKind::MemoryLimit => Code::MemoryLimit,
        FailureKind::StackOverflow => Code::StackOverflow,
        FailureKind::OutputLimit => Code::OutputLimit,
        FailureKind::MemoryRange => Code::InvalidMemoryRange,
    };
    let mut problem = Problem::new(code, failure.detail).with("module", module.to_string());
    if let Some(range) = failure.range {
        let MemoryRange { index, offset, length, memory_bytes } = *range;
        problem = problem.with("index", index).with("offset", offset);
        problem = problem.with("length", length).with("memory_bytes", memory_bytes);
    }
    if let Some(memory) = memory {
        problem = problem.with_memory(memory);
    }
    if let Some(usage) = usage {
        problem = problem.with_serialized("usage", &Usage::from(usage));
    }
    if let Some(trap) = failure.trap {
        problem = problem.with_serialized("trap", &Trap::from(trap));
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn answers_are_written_as_they_are_described() {
        let usage = wasm_exec::Usage {
            wall: Duration::from_micros(7),
            fuel: Some(8),
            memory_bytes: 9,
            growth_refused: true,
        };
        let (results, module) = (raw("[1,\"NaN\"]"), Digest::of(b"").to_string());
        for (memory, usage) in [(None, None), (Some(raw(r#"{"read":[]}"#)), Some(usage))] {
            let mut line = Vec::new();
            let rest = (memory.clone(), usage);
            write_line(results.get(), rest, &module, 3, &mut line).unwrap();
            let usage = usage.map(Usage::from);
            let (results, module) = (&*results, &*module);
            let answer = CallAnswer { outcome: "ok", results, memory, usage, module };
            let answer = BatchAnswer { answer, line: 3 };
            let described = serde_json::to_string(&answer).unwrap() + "\n";
            assert_eq!(String::from_utf8(line).unwrap(), described);
        }
    }
}
