//! Guests: the light one that honest callers call, and those that mean harm.

use serde_json::json;

use crate::client::Client;

/// What honest callers call.
pub(crate) const DOUBLE: &str = r#"(module
  (func (export "f") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))"#;

/// Does some arithmetic, as many times as its parameter says.
pub(crate) const SPIN: &str = r#"(module
  (func (export "f") (param $times i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $times)))
      (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
    (local.get $sum)))"#;

/// Names and texts of the guests that never end, or end badly as often as they are asked.
pub(crate) const HOSTILE: [(&str, &str); 5] = [
    ("loop", r#"(module (func (export "f") (loop (br 0))))"#),
    (
        "fill",
        r#"(module (memory 960)
             (func (export "f")
               (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560)) (br 0))))"#,
    ),
    (
        "recursion",
        r#"(module (func $f (export "f") (param i64 i64) (call $f (local.get 1) (local.get 0))))"#,
    ),
    (
        "growth",
        r#"(module (memory 1)
             (func (export "f") (local $page i32)
               (loop
                 (local.set $page (memory.grow (i32.const 16)))
                 (if (i32.ne (local.get $page) (i32.const -1))
                   (then (memory.fill (i32.shl (local.get $page) (i32.const 16)) (i32.const 1)
                     (i32.const 1048576))))
                 (br 0))))"#,
    ),
    ("start", r#"(module (func $start (loop (br 0))) (start $start) (func (export "f")))"#),
];

/// The path that calls a registered guest.
pub(crate) fn path(name: &str) -> String {
    format!("/v1/modules/{name}/functions/f")
}

/// Registers all guests.
pub(crate) fn register_all(url: &str) {
    let mut client = Client::connect(url);
    for (name, wat) in [("double", DOUBLE), ("spin", SPIN)].into_iter().chain(HOSTILE) {
        let body = json!({ "module_name": name, "wat": wat }).to_string();
        client.post("/register", &body).expect("it registers");
    }
}

/// A module like [`DOUBLE`] that differs in a constant, so that nobody has seen it.
pub(crate) fn variant(number: u64) -> String {
    format!(
        r#"(module (func (export "f") (param i32) (result i32)
             (i32.add (i32.mul (local.get 0) (i32.const 2)) (i32.const {}))))"#,
        number % (1 << 31)
    )
}
