//! What the index's tables are ordered and counted by.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use wasm_exec_registry::Name;

use crate::Key;

/// The least key.
pub(super) const FIRST_KEY: Key = Key::from_bytes([0; Key::BYTES]);

/// The greatest key.
pub(super) const LAST_KEY: Key = Key::from_bytes([u8::MAX; Key::BYTES]);

/// A name that is looked for by texts that need not be names. Names are ordered as their texts are.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByText(pub(super) Name);

impl ByText {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Counts one less, and forgets what there is none of.
pub(super) fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
