//! What the program says: answers on stdout, and errors in one line that is safe to show.

use std::error::Error;
use std::io::{self, Write};

/// Prints a subcommand's answer.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// An error and its causes.
pub(crate) fn message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors say their cause themselves.
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

/// Text in one line that is safe for a terminal: files, names and guests choose some of it.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => safe.push(character),
            _ => safe.extend(character.escape_debug()),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Transparent(Outer);

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = Outer(io::Error::other("no space"));
        assert_eq!(message(&error), "cannot open the store: no space");
        let error = Transparent(Outer(io::Error::other("no space")));
        assert_eq!(message(&error), "cannot open the store: no space");
    }

    #[test]
    fn text_of_others_cannot_upset_a_terminal() {
        assert_eq!(printable("a\n\x1b[2J\u{202e} \"b\" → é"), "a\\n\\u{1b}[2J\\u{202e} \"b\" → é");
    }
}
