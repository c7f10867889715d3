//! Values: every type in and out, through guests that hand back what they get.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::support::server::Server;

/// Hands back a value of each type, and says its bits.
const ECHO: &str = r#"
    (module
      (func (export "i32") (param i32) (result i32) (local.get 0))
      (func (export "i64") (param i64) (result i64) (local.get 0))
      (func (export "f32") (param f32) (result f32) (local.get 0))
      (func (export "f64") (param f64) (result f64) (local.get 0))
      (func (export "v128") (param v128) (result v128) (local.get 0))
      (func (export "funcref") (param funcref) (result funcref) (local.get 0))
      (func (export "externref") (param externref) (result externref) (local.get 0))
      (func (export "anyref") (param anyref) (result anyref) (local.get 0))
      (func (export "exnref") (param exnref) (result exnref) (local.get 0))
      (func (export "(ref func)") (param (ref func)))
      (func (export "f32 bits") (param f32) (result i32) (i32.reinterpret_f32 (local.get 0)))
      (func (export "f64 bits") (param f64) (result i64) (i64.reinterpret_f64 (local.get 0)))
      (func (export "lane 0") (param v128) (result i32) (i32x4.extract_lane 0 (local.get 0)))
      (func (export "lane 3") (param v128) (result i32) (i32x4.extract_lane 3 (local.get 0))))"#;

async fn server() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/echo").wat(ECHO).await.created();
    server
}

/// Calls a function with one parameter, both as JSON text; the text matters, since a JSON library
/// would round numbers and drop the sign of zero.
async fn call(server: &Server, function: &str, param: &str) -> String {
    #[derive(Deserialize)]
    struct Answer {
        results: Box<RawValue>,
    }
    let function = json!(function);
    let body = format!(r#"{{"module":"echo","function":{function},"params":[{param}]}}"#);
    let response = server.post("/v1/call").json_text(body).await.has_status(200);
    let answer: Answer = serde_json::from_slice(&response.body).unwrap();
    let results = answer.results.get();
    results[1..results.len() - 1].to_owned()
}

#[tokio::test]
async fn values_come_out_in_one_notation() {
    let server = server().await;
    for (function, param, result) in [
        ("i32", "0", "0"),
        ("i32", "-0", "0"),
        ("i32", "2147483647", "2147483647"),
        ("i32", "-2147483648", "-2147483648"),
        ("i32", "2147483648", "-2147483648"),
        ("i32", "4294967295", "-1"),
        ("i64", "0", r#""0""#),
        ("i64", "9007199254740993", r#""9007199254740993""#),
        ("i64", "9223372036854775807", r#""9223372036854775807""#),
        ("i64", "-9223372036854775808", r#""-9223372036854775808""#),
        ("i64", "18446744073709551615", r#""-1""#),
        ("i64", r#""18446744073709551615""#, r#""-1""#),
        ("i64", r#""-5""#, r#""-5""#),
        ("f32", "0", "0.0"),
        ("f32", "-0.0", "-0.0"),
        ("f32", "-0", "-0.0"),
        ("f32", r#""-0""#, "-0.0"),
        ("f32", "0.1", "0.1"),
        ("f32", "16777217", "16777216.0"),
        ("f32", "3.4028235e38", "3.4028235e+38"),
        ("f32", "1e-45", "1e-45"),
        ("f32", "1e-400", "0.0"),
        ("f32", r#""inf""#, r#""inf""#),
        ("f32", r#""-inf""#, r#""-inf""#),
        ("f32", r#""nan""#, r#""nan:0x400000""#),
        ("f32", r#""-nan""#, r#""-nan:0x400000""#),
        ("f32", r#""nan:0x200000""#, r#""nan:0x200000""#),
        ("f32", r#""-nan:0x7FFFFF""#, r#""-nan:0x7fffff""#),
        ("f64", "1", "1.0"),
        ("f64", "-0.0", "-0.0"),
        ("f64", "0.1", "0.1"),
        ("f64", "1.7976931348623157e308", "1.7976931348623157e+308"),
        ("f64", "5e-324", "5e-324"),
        ("f64", "9007199254740993", "9007199254740992.0"),
        ("f64", r#""nan""#, r#""nan:0x8000000000000""#),
        ("f64", r#""-nan:0x1""#, r#""-nan:0x1""#),
        (
            "v128",
            r#""0x000102030405060708090A0B0C0D0E0F""#,
            r#""0x000102030405060708090a0b0c0d0e0f""#,
        ),
        ("funcref", "null", "null"),
        ("externref", "null", "null"),
        ("anyref", "null", "null"),
        ("exnref", "null", "null"),
    ] {
        assert_eq!(call(&server, function, param).await, result, "{param} as {function}");
    }
}

#[tokio::test]
async fn what_came_out_can_go_in_again_with_the_same_bits() {
    let server = server().await;
    for (ty, bits) in [
        ("f32", &["0", "-2147483648", "1", "2139095040", "2139095041", "-1", "1065353216"][..]),
        (
            "f64",
            &["0", "-9223372036854775808", "1", "9218868437227405313", "-1", "4607182418800017409"],
        ),
    ] {
        for wanted in bits {
            // The value that has these bits, as the server writes it.
            let function = if ty == "f32" { "f32.reinterpret_i32" } else { "f64.reinterpret_i64" };
            let int = if ty == "f32" { "i32" } else { "i64" };
            let wat = format!(
                r#"(module (func (export "f") (result {ty}) ({function} ({int}.const {wanted}))))"#
            );
            let body = json!({ "wat": wat, "function": "f" }).to_string();
            let response = server.post("/v1/call").json_text(body).await.has_status(200);
            let text = response.text();
            let start = text.find("\"results\":[").unwrap() + "\"results\":[".len();
            let written = &text[start..start + text[start..].find(']').unwrap()];
            let bits = call(&server, &format!("{ty} bits"), written).await;
            assert_eq!(bits.trim_matches('"'), *wanted, "{written}");
        }
    }
}

#[tokio::test]
async fn a_vector_is_one_big_endian_integer_with_lane_0_last() {
    let server = server().await;
    let vector = r#""0x00000003000000020000000100000000""#;
    assert_eq!(call(&server, "lane 0", vector).await, "0");
    assert_eq!(call(&server, "lane 3", vector).await, "3");
}

#[tokio::test]
async fn a_value_of_another_type_is_refused() {
    let server = server().await;
    for (ty, params) in [
        ("i32", &["4294967296", "-2147483649", "1.0", "1e0", r#""1""#, "true", "null", "[]"][..]),
        (
            "i64",
            &[
                "18446744073709551616",
                "-9223372036854775809",
                "1.0",
                r#""1.0""#,
                r#""0x1""#,
                r#"" 1""#,
                r#""""#,
                "null",
            ],
        ),
        (
            "f32",
            &[
                "1e39",
                "-3.5e38",
                "1e400",
                r#""1""#,
                r#""NaN""#,
                r#""nan:0x0""#,
                r#""nan:0x800000""#,
            ],
        ),
        ("f64", &["1e400", "-1e309", r#""infinity""#, r#""nan:1""#, "true", "null"]),
        ("v128", &["1", r#""1""#, r#""0x1""#, r#""0x0g""#, "null", "[0,0,0,0]"]),
        ("funcref", &["1", "{}", r#"{"ref":"func"}"#]),
        ("externref", &[r#"{"extern":1}"#, "0", r#""null""#]),
        ("(ref func)", &["null"]),
    ] {
        for param in params {
            let function = json!(ty);
            let body = format!(r#"{{"module":"echo","function":{function},"params":[{param}]}}"#);
            let problem = server.post("/v1/call").json_text(body).await;
            let problem = problem.problem(422, "invalid-params");
            let problem = problem.has(json!({ "index": 0, "expected": ty, "found": param }));
            problem.says(&[&format!("params[0]: expected {ty}, got {param}")]).has_not("usage");
        }
    }
}

#[tokio::test]
async fn references_are_told_by_their_kind() {
    let server = Server::start().await;
    let wat = r#"(module
        (type $s (struct))
        (type $a (array i8))
        (tag $t)
        (func $f (export "func") (result funcref) (ref.func $f))
        (func (export "struct") (result (ref $s)) (struct.new $s))
        (func (export "array") (result (ref array)) (array.new_default $a (i32.const 3)))
        (func (export "i31") (result i31ref) (ref.i31 (i32.const 5)))
        (func (export "any") (result anyref) (ref.i31 (i32.const 5)))
        (func (export "exn") (result exnref)
          (block $caught (result exnref)
            (try_table (catch_all_ref $caught) (throw $t))
            unreachable))
        (func (export "null") (result nullref nullfuncref nullexternref structref)
          (ref.null none) (ref.null nofunc) (ref.null noextern) (ref.null struct))
        (func (export "extern") (result externref) (extern.convert_any (struct.new $s))))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    for (function, results) in [
        ("func", json!([{ "ref": "func" }])),
        ("struct", json!([{ "ref": "struct" }])),
        ("array", json!([{ "ref": "array" }])),
        ("i31", json!([{ "ref": "i31" }])),
        ("any", json!([{ "ref": "i31" }])),
        ("exn", json!([{ "ref": "exn" }])),
        ("extern", json!([{ "ref": "extern" }])),
        ("null", json!([null, null, null, null])),
    ] {
        let call = server.post(&format!("/v1/modules/m/functions/{function}")).await;
        assert_eq!(call.ok(json!({}))["results"], results, "{function}");
    }
}

#[tokio::test]
async fn as_many_values_as_the_function_has() {
    let server = Server::start().await;
    let types = "i32 i64 f32 f64 ".repeat(25);
    let locals: String = (0..100).map(|index| format!("(local.get {index})")).collect();
    let wat = format!(r#"(module (func (export "f") (param {types}) (result {types}) {locals}))"#);
    server.put("/v1/modules/m").wat(wat).await.created();
    let params: Vec<_> = (0..100).map(|index| json!(index)).collect();
    let results: Vec<_> = (0..100)
        .map(|index| match index % 4 {
            0 => json!(index),
            1 => json!(index.to_string()),
            _ => json!(f64::from(index)),
        })
        .collect();
    let call = server.post("/v1/modules/m/functions/f");
    call.json(json!({ "params": params })).await.ok(json!({ "results": results }));
    for count in [99, 101] {
        let params = vec![0; count];
        let call = server.post("/v1/modules/m/functions/f").json(json!({ "params": params })).await;
        let problem = call.problem(422, "invalid-params");
        problem.has(json!({ "expected": 100, "found": count }));
    }
}
