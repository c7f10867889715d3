//! Scripts as text: parsing them, and finding lines and modules in them.

use wast::lexer::{Lexer, TokenKind};
use wast::parser::{self, ParseBuffer};
use wast::token::Span;
use wast::{Wast, WastDirective};

/// A lexer that takes scripts as they are: some have names that read from right to left.
fn lexer(text: &str) -> Lexer<'_> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    lexer
}

/// Splits a script into tokens.
///
/// # Errors
///
/// When something in it is no token.
pub(crate) fn tokens(text: &str) -> Result<ParseBuffer<'_>, wast::Error> {
    ParseBuffer::new_with_lexer(lexer(text))
}

/// Parses a script.
///
/// # Errors
///
/// When it does not follow the grammar.
pub(crate) fn directives<'a>(
    tokens: &'a ParseBuffer<'a>,
) -> Result<Vec<WastDirective<'a>>, wast::Error> {
    Ok(parser::parse::<Wast<'a>>(tokens)?.directives)
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(end, _)| end + 1);
        Self { starts: std::iter::once(0).chain(after).collect() }
    }

    /// The line that this is on, counted from 1.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.starts.partition_point(|start| *start <= span.offset())
    }
}

/// The text of the parenthesis whose first word is at `span`; `None` if it does not end.
pub(crate) fn parenthesis(text: &str, span: Span) -> Option<&str> {
    let start = text[..span.offset()].rfind('(')?;
    let mut depth = 0;
    for token in lexer(text).iter(start) {
        let token = token.ok()?;
        match token.kind {
            TokenKind::LParen => depth += 1,
            TokenKind::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(start..token.offset + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parenthesis_ends_where_it_does_for_the_lexer() {
        let text = r#"(assert ( module (; ) ;) "\")" (func)) ")")"#;
        let span = Span::from_offset(text.find("module").unwrap());
        assert_eq!(parenthesis(text, span), Some(r#"( module (; ) ;) "\")" (func))"#));
    }

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::of("a\nb\n");
        assert_eq!([0, 1, 2, 3].map(|offset| lines.line(Span::from_offset(offset))), [1, 1, 2, 2]);
    }
}
