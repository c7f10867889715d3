//! Values: Wasm → JSON → Wasm is the identity on bits, and JSON that is taken once is written in a
//! form that is taken for the same.

use serde_json::value::RawValue;
use wasm_exec::Style;
use wasm_exec::values::{Params, decode, encode_value};
use wasm_exec_engine::{Value, ValueType};

const TYPES: [ValueType; 7] = [
    ValueType::I32,
    ValueType::I64,
    ValueType::F32,
    ValueType::F64,
    ValueType::V128,
    ValueType::Reference { nullable: true, heap: "func" },
    ValueType::Reference { nullable: false, heap: "extern" },
];

/// The first byte chooses type and style, the others are bits and JSON.
pub(crate) fn check(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let ty = TYPES[usize::from(*choice) % TYPES.len()];
    let style = if choice & 0x80 == 0 { Style::Plain } else { Style::Tagged };
    if let Some(value) = of_bits(ty, rest) {
        check_value(value, ty, style);
    }
    let Ok(json) = serde_json::from_slice::<&RawValue>(rest) else { return };
    match decode(&[json], &[ty], style) {
        Ok(Params::Plain(values)) => check_value(values[0], ty, style),
        Ok(Params::WithBytes(_)) => panic!("bytes stand for two parameters, and there is one"),
        Err(refusal) => assert!(refusal.to_string().len() < 4096, "{refusal}"),
    }
}

fn of_bits(ty: ValueType, bytes: &[u8]) -> Option<Value> {
    let bits = u128::from_le_bytes(*bytes.first_chunk()?);
    Some(match ty {
        ValueType::I32 => Value::I32(bits as i32),
        ValueType::I64 => Value::I64(bits as i64),
        ValueType::F32 => Value::F32(bits as u32),
        ValueType::F64 => Value::F64(bits as u64),
        ValueType::V128 => Value::V128(bits),
        ValueType::Reference { .. } => return None,
    })
}

fn check_value(value: Value, ty: ValueType, style: Style) {
    let mut json = String::new();
    encode_value(value, style, &mut json);
    let raw: &RawValue = serde_json::from_str(&json).expect("what is written is JSON");
    match decode(&[raw], &[ty], style) {
        Ok(Params::Plain(again)) => assert_eq!(again[..], [value], "{json}"),
        other => panic!("{json} was read as {other:?}"),
    }
}
