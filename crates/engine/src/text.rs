//! The WebAssembly text format: to bytes, and from bytes.

/// The text is not a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct InvalidText {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// Turns text into the bytes of a module. What it says may still be invalid WebAssembly.
///
/// # Errors
///
/// When the text does not follow the grammar, with the place where it stops to.
pub fn parse(text: &str) -> Result<Vec<u8>, InvalidText> {
    let error = |error: wast::Error| {
        let (line, column) = error.span().linecol_in(text);
        InvalidText { line: line + 1, column: column + 1, reason: error.message() }
    };
    let buffer = wast::parser::ParseBuffer::new(text).map_err(error)?;
    let mut wat: wast::Wat<'_> = wast::parser::parse(&buffer).map_err(error)?;
    wat.encode().map_err(error)
}

/// Prints a module's bytes as text.
///
/// # Errors
///
/// When the bytes are not a module, or the text would be longer than `maximum` bytes.
pub fn print(wasm: &[u8], maximum: usize) -> Result<String, PrintError> {
    let mut text = Bounded { text: String::new(), maximum };
    let mut output = wasmprinter::PrintFmtWrite(&mut text);
    match wasmprinter::Config::new().print(wasm, &mut output) {
        Ok(()) => Ok(text.text),
        Err(_) if text.text.len() > maximum => Err(PrintError::TooLong { maximum }),
        Err(error) => Err(PrintError::Invalid(error.to_string())),
    }
}

/// A module cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    /// The bytes are not a module.
    #[error("{0}")]
    Invalid(String),
    /// The text would be too long.
    #[error("the text would be longer than {maximum} bytes")]
    TooLong {
        /// The most it may have.
        maximum: usize,
    },
}

struct Bounded {
    text: String,
    maximum: usize,
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        self.text.push_str(piece);
        if self.text.len() > self.maximum { Err(std::fmt::Error) } else { Ok(()) }
    }
}
