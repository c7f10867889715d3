//! From JSON text to values.

use serde::Deserialize;
use serde_json::value::RawValue;
use wasm_exec_engine::{SessionValue, Value, ValueType, Values};

use super::bytes::{self, WithBytes};
use super::{InvalidParams, Reason, Style, float};

/// The longest piece of a wrong parameter that an error repeats, in bytes.
const MAXIMUM_QUOTE: usize = 64;

/// A call's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Params<'a> {
    /// A value for each.
    Plain(Values),
    /// Some are bytes.
    WithBytes(Box<WithBytes<'a>>),
}

/// Decodes a call's parameters by the types of its function.
///
/// # Errors
///
/// [`InvalidParams`] names the first parameter that does not fit.
pub fn decode<'a>(
    params: &[&'a RawValue],
    types: &[ValueType],
    style: Style,
) -> Result<Params<'a>, InvalidParams> {
    let one = |index, param: &RawValue, ty| decode_one(index, param, ty, style);
    if params.iter().any(|param| param.get().starts_with('{'))
        && let Some(params) = bytes::decode_with(params, types, one, |zero| zero)?
    {
        return Ok(Params::WithBytes(Box::new(params)));
    }
    if params.len() != types.len() {
        let (expected, found) = (types.len(), params.len());
        return Err(InvalidParams::Count { expected, found, bytes: 0 });
    }
    let params = params.iter().zip(types).enumerate();
    let values = params.map(|(index, (param, ty))| decode_one(index, param, *ty, style));
    Ok(Params::Plain(values.collect::<Result<_, _>>()?))
}

/// Decodes the element `index` of a list of parameters.
fn decode_one(
    index: usize,
    param: &RawValue,
    ty: ValueType,
    style: Style,
) -> Result<Value, InvalidParams> {
    decode_value(param.get(), ty, style).map_err(|reason| InvalidParams::Value {
        index,
        expected: ty.to_string(),
        found: quote(param.get()),
        reason,
    })
}

/// Decodes the parameters of a call in a session, where host values can be passed.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_session<'a>(
    params: &[&'a RawValue],
    types: &[ValueType],
) -> Result<WithBytes<'a, Vec<SessionValue>>, InvalidParams> {
    let one = |index, param: &RawValue, ty: ValueType| {
        decode_session_value(param.get(), ty).map_err(|reason| InvalidParams::Value {
            index,
            expected: ty.to_string(),
            found: quote(param.get()),
            reason,
        })
    };
    if let Some(params) = bytes::decode_with(params, types, one, SessionValue::Plain)? {
        return Ok(params);
    }
    if params.len() != types.len() {
        let (expected, found) = (types.len(), params.len());
        return Err(InvalidParams::Count { expected, found, bytes: 0 });
    }
    let params = params.iter().zip(types).enumerate();
    let values = params.map(|(index, (param, ty))| one(index, param, *ty));
    Ok(WithBytes { values: values.collect::<Result<_, _>>()?, bytes: Vec::new() })
}

fn decode_session_value(json: &str, ty: ValueType) -> Result<SessionValue, Reason> {
    match ty {
        ValueType::Reference { heap: "extern" | "any", .. } if json != "null" => {
            // An array of one element would be taken for the object, too.
            let object = Some(json).filter(|json| json.starts_with('{'));
            let host = object.and_then(|json| serde_json::from_str::<HostValue<'_>>(json).ok());
            let text = host.ok_or(Reason::NoHostValue)?.r#extern.get();
            Ok(SessionValue::Extern(text.into()))
        }
        ty => decode_plain(json, ty, Style::Plain).map(SessionValue::Plain),
    }
}

/// `{"extern": 1}` and its like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostValue<'a> {
    #[serde(borrow)]
    r#extern: &'a RawValue,
}

fn decode_value(json: &str, ty: ValueType, style: Style) -> Result<Value, Reason> {
    match style {
        Style::Tagged if json.starts_with('{') => {
            let (tagged, json) = Tagged::parse(json).ok_or(Reason::Type)?;
            if tagged != ty { Err(Reason::Tag) } else { decode_plain(json, ty, style) }
        }
        _ => decode_plain(json, ty, style),
    }
}

fn decode_plain(json: &str, ty: ValueType, style: Style) -> Result<Value, Reason> {
    match ty {
        ValueType::I32 => integer(json, i32::MIN.into(), u32::MAX.into())
            // From 2³¹ on it reads as two's complement.
            .map(|value| Value::I32(value as i32)),
        ValueType::I64 => match json.starts_with('"') {
            true => integer_string(json).map(|value| Value::I64(value as i64)),
            false => integer(json, i64::MIN.into(), u64::MAX.into())
                .map(|value| Value::I64(value as i64)),
        },
        ValueType::F32 => float::decode::<f32>(json).map(Value::F32),
        ValueType::F64 => float::decode::<f64>(json).map(Value::F64),
        ValueType::V128 => vector(json, style).map(Value::V128),
        ValueType::Reference { nullable: true, .. } if json == "null" => Ok(Value::Null),
        ValueType::Reference { .. } => Err(Reason::NoValue),
    }
}

/// A JSON integer between two bounds.
fn integer(json: &str, minimum: i128, maximum: i128) -> Result<i128, Reason> {
    if !json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(Reason::Type);
    }
    if !digits(json) {
        return Err(Reason::NotAnInteger);
    }
    // More digits than an `i128` has are out of every range here.
    let value = json.parse::<i128>().map_err(|_| Reason::Range)?;
    if (minimum..=maximum).contains(&value) { Ok(value) } else { Err(Reason::Range) }
}

/// A 64-bit integer in a JSON string.
fn integer_string(json: &str) -> Result<i128, Reason> {
    let text = string(json).ok_or(Reason::Type)?;
    if !digits(&text) {
        return Err(Reason::Notation);
    }
    integer(&text, i64::MIN.into(), u64::MAX.into())
}

fn digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn vector(json: &str, style: Style) -> Result<u128, Reason> {
    if style == Style::Tagged && json.starts_with(|first: char| first.is_ascii_digit()) {
        // The original's notation: one unsigned number.
        return if digits(json) {
            json.parse().map_err(|_| Reason::Range)
        } else {
            Err(Reason::NotAnInteger)
        };
    }
    let text = string(json).ok_or(Reason::Type)?;
    let digits = text.strip_prefix("0x").ok_or(Reason::Notation)?;
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Reason::Notation);
    }
    u128::from_str_radix(digits, 16).map_err(|_| Reason::Notation)
}

/// The content of a JSON string.
pub(super) fn string(json: &str) -> Option<std::borrow::Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
    if !json.starts_with('"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}

/// `{"I32": 2}` and its like.
#[derive(Deserialize)]
enum Tagged<'a> {
    I32(#[serde(borrow)] &'a RawValue),
    I64(#[serde(borrow)] &'a RawValue),
    F32(#[serde(borrow)] &'a RawValue),
    F64(#[serde(borrow)] &'a RawValue),
    V128(#[serde(borrow)] &'a RawValue),
}

impl<'a> Tagged<'a> {
    fn parse(json: &'a str) -> Option<(ValueType, &'a str)> {
        let (ty, value) = match serde_json::from_str(json).ok()? {
            Tagged::I32(value) => (ValueType::I32, value),
            Tagged::I64(value) => (ValueType::I64, value),
            Tagged::F32(value) => (ValueType::F32, value),
            Tagged::F64(value) => (ValueType::F64, value),
            Tagged::V128(value) => (ValueType::V128, value),
        };
        Some((ty, value.get()))
    }
}

/// A wrong parameter, shortened if it is long.
pub(super) fn quote(json: &str) -> String {
    if json.len() <= MAXIMUM_QUOTE {
        return json.to_owned();
    }
    let mut end = MAXIMUM_QUOTE;
    while !json.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes)", &json[..end], json.len())
}
