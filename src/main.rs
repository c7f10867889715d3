//! `wasm-exec-api`: a server that runs WebAssembly sent to it over HTTP, and the tools around it.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
