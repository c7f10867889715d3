//! What the errors of everything that is parsed here have in common.
//!
//! Names and digests come from strangers, so an error quotes a bounded, escaped piece of the text,
//! and says at which byte it stopped being what it should be, and why.

use std::borrow::Cow;
use std::fmt;

/// How many characters of a refused text an error quotes. Ten kilobytes of control characters must
/// not end up in a log line or an answer.
const MAX_QUOTED_CHARS: usize = 64;

/// A text that is not what it should be: `invalid name "a/b" at byte 1: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    kind: &'static str,
    quoted: Box<str>,
    position: usize,
    problem: Cow<'static, str>,
}

impl SyntaxError {
    /// `kind` is what `text` should have been, `position` a byte offset into it, and `problem` a
    /// clause without hostile text in it.
    pub(crate) fn new(
        kind: &'static str,
        text: &str,
        position: usize,
        problem: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, quoted: quote(text).into(), position, problem: problem.into() }
    }

    /// As [`SyntaxError::new`], for a character that has no place at `position`.
    pub(crate) fn unexpected(
        kind: &'static str,
        text: &str,
        position: usize,
        expected: &str,
    ) -> Self {
        let found = text.get(position..).and_then(|rest| rest.chars().next());
        let problem = match found {
            Some(found) => format!("expected {expected}, found {found:?}"),
            None => format!("expected {expected}, found the end"),
        };
        Self::new(kind, text, position, problem)
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, quoted, position, problem } = self;
        write!(f, "invalid {kind} {quoted} at byte {position}: {problem}")
    }
}

fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(MAX_QUOTED_CHARS).collect();
    let rest = if chars.next().is_some() { "…" } else { "" };
    format!("\"{}{rest}\"", start.escape_debug())
}
