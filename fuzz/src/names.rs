//! Names, digests and references: what is read is written as it was, and a refusal points into the
//! text.

use wasm_exec_registry::{Digest, Name, Reference};

/// The longest that a refusal may be, in bytes: it goes into answers.
const LONGEST_REFUSAL: usize = 4096;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<Name>() {
        Ok(name) => check_name(&name, text),
        Err(refusal) => {
            assert!(refusal.position() <= text.len(), "{text:?}: {refusal}");
            assert!(refusal.to_string().len() <= LONGEST_REFUSAL, "{refusal}");
        }
    }
    match text.parse::<Digest>() {
        Ok(digest) => assert_eq!(digest.to_string(), text),
        Err(refusal) => assert!(refusal.position() <= text.len(), "{text:?}: {refusal}"),
    }
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
        // Nothing is both.
        assert!(text.parse::<Name>().is_ok() != text.parse::<Digest>().is_ok(), "{text:?}");
    }
}

fn check_name(name: &Name, text: &str) {
    assert_eq!(name.as_str(), text);
    assert!(text.is_ascii() && text.len() <= 3 * 64 + 2, "{text:?}");
    let namespace = name.namespace().map(|namespace| format!("{namespace}:"));
    let version = name.version().map(|version| format!("@{version}"));
    let [namespace, version] = [namespace, version].map(Option::unwrap_or_default);
    assert_eq!(format!("{namespace}{}{version}", name.label()), text);
}
