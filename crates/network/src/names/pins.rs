//! Which owners the plain names are pinned to.

use std::collections::BTreeMap;

use libp2p::PeerId;

/// The most labels that are pinned. When there are as many, plain names that are not pinned mean
/// nothing; by their canonical names they are reached as before.
pub(crate) const MAX_PINS: usize = 65_536;

/// For each label, the first owner that it was found to mean. Nothing takes a pin
/// away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins(BTreeMap<String, PeerId>);

/// A pin that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewPin {
    /// The plain name, without a version.
    pub(crate) label: String,
    /// Whose it is from now on.
    pub(crate) owner: PeerId,
}

impl NewPin {
    pub(super) fn new(label: &str, owner: PeerId) -> Self {
        Self { label: label.to_owned(), owner }
    }
}

impl Pins {
    /// The owner that a label is pinned to.
    pub(crate) fn get(&self, label: &str) -> Option<&PeerId> {
        self.0.get(label)
    }

    /// Pins a label, and says whether it is pinned to this owner now: not if it was to another one,
    /// or if there is no room.
    pub(crate) fn pin(&mut self, NewPin { label, owner }: NewPin) -> bool {
        if self.is_full() && !self.0.contains_key(&label) {
            return false;
        }
        *self.0.entry(label).or_insert(owner) == owner
    }

    /// Whether no more labels can be pinned.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_PINS
    }
}
