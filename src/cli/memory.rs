//! `memory`: what the server may take in memory at most.

use std::fmt::Write;
use std::io;

use clap::ArgMatches;

use super::settings::{Options, SettingsError};

/// Why the bounds cannot be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Stdout cannot be written.
    #[error("cannot print the bounds")]
    Print(#[from] io::Error),
}

/// Prints a line for each bound, in bytes, and their sum in the last.
///
/// # Errors
///
/// When the settings are wrong or the bounds cannot be printed.
pub(crate) fn execute(options: Options, matches: &ArgMatches) -> Result<(), MemoryError> {
    Ok(super::print(&write(&options.resolve(matches)?.memory()))?)
}

fn write(parts: &[(&str, u64)]) -> String {
    let sum = parts.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let mut text = String::new();
    for (what, bytes) in parts.iter().chain([&("sum", sum)]) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{bytes:>16}  {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_sum() {
        let text = write(&[("a", 3), ("b", 40)]);
        assert_eq!(text, "               3  a\n              40  b\n              43  sum\n");
        assert!(write(&[("a", u64::MAX), ("b", 1)]).ends_with(&format!("{}  sum\n", u64::MAX)));
    }
}
