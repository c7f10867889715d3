//! Bytes that may be a module: checking them ends without a panic, and says that they are invalid
//! only if they are.

use wasm_exec_engine::{Description, InvalidModule, text};
use wasmparser::{Validator, WasmFeatures};

use crate::service::ENGINE;

/// The longest text that a module is printed to, in bytes.
const MAXIMUM_TEXT: usize = 1 << 20;

pub(crate) fn check(data: &[u8]) {
    let checked = ENGINE.validate(data);
    let valid = |features| Validator::new_with_features(features).validate_all(data).is_ok();
    match checked {
        Ok(description) => {
            assert!(valid(WasmFeatures::all()), "taken for valid");
            check_description(&description);
            check_text(data);
        }
        // The limits of modules are looked at by a reader of their own, which must not find fault
        // with what the validator can read.
        Err(InvalidModule::Invalid { offset, reason }) => {
            assert!(offset <= data.len(), "{offset}: {reason}");
            assert!(!valid(WasmFeatures::all()), "at {offset}: {reason}");
        }
        Err(InvalidModule::Unsupported { .. }) => {}
        Err(InvalidModule::Limit(exceeded)) => {
            assert!(exceeded.found > exceeded.maximum, "{exceeded}");
            assert!(exceeded.offset <= data.len(), "{exceeded}");
        }
    }
}

/// No two exports have one name.
fn check_description(description: &Description) {
    let mut names: Vec<&str> =
        description.exports.iter().map(|export| export.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

/// A module that is valid can be printed, and what is printed is a valid module.
fn check_text(wasm: &[u8]) {
    let text = match text::print(wasm, MAXIMUM_TEXT) {
        Ok(text) => text,
        Err(text::PrintError::TooLong { .. }) => return,
        Err(text::PrintError::Invalid(reason)) => panic!("it cannot be printed: {reason}"),
    };
    let again = text::parse(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let checked = ENGINE.validate(&again);
    assert!(!matches!(checked, Err(InvalidModule::Invalid { .. })), "{checked:?} from {text}");
}
