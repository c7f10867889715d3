//! The subcommands that only print.

use crate::support::Test;

#[test]
fn inspect_lists_imports_and_exports() {
    let module = r#"(module
      (import "utils" "double" (func (param i32 f64) (result i32)))
      (import "env" "memory" (memory 1 16))
      (func (export "start"))
      (table (export "table") 10 funcref)
      (global (export "counter") (mut i64) (i64.const 0))
      (tag (export "oops") (param i32))
      (func (export "a\1b[2J\"\n\e2\80\ae") (result funcref) (ref.null func)))"#;
    let listing = r#"import function "utils" "double" (param i32 f64) (result i32)
import memory "env" "memory" 1 16
export function "start"
export table "table" 10 funcref
export global "counter" (mut i64)
export tag "oops" (param i32)
export function "a\u{1b}[2J\"\n\u{202e}" (result funcref)
"#;
    Test::new("inspect module.wat").file("module.wat", module).stdout(listing).run();
    Test::new("inspect -").stdin(module).stdout(listing).run();
}

#[test]
fn inspect_refuses_what_is_no_module() {
    Test::new("inspect missing.wasm")
        .status(1)
        .stderr_has("error: missing.wasm: cannot be read: No such file")
        .run();
    Test::new("inspect invalid.wat")
        .file("invalid.wat", "(module (func (result i32)))")
        .status(1)
        .stderr_has("error: invalid.wat: at offset ")
        .run();
}

#[test]
fn completions_are_for_the_shell_that_is_named() {
    Test::new("completions bash").stdout_has("complete -F ").run();
    Test::new("completions zsh").stdout_has("#compdef wasm-exec-api").run();
    Test::new("completions elvish").stdout_has("wasm-exec-api").run();
    Test::new("completions basic").status(2).stderr_has("possible values").run();
}

#[test]
fn version_and_help_say_what_this_is() {
    Test::new("--version").stdout("wasm-exec-api 0.1.0\n").run();
    Test::new("--help").stdout_has("--data-directory <DIR>").stdout_has("completions").run();
    Test::new("run --help").stdout_has("--link <NAME=FILE>").run();
}

#[test]
fn settings_of_the_server_mean_nothing_to_other_subcommands() {
    Test::new("inspect -").environment("WASM_EXEC_PORT", "x").stdin("(module)").stdout("").run();
    Test::new("config").environment("WASM_EXEC_PORT", "x").status(2).stderr_has("--port").run();
    Test::new("--port 80 inspect x.wat").status(2).stderr_has("cannot be used with").run();
}
