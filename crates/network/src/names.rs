//! What names mean to a node, by the records that it knows and those whom it trusts.
//!
//! A name with a namespace says whose it is. A plain one is looked for in this order: the node's
//! own names; those of the owner that the name is pinned to; those of the owners whom the operator
//! trusts, in the operator's order; and, in an open network, what all who claim it agree on. The
//! owner is found by the label, and the version is then looked for among that owner's only: nobody
//! else can step in with a version that the owner does not have.

mod pins;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libp2p::PeerId;
use wasm_exec_registry::Name;

use crate::index::Index;
use crate::record::{Seconds, SignedRecord};

pub(crate) use pins::{NewPin, Pins};

/// The most claims that a conflict lists.
pub(crate) const MAX_CONFLICTING: usize = 16;

/// The most records that are looked at for what all who claim a name agree on: more than two owners can
/// have, since each owner's are looked at together.
const MAX_LOOKED_AT: usize = 10_000;

/// Whose names a node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The node itself.
    pub(crate) own: PeerId,
    /// What the operator calls owners by, besides their ids. An alias that has the form of a peer
    /// id is never looked at.
    pub(crate) aliases: BTreeMap<String, PeerId>,
    /// Whose plain names are taken, the most trusted first.
    pub(crate) trusted: Vec<PeerId>,
    /// Whether plain names of anybody are taken.
    pub(crate) open: bool,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What the node itself has registered under this name, given without its namespace; which may
    /// be nothing.
    Own(Name),
    /// What this record says. It is neither a tombstone nor expired.
    Record(SignedRecord),
    /// Nothing that is known.
    Unknown,
    /// The namespace is neither a peer's id nor an alias.
    UnknownOwner,
    /// Several owners claim it with different modules: the canonical names of their claims, the
    /// first [`MAX_CONFLICTING`] in the order of the owners' ids, of which two at least differ. Or so
    /// many claim it that not all can be looked at, and then these may be the same.
    Conflict(Vec<Name>),
}

/// A name that is not this node's to register or delete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name belongs to {owner}")]
pub(crate) struct NotOurs {
    /// The name's namespace.
    pub(crate) owner: String,
}

impl Trust {
    /// Whom the namespace of a name stands for; `None` if for nobody, or there is none.
    pub(crate) fn owner(&self, name: &Name) -> Option<PeerId> {
        match name.owner() {
            Some(id) => id.parse().ok(),
            None => self.aliases.get(name.namespace()?).copied(),
        }
    }
}

/// What `name` means at this time. `own_has` says whether the node itself has registered the label,
/// in whichever version.
///
/// If the plain name had no owner so far and has one now, the pin is to be kept, durably, before
/// the meaning is used.
pub(crate) fn meaning(
    name: &Name,
    index: &Index,
    own_has: bool,
    trust: &Trust,
    pins: &Pins,
    now: Seconds,
) -> (Meaning, Option<NewPin>) {
    let names = Names { index, now, looked_at: MAX_LOOKED_AT };
    match name.namespace() {
        Some(_) => {
            let meaning = match trust.owner(name) {
                Some(owner) if owner == trust.own && own_has => {
                    Meaning::Own(name.without_namespace())
                }
                Some(owner) => names.by_owner(&owner, name),
                None => Meaning::UnknownOwner,
            };
            (meaning, None)
        }
        None if own_has => (Meaning::Own(name.clone()), None),
        None => names.plain(name, trust, pins),
    }
}

/// The name under which a node registers or deletes what is called `name`: without a namespace.
///
/// # Errors
///
/// [`NotOurs`] if the namespace is not the node's own.
pub(crate) fn owner_to_write(name: &Name, trust: &Trust) -> Result<Name, NotOurs> {
    match name.namespace() {
        Some(namespace) if trust.owner(name) != Some(trust.own) => {
            Err(NotOurs { owner: namespace.to_owned() })
        }
        _ => Ok(name.without_namespace()),
    }
}

/// The records that are known, at one time.
struct Names<'a> {
    index: &'a Index,
    now: Seconds,
    /// How many records may be looked at of all who claim a name.
    looked_at: usize,
}

impl<'a> Names<'a> {
    /// What a plain name means that this node has not registered.
    fn plain(&self, name: &Name, trust: &Trust, pins: &Pins) -> (Meaning, Option<NewPin>) {
        let label = name.label();
        // What it has registered once and lost is still its own, if others know of it.
        if self.has(&trust.own, label) {
            return (self.by_owner(&trust.own, name), None);
        }
        if let Some(pinned) = pins.get(label) {
            return (self.by_owner(pinned, name), None);
        }
        if let Some(owner) = trust.trusted.iter().find(|owner| self.has(owner, label)) {
            let meaning = self.by_owner(owner, name);
            let found = matches!(meaning, Meaning::Record(_));
            let pinned = found && !pins.is_full();
            return (meaning, pinned.then(|| NewPin::new(label, *owner)));
        }
        // What cannot be pinned could change its owner silently.
        match trust.open && !pins.is_full() {
            true => self.claimed(name),
            false => (Meaning::Unknown, None),
        }
    }

    /// What all who claim a name agree on.
    ///
    /// If there are several of them it is not pinned to any: whoever copies a claim would have a
    /// chance to become the name's owner, and to change it later. Not being pinned, it turns into a
    /// conflict if they come to differ.
    fn claimed(&self, name: &Name) -> (Meaning, Option<NewPin>) {
        let (owners, all) = self.claimants(name.label());
        let mut claims = owners.into_iter().filter_map(|owner| self.record(owner, name));
        let Some(first) = claims.next() else {
            return (Meaning::Unknown, None);
        };
        let mut names = vec![first.canonical_name().clone()];
        // Those who were not looked at may differ.
        let mut conflict = !all;
        for claim in claims {
            conflict |= claim.record().module != first.record().module;
            // The last place is kept for the first one that differs.
            if names.len() + usize::from(!conflict) < MAX_CONFLICTING {
                names.push(claim.canonical_name().clone());
            } else if conflict {
                break;
            }
        }
        if conflict {
            return (Meaning::Conflict(names), None);
        }
        let only = names.len() == 1;
        let pin = only.then(|| NewPin::new(name.label(), first.record().owner));
        (Meaning::Record(first.clone()), pin)
    }

    /// Those who may claim a label, and whether these are all.
    fn claimants(&self, label: &str) -> (Vec<&'a PeerId>, bool) {
        let mut left = self.looked_at;
        let mut owners = Vec::new();
        for (owner, count) in self.index.owners(label) {
            match left.checked_sub(count) {
                Some(rest) => left = rest,
                None => return (owners, false),
            }
            owners.push(owner);
        }
        (owners, true)
    }

    /// What a name means within one owner's.
    fn by_owner(&self, owner: &PeerId, name: &Name) -> Meaning {
        let record = self.record(owner, name);
        record.map_or(Meaning::Unknown, |record| Meaning::Record(record.clone()))
    }

    /// The owner's record of exactly this name, or, if it has no version, that of the highest
    /// release.
    fn record(&self, owner: &PeerId, name: &Name) -> Option<&'a SignedRecord> {
        let exact = self.index.of_name(owner, name).filter(|record| self.is_live(record));
        if exact.is_some() || name.version().is_some() {
            return exact;
        }
        let versions = self.index.of_owner(owner, name.label());
        let releases = versions
            .filter(|record| self.is_live(record))
            .filter_map(|record| Some((record.record().name.version()?, record)))
            .filter(|(version, _)| version.pre.is_empty());
        releases.max_by_key(|(version, _)| *version).map(|(_, record)| record)
    }

    /// Whether an owner has this label, in whichever version.
    fn has(&self, owner: &PeerId, label: &str) -> bool {
        self.index.of_owner(owner, label).any(|record| self.is_live(record))
    }

    fn is_live(&self, record: &SignedRecord) -> bool {
        record.record().is_live(self.now)
    }
}
