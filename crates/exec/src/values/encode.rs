//! From values to JSON text.

use std::fmt::Write;

use wasm_exec_engine::{SessionValue, Value};

use super::{Style, float};

/// Appends the JSON array of a call's results.
pub fn encode(results: &[Value], style: Style, json: &mut String) {
    json.push('[');
    for (index, value) in results.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        encode_value(*value, style, json);
    }
    json.push(']');
}

/// Appends the JSON array of the results of a call in a session.
pub fn encode_session(results: &[SessionValue], json: &mut String) {
    json.push('[');
    for (index, value) in results.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        encode_session_value(value, json);
    }
    json.push(']');
}

/// Appends the JSON of one value of a session.
pub fn encode_session_value(value: &SessionValue, json: &mut String) {
    match value {
        SessionValue::Plain(value) => plain(*value, json),
        SessionValue::Extern(text) => append(json, format_args!("{{\"extern\":{text}}}")),
    }
}

/// Appends the JSON of one value.
pub fn encode_value(value: Value, style: Style, json: &mut String) {
    let tag = match value {
        Value::I32(_) => "I32",
        Value::I64(_) => "I64",
        Value::F32(_) => "F32",
        Value::F64(_) => "F64",
        Value::V128(_) => "V128",
        // References have no tag.
        Value::Null | Value::Reference(_) => return plain(value, json),
    };
    match style {
        Style::Plain => plain(value, json),
        Style::Tagged => {
            json.push_str("{\"");
            json.push_str(tag);
            json.push_str("\":");
            match value {
                // Integers are numbers with all their digits, vectors one unsigned number.
                Value::I64(value) => append(json, value),
                Value::V128(value) => append(json, value),
                _ => plain(value, json),
            }
            json.push('}');
        }
    }
}

fn plain(value: Value, json: &mut String) {
    match value {
        Value::I32(value) => append(json, value),
        Value::I64(value) => append(json, format_args!("\"{value}\"")),
        Value::F32(bits) => match float::special_notation::<f32>(bits.into(), 32) {
            Some(notation) => append(json, format_args!("\"{notation}\"")),
            None => number(json, f32::from_bits(bits)),
        },
        Value::F64(bits) => match float::special_notation::<f64>(bits, 64) {
            Some(notation) => append(json, format_args!("\"{notation}\"")),
            None => number(json, f64::from_bits(bits)),
        },
        Value::V128(value) => append(json, format_args!("\"0x{value:032x}\"")),
        Value::Null => json.push_str("null"),
        Value::Reference(kind) => append(json, format_args!("{{\"ref\":\"{}\"}}", kind.as_str())),
    }
}

/// A finite float, by the fewest digits that read back as the same one; −0 is `-0.0`.
fn number(json: &mut String, value: impl serde::Serialize) {
    match serde_json::to_string(&value) {
        Ok(text) => json.push_str(&text),
        // Serializing a number into memory does not fail.
        Err(_) => json.push_str("null"),
    }
}

fn append(json: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(json, "{value}");
}
