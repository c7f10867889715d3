//! Files of keys: any text is one, or is refused in a short line.

use wasm_exec_server::KeyFile;

/// The longest that a refusal may be, in bytes: it goes to the log.
const LONGEST_REFUSAL: usize = 4096;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Err(refusal) = KeyFile::parse(text) {
        assert!(refusal.to_string().len() <= LONGEST_REFUSAL, "{refusal}");
    }
}
