//! Modules that are valid by construction: each is accepted, compiled and called, twice with the same
//! end, and whatever it does is its own failure.

use arbitrary::Unstructured;
use bytes::Bytes;
use serde_json::value::RawValue;
use wasm_exec::{Answer, Call, CompileError, Error, Links, RequestedLimits, Style, Target};
use wasm_exec_engine::{InvalidModule, Item};
use wasm_smith::{Config, Module};

use crate::service::{ENGINE, EXEC, RUNTIME};

/// Fuel of each call: enough to get into whatever a module does.
const FUEL: u64 = 20_000;

/// How many of a module's functions are called.
const CALLED: usize = 4;

pub(crate) fn check(data: &[u8]) {
    let mut unstructured = Unstructured::new(data);
    let Ok(module) = Module::new(config(), &mut unstructured) else { return };
    let wasm = Bytes::from(module.to_bytes());
    let description = match ENGINE.validate(&wasm) {
        Ok(description) => description,
        Err(InvalidModule::Limit(_)) => return,
        Err(refusal) => panic!("{refusal}"),
    };
    let functions = description.exports.iter().filter_map(|export| match &export.item {
        Item::Function { params, .. } => Some((export.name.as_str(), params)),
        _ => None,
    });
    for (name, params) in functions.take(CALLED) {
        let params: Vec<_> = params.iter().map(|ty| zero(ty)).collect();
        let params: Vec<&RawValue> = params.iter().map(AsRef::as_ref).collect();
        let [first, second] = [(); 2].map(|()| call(wasm.clone(), name, &params));
        match (first, second) {
            (Ok(first), Ok(second)) => check_same(&first, &second),
            (Err(error), _) | (_, Err(error)) => check_refusal(&error),
        }
    }
}

/// What this server runs, without imports.
fn config() -> Config {
    Config {
        max_imports: 0,
        min_types: 2,
        min_funcs: 2,
        max_funcs: 8,
        max_instructions: 500,
        max_memories: 4,
        max_tables: 4,
        max_memory32_bytes: 1 << 20,
        max_memory64_bytes: 1 << 20,
        max_table_elements: 1000,
        memory_max_size_required: false,
        custom_page_sizes_enabled: false,
        export_everything: true,
        gc_enabled: true,
        exceptions_enabled: true,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    }
}

fn zero(ty: &str) -> Box<RawValue> {
    let json = match ty {
        "i32" | "i64" | "f32" | "f64" => "0",
        "v128" => r#""0x00000000000000000000000000000000""#,
        _ => "null",
    };
    RawValue::from_string(json.to_owned()).expect("it is JSON")
}

fn call(wasm: Bytes, function: &str, params: &[&RawValue]) -> Result<Answer, Error> {
    RUNTIME.block_on(EXEC.call(Call {
        target: Target::Inline { wasm, links: Links::none() },
        function,
        params,
        memory: None,
        limits: RequestedLimits { fuel: Some(FUEL), ..RequestedLimits::default() },
        style: Style::Plain,
        client: None,
    }))
}

/// Metered calls end in the same way, if the clock does not end them.
fn check_same(first: &Answer, second: &Answer) {
    use wasm_exec::FailureKind::Timeout;
    let timed_out =
        |answer: &Answer| matches!(&answer.result, Err(failure) if failure.kind == Timeout);
    if timed_out(first) || timed_out(second) {
        return;
    }
    assert_eq!(first.result, second.result);
    let fuel = |answer: &Answer| answer.usage.as_ref().map(|usage| usage.fuel);
    assert_eq!(fuel(first), fuel(second));
}

/// What a module cannot have here, or a parameter that only a guest could give.
fn check_refusal(error: &Error) {
    match error {
        Error::Params(_) | Error::InitialMemory { .. } => {}
        Error::Compile(refusal) if matches!(**refusal, CompileError::Unsupported(_)) => {}
        error => panic!("{error}: {error:?}"),
    }
}
