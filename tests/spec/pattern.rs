//! A script's values: arguments as JSON, and what results are expected.

use serde_json::{Value, json};
use wast::core::{NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// The JSON of an argument.
///
/// # Errors
///
/// When it is a component's.
pub(crate) fn argument(argument: &WastArg<'_>) -> Result<Value, String> {
    let WastArg::Core(argument) = argument else {
        return Err(format!("an argument of a component: {argument:?}"));
    };
    Ok(match argument {
        WastArgCore::I32(value) => json!(value),
        WastArgCore::I64(value) => json!(value.to_string()),
        WastArgCore::F32(F32 { bits }) => {
            // As an `f64` it has more digits, which all the same read back as the same `f32`.
            let value = f32::from_bits(*bits);
            float(f64::from(value), value.is_nan().then_some(u64::from(bits & 0x7f_ffff)))
        }
        WastArgCore::F64(F64 { bits }) => {
            let value = f64::from_bits(*bits);
            float(value, value.is_nan().then_some(bits & 0xf_ffff_ffff_ffff))
        }
        WastArgCore::V128(vector) => {
            json!(format!("{:#034x}", u128::from_le_bytes(vector.to_le_bytes())))
        }
        WastArgCore::RefNull(_) => Value::Null,
        WastArgCore::RefExtern(number) | WastArgCore::RefHost(number) => {
            json!({ "extern": number })
        }
    })
}

/// A float, or the notation of one that is no number in JSON.
fn float(value: f64, payload: Option<u64>) -> Value {
    let sign = if value.is_sign_negative() { "-" } else { "" };
    match payload {
        Some(payload) => json!(format!("{sign}nan:{payload:#x}")),
        None if value.is_infinite() => json!(format!("{sign}inf")),
        None => json!(value),
    }
}

/// Whether a result, as JSON text, is what is expected.
pub(crate) fn meets(json: &str, expected: &WastRet<'_>) -> bool {
    match expected {
        WastRet::Core(expected) => meets_core(json, expected),
        _ => false,
    }
}

fn meets_core(json: &str, expected: &WastRetCore<'_>) -> bool {
    match expected {
        WastRetCore::I32(expected) => json == expected.to_string(),
        WastRetCore::I64(expected) => json == format!("\"{expected}\""),
        WastRetCore::F32(expected) => f32_bits(json).is_some_and(|bits| meets_f32(bits, expected)),
        WastRetCore::F64(expected) => f64_bits(json).is_some_and(|bits| meets_f64(bits, expected)),
        WastRetCore::V128(expected) => {
            vector(json).is_some_and(|bytes| meets_vector(bytes, expected))
        }
        WastRetCore::RefNull(_) => json == "null",
        WastRetCore::RefExtern(Some(number)) | WastRetCore::RefHost(number) => {
            host(json) == Some(json!(number))
        }
        WastRetCore::RefExtern(None) => host(json).is_some() || refers_to(json, &["extern"]),
        WastRetCore::RefFunc(_) => refers_to(json, &["func"]),
        WastRetCore::RefAny => {
            host(json).is_some() || refers_to(json, &["any", "struct", "array", "i31"])
        }
        WastRetCore::RefEq => refers_to(json, &["struct", "array", "i31"]),
        WastRetCore::RefArray => refers_to(json, &["array"]),
        WastRetCore::RefStruct => refers_to(json, &["struct"]),
        WastRetCore::RefI31 => refers_to(json, &["i31"]),
        // Shared references are of a proposal that has no scripts yet.
        WastRetCore::RefI31Shared => false,
        WastRetCore::Either(all) => all.iter().any(|expected| meets_core(json, expected)),
    }
}

/// What went in, of a reference to something of the host.
fn host(json: &str) -> Option<Value> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(json) else { return None };
    members.remove("extern").filter(|_| members.is_empty())
}

fn refers_to(json: &str, kinds: &[&str]) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return false };
    kinds.iter().any(|kind| value == json!({ "ref": kind }))
}

fn f32_bits(json: &str) -> Option<u32> {
    match special(json) {
        Some((negative, payload)) => {
            let payload = u32::try_from(payload).ok().filter(|payload| *payload < 1 << 23)?;
            Some(u32::from(negative) << 31 | 0xff << 23 | payload)
        }
        None => json.parse().ok().map(f32::to_bits),
    }
}

fn f64_bits(json: &str) -> Option<u64> {
    match special(json) {
        Some((negative, payload)) if payload < 1 << 52 => {
            Some(u64::from(negative) << 63 | 0x7ff << 52 | payload)
        }
        Some(_) => None,
        None => json.parse().ok().map(f64::to_bits),
    }
}

/// The sign and payload of an infinity, whose payload is 0, or of a NaN.
fn special(json: &str) -> Option<(bool, u64)> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let payload = match text {
        "inf" => 0,
        _ => u64::from_str_radix(text.strip_prefix("nan:0x")?, 16).ok()?,
    };
    Some((negative, payload))
}

fn meets_f32(bits: u32, expected: &NanPattern<F32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(expected) => bits == expected.bits,
    }
}

fn meets_f64(bits: u64, expected: &NanPattern<F64>) -> bool {
    match expected {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(expected) => bits == expected.bits,
    }
}

/// The bytes of a vector, the first lane's first.
fn vector(json: &str) -> Option<[u8; 16]> {
    let digits = json.strip_prefix("\"0x")?.strip_suffix('"')?;
    let value = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(value.to_le_bytes())
}

fn meets_vector(bytes: [u8; 16], expected: &V128Pattern) -> bool {
    match expected {
        V128Pattern::I8x16(expected) => lanes(bytes).map(i8::from_le_bytes) == *expected,
        V128Pattern::I16x8(expected) => lanes(bytes).map(i16::from_le_bytes) == *expected,
        V128Pattern::I32x4(expected) => lanes(bytes).map(i32::from_le_bytes) == *expected,
        V128Pattern::I64x2(expected) => lanes(bytes).map(i64::from_le_bytes) == *expected,
        V128Pattern::F32x4(expected) => {
            let lanes: [_; 4] = lanes(bytes).map(u32::from_le_bytes);
            lanes.into_iter().zip(expected).all(|(bits, expected)| meets_f32(bits, expected))
        }
        V128Pattern::F64x2(expected) => {
            let lanes: [_; 2] = lanes(bytes).map(u64::from_le_bytes);
            lanes.into_iter().zip(expected).all(|(bits, expected)| meets_f64(bits, expected))
        }
    }
}

/// A vector's lanes, each `SIZE` bytes.
fn lanes<const SIZE: usize, const COUNT: usize>(bytes: [u8; 16]) -> [[u8; SIZE]; COUNT] {
    std::array::from_fn(|lane| std::array::from_fn(|byte| bytes[lane * SIZE + byte]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expects_f32(json: &str, pattern: NanPattern<F32>) -> bool {
        meets_core(json, &WastRetCore::F32(pattern))
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        let value = |value: f32| NanPattern::Value(F32 { bits: value.to_bits() });
        assert!(expects_f32("0.1", value(0.1)));
        assert!(!expects_f32("0.1", value(0.100_000_01)));
        assert!(expects_f32("-0.0", value(-0.0)));
        assert!(!expects_f32("0.0", value(-0.0)));
        assert!(expects_f32("\"-inf\"", value(f32::NEG_INFINITY)));
    }

    #[test]
    fn nans_are_compared_by_their_class() {
        assert!(expects_f32("\"-nan:0x400000\"", NanPattern::CanonicalNan));
        assert!(!expects_f32("\"nan:0x400001\"", NanPattern::CanonicalNan));
        assert!(expects_f32("\"nan:0x400001\"", NanPattern::ArithmeticNan));
        assert!(!expects_f32("\"nan:0x200000\"", NanPattern::ArithmeticNan));
        assert!(!expects_f32("\"inf\"", NanPattern::ArithmeticNan));
    }

    #[test]
    fn vectors_are_compared_by_lanes() {
        let json = "\"0x000000040000000300000002ffffffff\"";
        let meets = |expected| meets_core(json, &WastRetCore::V128(expected));
        assert!(meets(V128Pattern::I32x4([-1, 2, 3, 4])));
        assert!(!meets(V128Pattern::I32x4([4, 3, 2, -1])));
        assert!(meets(V128Pattern::I64x2([0x2_ffff_ffff, 0x4_0000_0003])));
    }

    #[test]
    fn references_are_compared_by_what_they_refer_to() {
        let seven = WastRetCore::RefExtern(Some(7));
        assert!(meets_core(r#"{"extern":7}"#, &seven));
        assert!(!meets_core(r#"{"extern":8}"#, &seven));
        assert!(!meets_core("null", &WastRetCore::RefExtern(None)));
        assert!(meets_core(r#"{"ref":"i31"}"#, &WastRetCore::RefEq));
        assert!(!meets_core(r#"{"ref":"func"}"#, &WastRetCore::RefAny));
    }
}
