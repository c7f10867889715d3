//! JSON Schemas (2020-12) of parameters and results.

use serde_json::{Value as Json, json};

/// Which way values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Parameters: every notation that is accepted.
    In,
    /// Results: the one notation that is used.
    Out,
}

/// The schema of a function's parameters or results, from their types in the text format's syntax.
pub fn schema(types: &[String], direction: Direction) -> Json {
    let items: Vec<Json> = types.iter().map(|ty| value_schema(ty, direction)).collect();
    let mut schema = json!({
        "type": "array",
        "minItems": items.len(),
        "maxItems": items.len(),
    });
    if !items.is_empty() {
        schema["prefixItems"] = Json::Array(items);
    }
    schema
}

fn value_schema(ty: &str, direction: Direction) -> Json {
    match (ty, direction) {
        ("i32", Direction::In) => {
            json!({ "type": "integer", "minimum": i32::MIN, "maximum": u32::MAX })
        }
        ("i32", Direction::Out) => {
            json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
        }
        ("i64", Direction::In) => json!({
            "type": ["integer", "string"],
            "minimum": i64::MIN, "maximum": u64::MAX,
            "pattern": "^-?[0-9]+$",
        }),
        ("i64", Direction::Out) => json!({ "type": "string", "pattern": "^-?[0-9]+$" }),
        ("f32" | "f64", Direction::In) => json!({
            "type": ["number", "string"],
            "pattern": "^(-?(inf|nan(:0x[0-9A-Fa-f]+)?)|-0)$",
        }),
        ("f32" | "f64", Direction::Out) => json!({
            "type": ["number", "string"],
            "pattern": "^-?(inf|nan:0x[0-9a-f]+)$",
        }),
        ("v128", _) => json!({ "type": "string", "pattern": "^0x[0-9A-Fa-f]{32}$" }),
        (_, Direction::In) => json!({ "type": "null" }),
        (_, Direction::Out) => json!({
            "type": ["null", "object"],
            "properties": { "ref": { "type": "string" } },
        }),
    }
}
