//! The command line: without a subcommand the server, with one a tool that needs no server.
//!
//! Whatever goes wrong ends as one line on stderr, `error: …` with its causes. The exit status is 1,
//! or 2 where it is the command line that is wrong; `run` keeps 1 for guests that fail and ends with
//! 2 for everything else.

mod completions;
mod config;
mod inspect;
mod keys;
mod memory;
mod module_file;
mod output;
#[cfg(feature = "network")]
mod peers;
mod run;
mod serve;
mod settings;

use std::error::Error;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use completions::CompletionsArgs;
use inspect::InspectArgs;
use keys::KeysArgs;
use output::{message, print, printable};
#[cfg(feature = "network")]
use peers::PeersArgs;
use run::RunArgs;
use settings::Options;

/// Serve WebAssembly over HTTP: any exported function, plain JSON
///
/// Without a subcommand this is the server. Each setting is a flag, an environment variable or a
/// member of the file that --config names, in this order of precedence. A repeatable flag can also
/// be given once, with commas between the values.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the effective settings as TOML, each with where it comes from
    Config(Box<Options>),
    /// Print how much memory the server may take at most with these settings, and for what
    Memory(Box<Options>),
    /// Call a function of a Wasm file, without a server
    Run(RunArgs),
    /// List what a Wasm file exports and imports
    Inspect(InspectArgs),
    /// Make, list and revoke API keys
    Keys(KeysArgs),
    /// List the nodes that a running server is connected to
    #[cfg(feature = "network")]
    Peers(PeersArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Compile what the server that started this sends
    #[command(hide = true)]
    CompileWorker,
}

/// Runs what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let arguments = run::quote_negative_specials(std::env::args_os());
    let mut command = Cli::command();
    if arguments.get(1).is_some_and(|argument| command.find_subcommand(argument).is_some()) {
        // The options beside a subcommand are not used, so their variables need not make sense.
        command = command.mut_args(|option| option.env(None));
    }
    let matches = command.get_matches_from(arguments);
    let Cli { command, options } = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let own = matches.subcommand().map_or(&matches, |(_, own)| own);
    match command {
        None => finish(serve::execute(options, own), 1),
        Some(Command::Config(options)) => finish(config::execute(*options, own), 1),
        Some(Command::Memory(options)) => finish(memory::execute(*options, own), 1),
        Some(Command::Run(args)) => finish(run::execute(&args), 2),
        Some(Command::Inspect(args)) => finish(inspect::execute(&args), 1),
        Some(Command::Keys(args)) => finish(keys::execute(args), 1),
        #[cfg(feature = "network")]
        Some(Command::Peers(args)) => finish(peers::execute(&args), 1),
        Some(Command::Completions(args)) => finish(completions::execute(&args, Cli::command()), 1),
        Some(Command::CompileWorker) => finish(wasm_exec_engine::run_compile_worker(), 1),
    }
}

/// The exit status of what was asked for; `failure` if it ended with an error, which is printed.
fn finish<T: Termination, E: Error>(result: Result<T, E>, failure: u8) -> ExitCode {
    match result {
        Ok(done) => done.report(),
        Err(error) => {
            print_error(&message(&error));
            ExitCode::from(failure)
        }
    }
}

/// Prints an error's line.
fn print_error(message: &str) {
    // Where even stderr is gone, the exit status has to do.
    let _ = writeln!(io::stderr(), "error: {}", printable(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
