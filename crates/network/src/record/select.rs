//! Which of two records of one name holds.

use super::SignedRecord;

/// What a record is to another one of the same key, which is known and valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// It takes the other's place.
    Newer,
    /// It is the other.
    Same,
    /// The other holds.
    Older,
    /// It names another module, and the name was not deleted in between: the owner has signed two
    /// meanings of what means one thing. The one that was known first holds.
    Forbidden,
}

/// What `new` is to `current`; both have the same key.
///
/// The later incarnation holds; within one, which has one module, the higher sequence; of two with the
/// same sequence, which an owner signs only if it does not know of one of them, the tombstone, so that
/// what was deleted is; and of two that say the same the one whose bytes have the lower hash. So nodes that hear the records of
/// an owner who keeps to the rules, in whichever order and however many of them, come to hold the
/// same one. With an owner who breaks them, each node stays with the module that it knows, because
/// the other choice, one that all nodes make alike, would let a version change.
pub(crate) fn select(current: &SignedRecord, new: &SignedRecord) -> Selected {
    debug_assert_eq!(current.key(), new.key(), "records of two names do not compete");
    let (old, young) = (current.record(), new.record());
    if current.hash() == new.hash() {
        return Selected::Same;
    }
    if old.incarnation == young.incarnation && old.module != young.module {
        return Selected::Forbidden;
    }
    let precedence = (young.incarnation.cmp(&old.incarnation))
        .then(young.sequence.cmp(&old.sequence))
        .then(young.tombstone.cmp(&old.tombstone))
        .then(current.hash().cmp(&new.hash()));
    if precedence.is_gt() { Selected::Newer } else { Selected::Older }
}
