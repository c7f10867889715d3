//! Guests that several tests send, in the text format, and the bytes of the original's examples.

/// Exports `double`, as the original's documentation has it.
pub(crate) const DOUBLE_HEX: &str =
    "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b";

/// The text of the same bytes.
pub(crate) const DOUBLE: &str = r#"
    (module
      (func (export "double") (param i32) (result i32)
        (i32.mul (local.get 0) (i32.const 2))))"#;

/// SHA-256 of the bytes, and of the manifest `{"links":{},"wasm":"sha256:45eb…"}`.
pub(crate) const DOUBLE_BLOB: &str =
    "sha256:45eb05dbe0a0a2df47788f382ba1d87adab365e30c522c7bc86e0d0e705b1395";
pub(crate) const DOUBLE_DIGEST: &str =
    "sha256:20fb4fe486ae23a082faea51e32474934623dd848b2ee82a36014d994dd1de75";

/// Imports `utils` `double` and exports `double_twice`, as the original's documentation has it.
pub(crate) const TWICE_HEX: &str = "0061736d0100000001060160017f017f021001057574696c7306646f75626c\
    650000030201000710010c646f75626c655f747769636500010a0a0108002000100010000b";

/// SHA-256 of the bytes, and of the manifest `{"links":{"utils":"sha256:20fb…"},"wasm":"sha256:736a…"}`.
pub(crate) const TWICE_BLOB: &str =
    "sha256:736a300e3e89977f8e6c77948d8af81caca21f82e85943909cbea962a8d664c1";
pub(crate) const TWICE_DIGEST: &str =
    "sha256:bd9a0375c51a89ca0eafad51e3e3d9c1a6ba12e262a95cdb4cb821a043ecabc9";

/// Exports `double`, of the same type and with another meaning.
pub(crate) const TRIPLE: &str = r#"
    (module
      (func (export "double") (param i32) (result i32)
        (i32.mul (local.get 0) (i32.const 3))))"#;

/// Ends in ways that guests should not, or not at all.
pub(crate) const UNRULY: &str = r#"
    (module
      (memory (export "memory") 1)
      (func (export "fine"))
      (func (export "trap") unreachable)
      (func (export "loop") (loop (br 0)))
      (func $recurse (export "recurse") (call $recurse))
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "grow_or_trap") (param i32)
        (if (i32.eq (memory.grow (local.get 0)) (i32.const -1)) (then unreachable))))"#;

/// A module that exports `answer`, which gives `number`.
pub(crate) fn answering(number: i32) -> String {
    format!(r#"(module (func (export "answer") (result i32) (i32.const {number})))"#)
}

/// A module that takes a while to compile: its `f` adds its parameter so many times to `start`.
pub(crate) fn adding(times: usize, start: i32) -> String {
    let adds = "(i32.add (local.get 0))".repeat(times);
    format!(r#"(module (func (export "f") (param i32) (result i32) (i32.const {start}) {adds}))"#)
}

/// The bytes that hex digits stand for.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).expect("a hex digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
