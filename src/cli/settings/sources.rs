//! Where values come from: a flag, an environment variable, the configuration file or the default,
//! the first that has one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SettingsError;
use crate::cli::printable;

/// What the name of every setting's environment variable starts with.
const ENVIRONMENT_PREFIX: &str = "WASM_EXEC_";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// The command line.
    Flag,
    /// The environment variable of this name.
    Environment(String),
    /// The configuration file at this path.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag => f.write_str("flag"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            // A line break would end the comment that this is printed in.
            Self::File(path) => {
                write!(f, "file {}", printable(&path.to_string_lossy()))
            }
        }
    }
}

/// A setting's effective value.
#[derive(Debug)]
pub(crate) struct Line {
    /// The setting's name in a file.
    pub(crate) name: &'static str,
    /// Its value, unless TOML cannot hold it.
    pub(crate) value: Result<toml::Value, toml::ser::Error>,
    /// Where the value comes from.
    pub(crate) origin: Origin,
}

/// The places that values come from, and what was taken from them so far.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// Knows which values are the environment's.
    matches: &'a ArgMatches,
    file: Option<File>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    members: toml::Table,
}

impl<'a> Sources<'a> {
    /// Reads the configuration file, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not TOML, or has members that are not `known`.
    pub(super) fn open(
        matches: &'a ArgMatches,
        path: Option<PathBuf>,
        known: impl Fn(&str) -> bool,
    ) -> Result<Self, SettingsError> {
        let file = path.map(|path| File::open(path, known)).transpose()?;
        Ok(Self { matches, file, lines: Vec::new() })
    }

    /// A setting's value: `given` by flag or environment, or else the file's, or else `default`.
    ///
    /// # Errors
    ///
    /// When the file's value is of another kind.
    pub(super) fn pick<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        default: T,
    ) -> Result<T, SettingsError> {
        Ok(match self.find(name, given)? {
            Some(value) => value,
            None => self.record(name, default, Origin::Default),
        })
    }

    /// As [`pick`](Self::pick), for a setting without a default.
    pub(super) fn find<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &'static str,
        given: Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        if let Some(value) = given {
            let origin = self.given_by(name);
            return Ok(Some(self.record(name, value, origin)));
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        let Some(member) = file.members.remove(name) else { return Ok(None) };
        let path = file.path.clone();
        match member.try_into() {
            Ok(value) => Ok(Some(self.record(name, value, Origin::File(path)))),
            Err(error) => {
                let reason = error.message().trim().to_owned();
                Err(SettingsError::Member { path, name, reason })
            }
        }
    }

    /// Notes the default of a setting that [`find`](Self::find) did not find.
    pub(super) fn default<T: Serialize>(&mut self, name: &'static str, value: T) -> T {
        self.record(name, value, Origin::Default)
    }

    /// What requests get that ask for nothing, and the most they may ask for: [`pick`](Self::pick)
    /// for both, in this order.
    ///
    /// # Errors
    ///
    /// As `pick` and [`at_most`](Self::at_most).
    pub(super) fn pick_pair<T>(
        &mut self,
        names: [&'static str; 2],
        given: [Option<T>; 2],
        defaults: [T; 2],
    ) -> Result<[T; 2], SettingsError>
    where
        T: Serialize + DeserializeOwned + PartialOrd + fmt::Display + Copy,
    {
        let [given, given_maximum] = given;
        let value = self.pick(names[0], given, defaults[0])?;
        let maximum = self.pick(names[1], given_maximum, defaults[1])?;
        self.at_most((names[0], value), (names[1], maximum))?;
        Ok([value, maximum])
    }

    /// Checks that one setting is at most another.
    ///
    /// # Errors
    ///
    /// When it is more, naming both and where they come from.
    pub(super) fn at_most<T: PartialOrd + fmt::Display>(
        &self,
        (small, value): (&'static str, T),
        (large, maximum): (&'static str, T),
    ) -> Result<(), SettingsError> {
        if value <= maximum {
            return Ok(());
        }
        Err(SettingsError::Exceeds {
            small: format!("{small} ({value}, {})", self.origin(small)),
            large: format!("{large} ({maximum}, {})", self.origin(large)),
        })
    }

    /// All that was taken, in that order.
    pub(super) fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    fn record<T: Serialize>(&mut self, name: &'static str, value: T, origin: Origin) -> T {
        self.lines.push(Line { name, value: toml::Value::try_from(&value), origin });
        value
    }

    fn origin(&self, name: &str) -> &Origin {
        let line = self.lines.iter().find(|line| line.name == name);
        line.map_or(&Origin::Default, |line| &line.origin)
    }

    fn given_by(&self, name: &str) -> Origin {
        let id = name.replace('-', "_");
        match self.matches.value_source(&id) {
            Some(ValueSource::EnvVariable) => {
                Origin::Environment(format!("{ENVIRONMENT_PREFIX}{}", id.to_uppercase()))
            }
            _ => Origin::Flag,
        }
    }
}

impl File {
    fn open(path: PathBuf, known: impl Fn(&str) -> bool) -> Result<Self, SettingsError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(SettingsError::Read { path, source }),
        };
        let members: toml::Table = text.parse().map_err(|error| syntax(&path, &text, &error))?;
        let unknown: Vec<_> = members.keys().filter(|name| !known(name)).cloned().collect();
        if !unknown.is_empty() {
            return Err(SettingsError::Unknown { path, members: unknown.join(", ") });
        }
        Ok(Self { path, members })
    }
}

/// An error of the TOML parser, which would take several lines, in one.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> SettingsError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    SettingsError::Syntax {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        reason: error.message().trim().to_owned(),
    }
}
