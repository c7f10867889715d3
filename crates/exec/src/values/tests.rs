use proptest::prelude::*;
use serde_json::value::RawValue;
use wasm_exec_engine::{ReferenceKind, Value, ValueType};

use super::*;

const FUNCREF: ValueType = ValueType::Reference { nullable: true, heap: "func" };
const REF_FUNC: ValueType = ValueType::Reference { nullable: false, heap: "func" };

fn decode_one(json: &str, ty: ValueType, style: Style) -> Result<Value, InvalidParams> {
    let raw: &RawValue = serde_json::from_str(json).unwrap();
    decode(&[raw], &[ty], style).map(|params| match params {
        Params::Plain(values) => values[0],
        Params::WithBytes(_) => unreachable!("one parameter cannot be bytes"),
    })
}

fn encode_one(value: Value, style: Style) -> String {
    let mut json = String::new();
    encode_value(value, style, &mut json);
    json
}

fn nan32(payload: u32) -> Value {
    Value::F32(0x7f80_0000 | payload)
}

fn nan64(payload: u64) -> Value {
    Value::F64(0x7ff0_0000_0000_0000 | payload)
}

#[test]
fn what_is_accepted() {
    use ValueType::{F32, F64, I32, I64, V128};
    let f32 = |value: f32| Value::F32(value.to_bits());
    let f64 = |value: f64| Value::F64(value.to_bits());
    for (json, ty, value) in [
        ("0", I32, Value::I32(0)),
        ("-0", I32, Value::I32(0)),
        ("-2147483648", I32, Value::I32(i32::MIN)),
        ("2147483648", I32, Value::I32(i32::MIN)),
        ("4294967295", I32, Value::I32(-1)),
        ("-9223372036854775808", I64, Value::I64(i64::MIN)),
        ("18446744073709551615", I64, Value::I64(-1)),
        ("\"18446744073709551615\"", I64, Value::I64(-1)),
        ("\"-1\"", I64, Value::I64(-1)),
        (r#""\u0031""#, I64, Value::I64(1)),
        ("1", F32, f32(1.0)),
        ("0.1", F32, f32(0.1)),
        ("16777217", F32, f32(16_777_216.0)),
        ("1e-400", F64, f64(0.0)),
        ("-0", F64, f64(-0.0)),
        ("-0.0", F32, f32(-0.0)),
        ("\"-0\"", F64, f64(-0.0)),
        ("\"inf\"", F32, f32(f32::INFINITY)),
        ("\"-inf\"", F64, f64(f64::NEG_INFINITY)),
        ("\"nan\"", F32, nan32(0x40_0000)),
        ("\"-nan\"", F64, Value::F64(0xfff8_0000_0000_0000)),
        ("\"nan:0x200000\"", F32, nan32(0x20_0000)),
        ("\"-nan:0x1\"", F32, Value::F32(0xff80_0001)),
        ("\"nan:0xFFFFFFFFFFFFF\"", F64, nan64(0xf_ffff_ffff_ffff)),
        (
            "\"0x000102030405060708090A0b0c0d0e0f\"",
            V128,
            Value::V128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f),
        ),
        ("null", FUNCREF, Value::Null),
    ] {
        for style in [Style::Plain, Style::Tagged] {
            assert_eq!(decode_one(json, ty, style), Ok(value), "{json} as {ty}");
        }
    }
}

#[test]
fn what_is_refused_and_why() {
    use Reason::{NoValue, NotAnInteger, Notation, Range, Type};
    use ValueType::{F32, F64, I32, I64, V128};
    for (json, ty, expected) in [
        ("4294967296", I32, Range),
        ("-2147483649", I32, Range),
        ("2.0", I32, NotAnInteger),
        ("1e2", I32, NotAnInteger),
        ("-1.5", I32, NotAnInteger),
        ("\"1\"", I32, Type),
        ("true", I32, Type),
        ("null", I32, Type),
        ("[1]", I32, Type),
        ("99999999999999999999999999999999999999999999", I64, Range),
        ("18446744073709551616", I64, Range),
        ("\"1.0\"", I64, Notation),
        ("\"\"", I64, Notation),
        ("\"-\"", I64, Notation),
        ("\"+1\"", I64, Notation),
        ("\"-9223372036854775809\"", I64, Range),
        ("1e39", F32, Range),
        ("1e400", F64, Range),
        ("-1e400", F64, Range),
        ("\"1.0\"", F64, Notation),
        ("\"0\"", F64, Notation),
        ("\"NaN\"", F64, Notation),
        ("\"infinity\"", F64, Notation),
        ("\"nan:0x0\"", F32, Range),
        ("\"nan:0x800000\"", F32, Range),
        ("\"nan:0x\"", F32, Notation),
        ("\"nan:0x+1\"", F32, Notation),
        ("\"nan:0x11111111111111111\"", F64, Range),
        ("{}", F32, Type),
        ("1", V128, Type),
        ("\"0x1\"", V128, Notation),
        ("\"0x+00102030405060708090a0b0c0d0e0f\"", V128, Notation),
        ("1", FUNCREF, NoValue),
        ("null", REF_FUNC, NoValue),
    ] {
        match decode_one(json, ty, Style::Plain) {
            Err(InvalidParams::Value { index: 0, reason, .. }) => {
                assert_eq!(reason, expected, "{json} as {ty}");
            }
            other => panic!("{json} as {ty}: {other:?}"),
        }
    }
}

#[test]
fn tags_are_taken_where_the_original_took_them() {
    use ValueType::{F32, I32, I64, V128};
    let tagged = |json, ty| decode_one(json, ty, Style::Tagged);
    assert_eq!(tagged(r#"{"I32":2}"#, I32), Ok(Value::I32(2)));
    assert_eq!(tagged(r#"{ "F32" : "inf" }"#, F32), Ok(Value::F32(0x7f80_0000)));
    assert_eq!(tagged(r#"{"V128":5}"#, V128), Ok(Value::V128(5)));
    assert_eq!(tagged("340282366920938463463374607431768211455", V128), Ok(Value::V128(u128::MAX)));
    for (json, expected) in [
        (r#"{"I32":2}"#, Reason::Tag),
        (r#"{"I64":{"I64":2}}"#, Reason::Type),
        (r#"{"I64":2,"I32":2}"#, Reason::Type),
        (r#"{"i64":2}"#, Reason::Type),
        ("{}", Reason::Type),
    ] {
        let Err(InvalidParams::Value { reason, .. }) = tagged(json, I64) else { panic!("{json}") };
        assert_eq!(reason, expected, "{json}");
    }
    assert!(decode_one(r#"{"I32":2}"#, I32, Style::Plain).is_err());
}

#[test]
fn the_count_is_checked_and_messages_say_where() {
    let raw: &RawValue = serde_json::from_str("4294967296").unwrap();
    let error = decode(&[raw], &[ValueType::I32], Style::Plain).unwrap_err();
    assert_eq!(error.to_string(), "params[0]: expected i32, got 4294967296 (out of range)");
    let error = decode(&[raw], &[], Style::Plain).unwrap_err();
    assert_eq!(error.to_string(), "params: the function takes 0 parameters, got 1");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let error = decode_one(&deep, ValueType::F64, Style::Tagged).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn what_is_written() {
    for (value, plain, tagged) in [
        (Value::I32(-1), "-1", r#"{"I32":-1}"#),
        (Value::I64(i64::MIN), "\"-9223372036854775808\"", r#"{"I64":-9223372036854775808}"#),
        (Value::F32(0.1f32.to_bits()), "0.1", r#"{"F32":0.1}"#),
        (Value::F32((-0.0f32).to_bits()), "-0.0", r#"{"F32":-0.0}"#),
        (Value::F64(4f64.to_bits()), "4.0", r#"{"F64":4.0}"#),
        (Value::F64(f64::INFINITY.to_bits()), "\"inf\"", r#"{"F64":"inf"}"#),
        (nan32(0x40_0000), "\"nan:0x400000\"", r#"{"F32":"nan:0x400000"}"#),
        (Value::F64(u64::MAX), "\"-nan:0xfffffffffffff\"", r#"{"F64":"-nan:0xfffffffffffff"}"#),
        (Value::V128(5), "\"0x00000000000000000000000000000005\"", r#"{"V128":5}"#),
        (Value::Null, "null", "null"),
        (Value::Reference(ReferenceKind::Func), r#"{"ref":"func"}"#, r#"{"ref":"func"}"#),
    ] {
        assert_eq!(encode_one(value, Style::Plain), plain);
        assert_eq!(encode_one(value, Style::Tagged), tagged);
    }
}

fn value() -> impl Strategy<Value = (Value, ValueType)> {
    let exponent32 = any::<u32>().prop_map(|bits| bits | 0x7f80_0000);
    let exponent64 = any::<u64>().prop_map(|bits| bits | 0x7ff0_0000_0000_0000);
    prop_oneof![
        any::<i32>().prop_map(|value| (Value::I32(value), ValueType::I32)),
        any::<i64>().prop_map(|value| (Value::I64(value), ValueType::I64)),
        prop_oneof![any::<u32>(), exponent32].prop_map(|bits| (Value::F32(bits), ValueType::F32)),
        prop_oneof![any::<u64>(), exponent64].prop_map(|bits| (Value::F64(bits), ValueType::F64)),
        any::<u128>().prop_map(|bits| (Value::V128(bits), ValueType::V128)),
        Just((Value::Null, FUNCREF)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn wasm_to_json_to_wasm_is_the_identity((value, ty) in value()) {
        for style in [Style::Plain, Style::Tagged] {
            let json = encode_one(value, style);
            prop_assert_eq!(decode_one(&json, ty, style), Ok(value), "{}", json);
        }
    }

    #[test]
    fn any_json_text_is_decoded_or_refused(text in "[-0-9eE.+\"xnaifI:{} ]{0,40}") {
        if let Ok(raw) = serde_json::from_str::<&RawValue>(&text) {
            for ty in [
                ValueType::I32, ValueType::I64, ValueType::F32,
                ValueType::F64, ValueType::V128, FUNCREF,
            ] {
                let _ = decode(&[raw], &[ty], Style::Tagged);
            }
        }
    }
}

/// The bytes that are passed for a function of two integers.
fn decode_bytes(json: &str) -> Result<Vec<u8>, InvalidParams> {
    let raw: &RawValue = serde_json::from_str(json).unwrap();
    match decode(&[raw], &[ValueType::I32, ValueType::I32], Style::Plain)? {
        Params::WithBytes(params) => {
            assert_eq!(params.values[..], [Value::I32(0), Value::I32(0)]);
            let [passed] = params.bytes.try_into().unwrap();
            assert_eq!((passed.element, passed.param), (0, 0));
            passed.decode().map(|param| param.bytes)
        }
        Params::Plain(values) => panic!("{json} is no values: {values:?}"),
    }
}

#[test]
fn bytes_are_text_or_base64() {
    for (json, bytes) in [
        (r#"{"utf8":""}"#, &b""[..]),
        (r#"{"utf8":"h\u0069"}"#, b"hi"),
        (r#" { "\u0075tf8" : "hi" } "#, b"hi"),
        (r#"{"base64":"aGk="}"#, b"hi"),
        (r#"{"base64":"aGk"}"#, b"hi"),
    ] {
        assert_eq!(decode_bytes(json.trim()).as_deref(), Ok(bytes), "{json}");
    }
    for (json, message) in [
        (r#"{"utf8":"\ud800"}"#, "params[0]: expected i32 i32, got"),
        (r#"{"utf8":"a","x":[{},{"utf8":1}]}"#, "params[0]: expected i32 i32, got"),
        (r#"{"base64":"a_=="}"#, "params[0]: base64: Invalid symbol 95, offset 1"),
        (r#"{"base64":"aGk=="}"#, "params[0]: base64: "),
        (r#"{"text":"a"}"#, "params: the function takes 2 parameters, got 1"),
    ] {
        let error = decode_bytes(json).unwrap_err().to_string();
        assert!(error.starts_with(message), "{json}: {error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_passed(bytes: Vec<u8>, text: String) {
        use base64::Engine as _;
        let base64 = crate::source::BASE64.encode(&bytes);
        let json = serde_json::json!({ "base64": base64 }).to_string();
        prop_assert_eq!(decode_bytes(&json), Ok(bytes));
        let json = serde_json::json!({ "utf8": text }).to_string();
        prop_assert_eq!(decode_bytes(&json), Ok(text.into_bytes()));
    }
}
