//! The text format: any text is a module or is refused with its place, and what becomes of it is
//! checked as bytes are.

use wasm_exec_engine::text;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text::parse(text) {
        Ok(wasm) => crate::modules::check(&wasm),
        Err(refusal) => {
            assert!(refusal.line >= 1 && refusal.column >= 1, "{refusal}");
            assert!(refusal.line <= text.lines().count() + 1, "{refusal}");
        }
    }
}
