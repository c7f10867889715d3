//! What holds of requests and cannot be said by their types: which members exclude each other, how
//! texts are written, and how much there may be of something.
//!
//! Together with the types this is all that makes a request readable: one that the document allows
//! is never `invalid-request`, whatever else becomes of it.

use serde_json::{Map, Value, json};

use crate::routes::{MAXIMUM_ELEMENTS, MAXIMUM_LINKS};

/// Pairs of hex digits.
const HEX: &str = "^([0-9A-Fa-f]{2})*$";

/// Base64, padded or not; the bits that are left over are zero.
const BASE64: &str = "^([A-Za-z0-9+/]{4})*\
    ([A-Za-z0-9+/][AQgw](==)?|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=?)?$";

/// A name or a module digest. Reserved namespaces, and versions' finer points, are left out.
const REFERENCE: &str = "^(sha256:[0-9a-f]{64}|\
    ([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}:)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\
    (@(0|[1-9][0-9]{0,8})\\.(0|[1-9][0-9]{0,8})\\.(0|[1-9][0-9]{0,8})(-[0-9A-Za-z]{1,16})?)?)$";

/// `IMPORT=MODULE`.
const LINK: &str = "=";

/// What is answered to heads that are not read to their end, before they are a request.
const UNREADABLE_HEADS: [(&str, &str); 2] = [
    ("414", "The target has more than 65,534 bytes"),
    ("431", "The head has too many headers or bytes"),
];

/// The largest integer that every JSON library reads exactly; limits are far below.
const LARGEST: u64 = (1 << 53) - 1;

/// The members of which exactly one brings the Wasm, by schema.
const SOURCES: [(&str, &[&str]); 5] = [
    ("RunRequest", &["wasm_hex", "wasm_base64", "wat"]),
    ("RegisterRequest", &["wasm_hex", "wasm_base64", "wat"]),
    ("RegisterModule", &["wasm_hex", "wasm_base64", "wat"]),
    ("CallRequest", &["module", "wasm_hex", "wasm_base64", "wat"]),
    ("CreateInstance", &["module", "wasm_hex", "wasm_base64", "wat"]),
];

/// What a call with an empty body is, which these take.
const EMPTY_BODIES: [&str; 3] = ["call_function", "call_instance", "create_session"];

/// The members of which exactly one brings the bytes that are put into a memory.
const WRITTEN: [&str; 2] = ["utf8", "base64"];

/// Adds all of it to the document.
pub(super) fn add(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    for (schema, members) in SOURCES {
        let schema = &mut schemas[schema];
        schema["oneOf"] = members.iter().map(|member| only(member, members)).collect();
        let properties = &mut schema["properties"];
        properties["wasm_hex"]["pattern"] = HEX.into();
        properties["wasm_base64"]["pattern"] = BASE64.into();
        if properties.get("links").is_some() {
            properties["links"]["maxProperties"] = MAXIMUM_LINKS.into();
        }
    }
    // Links are of Wasm that is sent along.
    schemas["CallRequest"]["oneOf"][0]["properties"]["links"] = json!({ "type": "null" });
    schemas["InstanceLink"]["oneOf"] = json!([
        { "$ref": "#/components/schemas/LinkedInstance" },
        { "type": "string", "description": "The name or digest of a registered module." },
    ]);
    let write = &mut schemas["MemoryWrite"];
    write["oneOf"] = json!([only("utf8", &WRITTEN), only("base64", &WRITTEN)]);
    write["properties"]["base64"]["pattern"] = BASE64.into();
    schemas["ResultIndex"]["properties"]["result"]["maximum"] = LARGEST.into();
    for list in ["read", "write"] {
        schemas["MemoryRequest"]["properties"][list]["maxItems"] = MAXIMUM_ELEMENTS.into();
    }
    for limits in ["CallLimits", "SessionLimits", "SessionCallLimits", "CreateSession"] {
        for limit in properties(&mut schemas[limits]).filter(|limit| limit.get("minimum").is_some())
        {
            limit["maximum"] = LARGEST.into();
        }
    }
    for path in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in path.as_object_mut().into_iter().flat_map(Map::values_mut) {
            add_to_operation(operation);
        }
    }
}

/// The member is given and no other; null is as good as nothing.
fn only(member: &str, members: &[&str]) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|name| {
            let ty = if *name == member { "string" } else { "null" };
            ((*name).to_owned(), json!({ "type": ty }))
        })
        .collect();
    json!({ "required": [member], "properties": properties })
}

fn properties(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut)
}

fn add_to_operation(operation: &mut Value) {
    let id = operation["operationId"].as_str();
    if id.is_some_and(|id| EMPTY_BODIES.contains(&id)) {
        operation["requestBody"]["required"] = false.into();
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        match parameter["name"].as_str() {
            Some("module") => {
                parameter["schema"]["pattern"] = REFERENCE.into();
                parameter["example"] = "utils".into();
            }
            Some("function") => {
                parameter["schema"]["minLength"] = 1.into();
                parameter["example"] = "double".into();
            }
            Some("link") => {
                parameter["schema"]["maxItems"] = MAXIMUM_LINKS.into();
                parameter["schema"]["items"]["pattern"] = LINK.into();
            }
            _ => {}
        }
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, what) in UNREADABLE_HEADS {
            let description = format!("{what}; the answer is empty, and the connection is closed");
            responses.insert(status.to_owned(), json!({ "description": description }));
        }
    }
    let request = operation.pointer_mut("/requestBody/content");
    binary(request);
    for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        binary(response.get_mut("content"));
    }
}

/// Bytes are no JSON, so no schema says anything of them.
fn binary(content: Option<&mut Value>) {
    if let Some(wasm) = content.and_then(|content| content.get_mut("application/wasm")) {
        *wasm = json!({});
    }
}
