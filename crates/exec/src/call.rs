//! Calling a function.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::value::RawValue;
use wasm_exec_engine::{
    self as engine, BadPointer, CallError, ClientKey, Frame, Function, MemoryRange, Outcome,
    Profile, Program, Trap, TrapKind, Turn, Usage, Value,
};
use wasm_exec_registry::Digest;

use crate::error::Error;
use crate::exec::{Exec, internal};
use crate::limits::{Granted, RequestedLimits};
use crate::memory::{self, MemoryAccess};
use crate::programs::ReadyProgram;
use crate::register::Links;
use crate::values::{self, InvalidParams, Params, Style};

/// Room for the JSON of a few results, in bytes, so that it need not grow.
const TYPICAL_RESULTS: usize = 64;

/// What happens rarely on the way of a call, kept out of the call's own future and code.
pub(crate) type Rare<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A call as it is asked for.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// What to call it in.
    pub target: Target<'a>,
    /// The exported function's name.
    pub function: &'a str,
    /// The parameters, as JSON text.
    pub params: &'a [&'a RawValue],
    /// What is put into memories before and taken out after; `None` is nothing.
    pub memory: Option<Box<MemoryAccess<'a>>>,
    /// What it may use.
    pub limits: RequestedLimits,
    /// How results are written.
    pub style: Style,
    /// Whom it is for, so that no client takes all places of the compiler, or of what is long; `None` may.
    pub client: Option<ClientKey>,
}

/// What a function is called in.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// A registered module, by name or digest.
    Module(&'a str),
    /// A module that was sent along.
    Inline {
        /// Its bytes.
        wasm: bytes::Bytes,
        /// What satisfies its imports.
        links: Links,
    },
}

/// What is called, and how.
#[derive(Clone, Copy)]
pub(crate) struct Called<'a> {
    pub(crate) ready: &'a ReadyProgram,
    pub(crate) function: &'a Function,
    pub(crate) granted: Granted,
    pub(crate) style: Style,
    pub(crate) client: Option<ClientKey>,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The digest of the module that was called.
    pub module: Digest,
    /// The results as a JSON array, or why there are none.
    pub result: Result<String, Failure>,
    /// What was read from memories, as JSON; `None` if nothing was to be, or if the call ended as
    /// [`MemoryRange`](FailureKind::MemoryRange) or [`OutputLimit`](FailureKind::OutputLimit).
    pub memory: Option<Box<RawValue>>,
    /// What the call used; `None` if no guest code ran.
    pub usage: Option<Usage>,
}

/// Why a guest gave no results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// What happened, for a person to read.
    pub detail: String,
    /// The trap that ended the call, if one did.
    pub trap: Option<TrapReport>,
    /// What does not fit, of the kind [`MemoryRange`](FailureKind::MemoryRange).
    pub range: Option<Box<MemoryRange>>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The guest trapped.
    Trap,
    /// The call's time was up.
    Timeout,
    /// The call's fuel was used up.
    FuelExhausted,
    /// Memory was refused, and the guest could not do without.
    MemoryLimit,
    /// The stack was exhausted.
    StackOverflow,
    /// The results, and what was read from memories, are more than the call may return.
    OutputLimit,
    /// What was to be written does not fit a memory; the function was not called.
    MemoryRange,
}

/// A trap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapReport {
    /// Its stable name.
    pub kind: &'static str,
    /// The stack it happened on, innermost frame first.
    pub backtrace: Vec<BacktraceFrame>,
}

/// One frame of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BacktraceFrame {
    /// The digest of the module that the function belongs to.
    pub module: Digest,
    /// The function's name, if the module names it.
    pub function: Option<String>,
    /// The function's index in its module.
    pub index: u32,
    /// The offset of the instruction in the Wasm binary, in bytes.
    pub offset: Option<usize>,
}

impl Exec {
    /// Calls an exported function in fresh instances of a module and all it links to.
    ///
    /// # Errors
    ///
    /// When the call could not be made: see [`Error`]. Once the guest runs, whatever it does is an
    /// [`Answer`].
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, Error> {
        let granted = self.limits().grant(&call.limits)?;
        let profile = Profile::of(&granted.call);
        let ready = match call.target {
            Target::Module(module) => self.ready_program(module, profile),
            Target::Inline { .. } => None,
        };
        let ready = match ready {
            Some(ready) => ready,
            None => self.get_ready(call.target, profile, call.client).await?,
        };
        let function = ready
            .program
            .function(call.function)
            .ok_or_else(|| unknown_function(&ready.program, call.function))?;
        let params = values::decode(call.params, function.params(), call.style)?;
        let params = match (params, call.memory) {
            (Params::Plain(params), None) => params,
            (params, memory) => {
                let style = call.style;
                let called =
                    Called { ready: &ready, function, granted, style, client: call.client };
                return self.call_with_memory(called, params, memory, None).await;
            }
        };
        let (engine, limits) = (self.engine(), granted.call);
        let calling =
            engine.call_with(&ready.program, function, &params, limits, None, call.client);
        let outcome = calling.await;
        let outcome = outcome.map_err(|error| cannot_call(error, function, params.len()))?;
        Ok(answer(outcome, &ready, &granted, call.style))
    }

    /// The same for a call that puts bytes into memories or takes some out, as a part of a turn if there
    /// is one.
    #[cold]
    pub(crate) fn call_with_memory<'a>(
        &'a self,
        called: Called<'a>,
        params: Params<'a>,
        memory: Option<Box<MemoryAccess<'a>>>,
        turn: Option<&'a mut Turn>,
    ) -> Rare<'a, Result<Answer, Error>> {
        let Called { ready, function, granted, style, client } = called;
        Box::pin(async move {
            let (params, bytes) = match params {
                Params::Plain(params) => (params, Vec::new()),
                Params::WithBytes(params) => (params.values, params.bytes),
            };
            let memory = memory.map(|memory| *memory).unwrap_or_default();
            let access = Some(memory::prepare(self, memory, bytes, granted.output_bytes).await?);
            let program = &ready.program;
            let (engine, limits) = (self.engine(), granted.call);
            let outcome = match turn {
                Some(turn) => {
                    engine.call_in(turn, program, function, &params, limits, access).await
                }
                None => engine.call_with(program, function, &params, limits, access, client).await,
            };
            let outcome = outcome.map_err(|error| cannot_call(error, function, params.len()))?;
            let read = outcome.memory.as_deref().map_or(0, memory::read_bytes);
            let result = finish(outcome.result, ready, &granted, style, read);
            let too_much =
                matches!(&result, Err(failure) if failure.kind == FailureKind::OutputLimit);
            let memory = match outcome.memory.filter(|_| !too_much) {
                Some(memory) => Some(memory::encode(self, memory).await?),
                None => None,
            };
            Ok(Answer { module: ready.digest, result, memory, usage: outcome.usage })
        })
    }

    /// The program that a call is for, loaded or made if it has to be. It is rare and large, so it is
    /// kept out of the call's own future and code.
    #[cold]
    fn get_ready<'a>(
        &'a self,
        target: Target<'a>,
        profile: Profile,
        client: Option<ClientKey>,
    ) -> Rare<'a, Result<Arc<ReadyProgram>, Error>> {
        Box::pin(async move {
            match target {
                Target::Module(module) => {
                    let digest = self.resolve(module).await?;
                    self.program(digest, profile, client).await
                }
                Target::Inline { wasm, links } => {
                    let manifest = self.manifest(&wasm, links).await?;
                    self.inline_program(&manifest, &wasm, profile, client).await
                }
            }
        })
    }
}

pub(crate) fn unknown_function(module: &Program, function: &str) -> Error {
    let exports = module.function_names().to_vec();
    let found = module.other_export(function);
    Error::UnknownFunction { function: function.to_owned(), found, exports }
}

/// Why the engine did not make a call.
pub(crate) fn cannot_call(error: CallError, function: &Function, found: usize) -> Error {
    match error {
        CallError::Overloaded => Error::Overloaded,
        CallError::Exhausted { wall } => Error::Exhausted { wall },
        CallError::Parameters => {
            let expected = function.params().len();
            Error::Params(InvalidParams::Count { expected, found, bytes: 0 })
        }
        CallError::Access(invalid) => Error::Access(invalid),
        error @ CallError::Engine(_) => internal(error),
    }
}

/// A call's results as JSON, or why there are none. `read` bytes are returned besides.
fn finish(
    result: Result<Vec<Value>, engine::Failure>,
    ready: &ReadyProgram,
    granted: &Granted,
    style: Style,
    read: u64,
) -> Result<String, Failure> {
    let module = |_, frame: &Frame| ready.nodes.get(frame.node).copied().unwrap_or(ready.digest);
    let results = result.map_err(|failure| report(failure, granted.call.timeout, module))?;
    let mut json = String::with_capacity(TYPICAL_RESULTS);
    values::encode(&results, style, &mut json);
    let size = read.saturating_add(json.len() as u64);
    match size <= granted.output_bytes as u64 {
        true => Ok(json),
        false => Err(output_limit(json.len(), read, granted.output_bytes)),
    }
}

/// What the caller gets of a call that was made and read nothing.
pub(crate) fn answer(
    outcome: Outcome,
    ready: &ReadyProgram,
    granted: &Granted,
    style: Style,
) -> Answer {
    let result = finish(outcome.result, ready, granted, style, 0);
    Answer { module: ready.digest, result, memory: None, usage: outcome.usage }
}

pub(crate) fn output_limit(bytes: usize, read: u64, maximum: usize) -> Failure {
    let read = match read {
        0 => String::new(),
        read => format!(", and {read} bytes are read from memories"),
    };
    Failure {
        kind: FailureKind::OutputLimit,
        detail: format!(
            "the results take {bytes} bytes of JSON{read}; the call may return {maximum}"
        ),
        trap: None,
        range: None,
    }
}

/// A failure with the modules of its backtrace named. `module` says what the module of a frame is,
/// given the frame and its place.
pub(crate) fn report(
    failure: engine::Failure,
    timeout: std::time::Duration,
    module: impl Fn(usize, &Frame) -> Digest,
) -> Failure {
    let range = match &failure {
        engine::Failure::MemoryRange(range) => Some(Box::new(*range)),
        _ => None,
    };
    let (kind, detail, trap) = match failure {
        engine::Failure::Trap(trap) => (
            FailureKind::Trap,
            format!("the guest trapped: {}", trap.kind.description()),
            Some(trap),
        ),
        engine::Failure::Timeout => (
            FailureKind::Timeout,
            format!("the call took more than {} ms", timeout.as_millis()),
            None,
        ),
        engine::Failure::FuelExhausted => {
            (FailureKind::FuelExhausted, "the call used up its fuel".to_owned(), None)
        }
        engine::Failure::MemoryLimit { detail, trap } => (FailureKind::MemoryLimit, detail, trap),
        engine::Failure::StackOverflow(trap) => {
            let detail = TrapKind::StackOverflow.description().to_owned();
            (FailureKind::StackOverflow, detail, Some(trap))
        }
        engine::Failure::MemoryRange(MemoryRange { index, offset, length, memory_bytes }) => {
            let detail = format!(
                "memory.write[{index}]: {length} bytes at {offset} do not fit a memory of \
                 {memory_bytes} bytes"
            );
            (FailureKind::MemoryRange, detail, None)
        }
        engine::Failure::BadPointer(pointer) => {
            let BadPointer { allocator, pointer, length, memory_bytes } = pointer;
            let detail = match pointer {
                0 => format!("the guest's `{allocator}` gave a null pointer for {length} bytes"),
                pointer => format!(
                    "the guest's `{allocator}` gave the address {pointer} for {length} bytes, \
                     which do not fit there in a memory of {memory_bytes} bytes"
                ),
            };
            let trap = Trap { kind: TrapKind::Host, backtrace: Vec::new() };
            (FailureKind::Trap, detail, Some(trap))
        }
    };
    let trap = trap.map(|trap| TrapReport {
        kind: trap.kind.as_str(),
        backtrace: trap
            .backtrace
            .into_iter()
            .enumerate()
            .map(|(place, frame)| BacktraceFrame {
                module: module(place, &frame),
                function: frame.function,
                index: frame.index,
                offset: frame.offset,
            })
            .collect(),
    });
    Failure { kind, detail, trap, range }
}
