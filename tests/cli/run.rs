//! `run`: calls without a server.

use crate::support::Test;

/// `double` of the reference's examples, as binary.
const DOUBLE: &[u8] = b"\0asm\x01\0\0\0\x01\x06\x01\x60\x01\x7f\x01\x7f\x03\x02\x01\0\
    \x07\x0a\x01\x06double\0\0\x0a\x09\x01\x07\0\x20\0\x41\x02\x6c\x0b";

const ADD: &str = r#"(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#;

/// Gives back what it is given.
const ECHO: &str = r#"(module
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "v128") (param v128) (result v128) (local.get 0))
  (func (export "func") (param funcref) (result funcref) (local.get 0))
  (func (export "all") (param i32 f64) (result i32 f64) (local.get 0) (local.get 1)))"#;

const FAIL: &str = r#"(module
  (func $div (export "div") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
  (func $outer (export "outer") (result i32) (call $div (i32.const 0)))
  (func (export "loop") (loop (br 0)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (memory 1))"#;

#[test]
fn takes_wasm_and_text_from_files_and_stdin() {
    Test::new("run double.wasm double 2").file("double.wasm", DOUBLE).stdout("4\n").run();
    Test::new("run add.wat add 1 2").file("add.wat", ADD).stdout("3\n").run();
    // The name does not matter.
    Test::new("run double.wat double 2").file("double.wat", DOUBLE).stdout("4\n").run();
    Test::new("run - double 2").stdin(DOUBLE).stdout("4\n").run();
    Test::new("run - add 1 2").stdin(ADD).stdout("3\n").run();
}

#[test]
fn negative_numbers_are_parameters() {
    let add = |arguments: &str| Test::new(arguments).stdin(ADD);
    add("run - add -1 2").stdout("1\n").run();
    add("run - add -1 -2 --timeout-ms 900").stdout("-3\n").run();
    add("run --timeout-ms 900 - add 1 -2").stdout("-1\n").run();
    add("run - add -- -1 -2").stdout("-3\n").run();
}

#[test]
fn strings_need_no_quotes() {
    for (call, result) in [
        ("f32 inf", "\"inf\""),
        ("f64 -inf", "\"-inf\""),
        ("f32 nan", "\"nan:0x400000\""),
        ("f32 -nan:0x1", "\"-nan:0x1\""),
        ("f64 -0", "-0.0"),
        ("f64 1e3", "1000.0"),
        ("i64 18446744073709551615", "\"-1\""),
        ("i64 \"-9223372036854775808\"", "\"-9223372036854775808\""),
        ("v128 0x000102030405060708090a0b0c0d0e0f", "\"0x000102030405060708090a0b0c0d0e0f\""),
        ("func null", "null"),
    ] {
        Test::new(&format!("run - {call}")).stdin(ECHO).stdout(&format!("{result}\n")).run();
    }
}

#[test]
fn results_are_one_a_line() {
    Test::new("run - all -7 0.5").stdin(ECHO).stdout("-7\n0.5\n").run();
    Test::new("run - f").stdin("(module (func (export \"f\")))").stdout("").run();
}

#[test]
fn links_may_import_from_each_other() {
    let twice = r#"(module (import "utils" "double" (func $d (param i32) (result i32)))
        (func (export "twice") (param i32) (result i32) (call $d (call $d (local.get 0)))))"#;
    let root = r#"(module (import "my/twice" "twice" (func $t (param i32) (result i32)))
        (import "utils" "double" (func $d (param i32) (result i32)))
        (func (export "all") (param i32) (result i32) (call $d (call $t (local.get 0)))))"#;
    Test::new("run root.wat all 1 --link my/twice=twice.wat --link utils=double.wasm")
        .file("root.wat", root)
        .file("twice.wat", twice)
        .file("double.wasm", DOUBLE)
        .stdout("8\n")
        .run();
}

#[test]
fn links_that_do_not_go_together_are_refused() {
    let imports =
        |from: &str| format!("(module (import \"{from}\" \"f\" (func)) (export \"f\" (func 0)))");
    let refused = |arguments: &str, message: &str| {
        Test::new(arguments)
            .file("a.wat", imports("b"))
            .file("b.wat", imports("a"))
            .file("root.wat", imports("a"))
            .status(2)
            .stdout("")
            .stderr_has(message)
            .run();
    };
    refused(
        "run root.wat f --link a=a.wat --link b=b.wat",
        "error: the links import from each other in a cycle: \"a\" (a.wat) → \"b\" (b.wat) → \"a\" (a.wat)\n",
    );
    refused("run root.wat f --link a=a.wat --link a=b.wat", "--link \"a\" is given twice");
    refused("run root.wat f --link a=a.wat --link c=b.wat --link b=b.wat", "in a cycle");
    refused("run root.wat f --link c=a.wat", "--link \"c\" (a.wat): nothing that is called");
    refused("run root.wat f --link a=a.wat", "error: a.wat: ");
    refused("run root.wat f", "error: root.wat: ");
    refused("run root.wat f --link a=missing.wat", "error: missing.wat: cannot be read: ");
    refused("run root.wat f --link a", "expected NAME=FILE");
}

#[test]
fn a_call_that_cannot_be_made_is_no_failure_of_the_guest() {
    let refused = |arguments: &str, message: &str| {
        Test::new(arguments)
            .file("add.wat", ADD)
            .file("text.wat", "(module\n  (fun))")
            .file("invalid.wat", "(module (func (result i32)))")
            .file("image.png", b"\x89PNG\r\n")
            .status(2)
            .stdout("")
            .stderr_has(message)
            .run();
    };
    refused(
        "run add.wat add 1",
        "error: add.wat: params: the function takes 2 parameters, got 1\n",
    );
    refused("run add.wat add 1 x", "error: add.wat: params[1]: expected i32, got \"x\"");
    refused(
        "run add.wat add 1 4294967296",
        "params[1]: expected i32, got 4294967296 (out of range)",
    );
    refused("run add.wat sub 1 2", "no function \"sub\"; the module exports \"add\"");
    refused("run missing.wasm add", "error: missing.wasm: cannot be read: No such file");
    refused("run text.wat add", "error: text.wat: line 2, column 4: ");
    refused("run invalid.wat f", "error: invalid.wat: at offset ");
    refused("run image.png add", "error: image.png: neither Wasm nor text");
    refused("run add.wat", "<FUNCTION>");
}

#[test]
fn a_guest_that_fails_says_where() {
    Test::new("run fail.wat outer")
        .file("fail.wat", FAIL)
        .status(1)
        .stdout("")
        .stderr_has("error: the guest trapped: an integer was divided by zero\n")
        .stderr_has("\n  at div (fail.wat, function 0, offset 0x")
        .stderr_has("\n  at outer (fail.wat, function 1, offset 0x")
        .run();
}

#[test]
fn limits_hold() {
    let fails = |call: &str, message: &str| {
        Test::new(&format!("run - {call}")).stdin(FAIL).status(1).stderr_has(message).run();
    };
    fails("loop --timeout-ms 50", "error: the call took more than 50 ms\n");
    fails("loop --fuel 1000", "error: the call used up its fuel\n");
    fails("loop --memory-bytes 1KiB", "memory");
    Test::new("run - grow 1 --memory-bytes 64KiB").stdin(FAIL).stdout("-1\n").run();
    Test::new("run - grow 8191 --memory-bytes 512MiB").stdin(FAIL).stdout("1\n").run();
}
