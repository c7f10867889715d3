//! The modules that are called.

use serde_json::json;

use crate::client::Client;

/// The smallest useful module: no memory, no table.
pub(crate) const DOUBLE: &str = r#"(module
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))"#;

/// Like what a compiler emits: 17 pages of memory, a table, a data segment, two pages dirtied.
pub(crate) const MEM17: &str = r#"(module
  (memory (export "memory") 17)
  (table 8 funcref)
  (elem (i32.const 1) func $double)
  (global $sp (mut i32) (i32.const 1048576))
  (data (i32.const 1048576) "some initialized data, as every compiler's output has")
  (func $double (export "double") (param i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.store (i32.const 1048500) (local.get 0))
    (i32.mul (local.get 0) (i32.const 2))))"#;

/// Never ends.
pub(crate) const LOOP: &str = r#"(module (func (export "loop") (loop (br 0))))"#;

/// A module like `DOUBLE` that differs in a constant, so that nobody has seen it.
pub(crate) fn variant(number: usize) -> String {
    format!(
        r#"(module (func (export "double") (param i32) (result i32)
             (i32.add (i32.mul (local.get 0) (i32.const 2)) (i32.const {number}))))"#
    )
}

/// A variant in binary, as hex digits: what a client would send.
pub(crate) fn variant_hex(number: usize) -> String {
    let wasm = wasm_exec_engine::text::parse(&variant(number)).expect("it is valid");
    wasm.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Registers a module by its text.
pub(crate) fn register(client: &mut Client, name: &str, wat: &str) {
    let body = json!({ "module_name": name, "wat": wat }).to_string();
    client.post("/register", &body).expect("it registers");
}
