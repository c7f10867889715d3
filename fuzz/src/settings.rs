//! The configuration file: any text is refused with a line or a name that says where it is wrong, or
//! what is printed of it is a configuration file that means the same.

use std::io::Write;
use std::sync::LazyLock;

use clap::{Args, Command, FromArgMatches};
use tempfile::NamedTempFile;

use crate::cli::config::write;
use crate::cli::message;
use crate::cli::settings::{Options, Settings, SettingsError};

/// A command that takes the settings, and none from the environment.
static COMMAND: LazyLock<Command> =
    LazyLock::new(|| Options::augment_args(Command::new("test")).mut_args(|it| it.env(None)));

/// The names of all settings.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = COMMAND.get_arguments().filter_map(|option| option.get_long());
    names.filter(|name| *name != "config").map(ToOwned::to_owned).collect()
});

/// The longest that a refusal may be, in bytes, for a text of so many: it quotes what is wrong once or
/// twice, escaped.
fn longest_refusal(text: usize) -> usize {
    1024 + 10 * text
}

pub(crate) fn check(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    match resolve(text) {
        Ok(settings) => {
            let printed = print(settings);
            let again = resolve(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
            assert_eq!(values(&print(again)), values(&printed));
        }
        Err(SettingsError::Syntax { line, reason, .. }) => {
            assert!((1..=text.lines().count() + 1).contains(&line), "line {line}");
            assert!(!reason.is_empty());
        }
        Err(SettingsError::Unknown { members, .. }) => assert!(!members.is_empty()),
        Err(SettingsError::Member { name, reason, .. }) => {
            assert!(NAMES.iter().any(|known| known == name) && !reason.is_empty(), "{name}");
        }
        Err(SettingsError::Read { source, .. }) => panic!("{source}"),
        Err(error) => {
            let message = message(&error);
            assert!(NAMES.iter().any(|name| message.contains(name)), "{message}");
            assert!(message.len() <= longest_refusal(text.len()), "{message}");
        }
    }
}

/// What a configuration file of this text says.
fn resolve(text: &str) -> Result<Settings, SettingsError> {
    let mut file = NamedTempFile::new().expect("files can be made");
    file.write_all(text.as_bytes()).expect("the disk is not full");
    let arguments = ["test".as_ref(), "--config".as_ref(), file.path().as_os_str()];
    let matches = COMMAND.clone().get_matches_from(arguments);
    Options::from_arg_matches(&matches).expect("it is a path").resolve(&matches)
}

fn print(settings: Settings) -> String {
    write(settings.lines).expect("what came of a file can be written to one")
}

/// The values in a text that was printed, without where they come from.
fn values(text: &str) -> toml::Table {
    text.parse().expect("it is TOML")
}
