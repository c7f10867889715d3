//! What holds for any text of a configuration file: it is refused with a line or a name that says where
//! it is wrong, or what is printed of it is a configuration file that means the same.

use std::fs;
use std::path::Path;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use wasm_exec_fuzz::Random;

use super::*;
use crate::cli::settings::Settings;

/// How many changes of the seeds are tried: the same in every run.
const MUTATIONS: u64 = 500;

/// Where the seeds are.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/config");

/// The longest that a refusal may be, in bytes, for a text of so many: it quotes what is wrong once or
/// twice, escaped.
fn longest_refusal(text: usize) -> usize {
    1024 + 10 * text
}

fn command() -> Command {
    Options::augment_args(Command::new("test")).mut_args(|option| option.env(None))
}

/// What a configuration file at this path says.
fn resolve(path: &Path, text: &str) -> Result<Settings, SettingsError> {
    fs::write(path, text).unwrap();
    let arguments = ["test".as_ref(), "--config".as_ref(), path.as_os_str()];
    let matches: ArgMatches = command().get_matches_from(arguments);
    Options::from_arg_matches(&matches).unwrap().resolve(&matches)
}

/// The values in a text that was printed, without where they come from.
fn values(text: &str) -> toml::Table {
    text.parse().unwrap()
}

fn check(path: &Path, names: &[String], text: &str) {
    match resolve(path, text) {
        Ok(settings) => {
            let printed = write(settings.lines).unwrap();
            let again =
                resolve(path, &printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
            assert_eq!(values(&write(again.lines).unwrap()), values(&printed), "{text:?}");
        }
        Err(SettingsError::Syntax { line, reason, .. }) => {
            assert!((1..=text.lines().count() + 1).contains(&line), "line {line} of {text:?}");
            assert!(!reason.is_empty(), "{text:?}");
        }
        Err(SettingsError::Unknown { members, .. }) => assert!(!members.is_empty(), "{text:?}"),
        Err(SettingsError::Member { name, reason, .. }) => {
            assert!(names.iter().any(|known| known == name) && !reason.is_empty(), "{text:?}");
        }
        Err(SettingsError::Read { source, .. }) => panic!("{source}"),
        Err(error) => {
            let message = crate::cli::message(&error);
            assert!(names.iter().any(|name| message.contains(name)), "{text:?}: {message}");
            assert!(message.len() <= longest_refusal(text.len()), "{text:?}: {message}");
        }
    }
}

#[test]
fn any_text_is_refused_for_a_reason_or_printed_as_what_it_means() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let command = command();
    let names = command.get_arguments().filter_map(|option| option.get_long());
    let names = names.filter(|name| *name != "config").map(ToOwned::to_owned);
    let names: Vec<String> = names.collect();
    let mut files: Vec<_> = fs::read_dir(SEEDS).unwrap().map(|file| file.unwrap().path()).collect();
    // The order of a folder is the file system's.
    files.sort();
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for seed in &seeds {
        check(&path, &names, str::from_utf8(seed).unwrap());
    }
    let mut random = Random::new(1);
    for _ in 0..MUTATIONS {
        let text = random.mutate(&seeds);
        check(&path, &names, &String::from_utf8_lossy(&text));
    }
}
