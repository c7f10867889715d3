//! `config`: the effective settings, in a form that `--config` reads.

use std::fmt::Write;
use std::io;

use clap::ArgMatches;

use super::settings::{Line, Options, SettingsError};

/// Why the settings cannot be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// They are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A value has no place in a TOML file: a path that is not Unicode, say.
    #[error("{name} cannot be written as TOML")]
    Unwritable {
        /// The setting.
        name: &'static str,
        /// Why not.
        source: toml::ser::Error,
    },
    /// Stdout cannot be written.
    #[error("cannot print the settings")]
    Print(#[from] io::Error),
}

/// Prints each setting with where it comes from.
///
/// # Errors
///
/// When the settings are wrong or cannot be printed.
pub(crate) fn execute(options: Options, matches: &ArgMatches) -> Result<(), ConfigError> {
    let text = write(options.resolve(matches)?.lines)?;
    Ok(super::print(&text)?)
}

/// The lines as the text of a configuration file.
///
/// # Errors
///
/// When TOML cannot hold a value.
pub(crate) fn write(lines: Vec<Line>) -> Result<String, ConfigError> {
    let mut text = String::new();
    for line in lines {
        let name = line.name;
        let value = line.value.map_err(|source| ConfigError::Unwritable { name, source })?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} = {value} # {}", line.origin);
    }
    Ok(text)
}
