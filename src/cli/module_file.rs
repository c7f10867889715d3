//! Wasm files on the command line: the binary format or the text format, told apart by content.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use wasm_exec_engine::text::{self, InvalidText};

/// What every Wasm binary starts with.
const MAGIC: &[u8] = b"\0asm";

/// A file that holds no Wasm.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot be read")]
    Read(#[source] io::Error),
    #[error("neither Wasm nor text: it does not start with `\\0asm`, and is not UTF-8")]
    Binary,
    #[error(transparent)]
    Text(InvalidText),
}

/// The bytes of the module in a file; `-` is stdin. They may still be invalid WebAssembly.
///
/// # Errors
///
/// When the file cannot be read, or is text that is not in the WebAssembly text format.
pub(crate) fn read(path: &Path) -> Result<Bytes, FileError> {
    read_bytes(path)
        .map_err(Reason::Read)
        .and_then(assemble)
        .map_err(|source| FileError { path: path.to_owned(), source })
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn assemble(content: Vec<u8>) -> Result<Bytes, Reason> {
    if content.starts_with(MAGIC) {
        return Ok(content.into());
    }
    let text = String::from_utf8(content).map_err(|_| Reason::Binary)?;
    Ok(text::parse(&text).map_err(Reason::Text)?.into())
}
