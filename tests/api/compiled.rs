//! The documentation's example in C, compiled and run as it is written there.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::server::Server;

const DOCUMENTATION: &str = include_str!("../../docs/memory.md");

/// What the example needs. Where this variable is set, it is an error that something is missing.
const PROGRAMS: [&str; 3] = ["clang", "wasm-ld", "curl"];
const REQUIRED: &str = "REQUIRE_COMPILERS";

#[tokio::test]
async fn the_documented_example_in_c_works_as_typed() {
    let missing =
        PROGRAMS.iter().find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(missing) = missing {
        assert!(std::env::var_os(REQUIRED).is_none(), "{missing} is not installed");
        // Not by a macro, whose output is not shown when the test passes.
        let _ = writeln!(io::stderr(), "NOT TESTED: the example in C, since {missing} is missing");
        return;
    }
    let server = Server::start().await;
    let section = DOCUMENTATION.split("\n## ").find(|section| section.starts_with("C\n")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("title.c"), block(section, "c")).unwrap();
    let address = format!("http://{}", server.address());
    let mut commands = 0;
    for (command, expected) in examples(block(section, "console")) {
        let command = command.replace("http://localhost:4000", &address);
        let command = command.replace("curl ", "curl -sS --noproxy '*' ");
        let output = run(&command, directory.path()).await;
        assert!(output.status.success(), "{command}: {output:?}");
        let found = String::from_utf8(output.stdout).unwrap();
        assert!(
            matches(found.trim(), &expected),
            "{command}\nexpected: {expected}\nfound: {found}"
        );
        commands += 1;
    }
    assert_eq!(commands, 3);
}

async fn run(command: &str, directory: &Path) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(directory);
    tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap()
}

/// The first fenced block of a language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, after) = text.split_once(&format!("\n```{language}\n")).expect("there is one");
    after.split_once("\n```").expect("it ends").0
}

/// Commands, which begin with `$ `, and what they print.
fn examples(console: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    for line in console.lines() {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => output.push_str(line),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    examples
}

/// Whether a text is as expected, where `…` stands for anything.
fn matches(found: &str, expected: &str) -> bool {
    let mut pieces = expected.split('…');
    let Some(mut rest) = pieces.next().and_then(|start| found.strip_prefix(start)) else {
        return false;
    };
    let pieces: Vec<_> = pieces.collect();
    let Some((end, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(end)
}
