//! The records that an owner issues, each from the one before.

use libp2p::PeerId;
use wasm_exec_registry::{Digest, Name};

use super::{MAX_LIFETIME, MAX_NUMBER, NameRecord, Seconds};
use crate::contents::ContentsId;
use crate::network_id::NetworkId;

/// How long the records that this node issues are valid: 30 days.
pub(crate) const LIFETIME: Seconds = 30 * 24 * 60 * 60;

/// What a name is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The module digest.
    pub(crate) module: Digest,
    /// The list of all that has to be fetched to run it.
    pub(crate) contents: ContentsId,
    /// The sum of the sizes in that list, in bytes.
    pub(crate) bytes: u64,
}

/// Why there is no such record after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSuccessor {
    /// The name means another module: it has not been deleted, or has a version, and then it means
    /// that one for ever.
    #[error("the name means {module}")]
    Taken { module: Digest },
    /// The name has had as many records as there are numbers.
    #[error("the name has had all its records")]
    Exhausted,
}

impl NameRecord {
    /// The first record of a name.
    pub(crate) fn first(
        network: NetworkId,
        owner: PeerId,
        name: Name,
        content: Content,
        now: Seconds,
    ) -> Self {
        let Content { module, contents, bytes } = content;
        Self {
            network,
            owner,
            name,
            incarnation: 0,
            sequence: 1,
            module,
            contents,
            bytes,
            issued_at: now,
            not_after: now.saturating_add(LIFETIME),
            tombstone: false,
        }
    }

    /// The record that gives the name this content, after this one: the same again, whether or not
    /// it was deleted, or another after a tombstone if the name has no version.
    ///
    /// # Errors
    ///
    /// [`NoSuccessor::Taken`] if it cannot have that content.
    pub(crate) fn given(&self, content: Content, now: Seconds) -> Result<Self, NoSuccessor> {
        let Content { module, contents, bytes } = content;
        let anew = module != self.module;
        if anew && !(self.tombstone && self.name.version().is_none()) {
            return Err(NoSuccessor::Taken { module: self.module });
        }
        let next = self.refreshed(now)?;
        let incarnation = self.incarnation + u64::from(anew);
        Ok(Self { incarnation, module, contents, bytes, tombstone: false, ..next })
    }

    /// The record that says the same for longer.
    ///
    /// # Errors
    ///
    /// [`NoSuccessor::Exhausted`].
    pub(crate) fn refreshed(&self, now: Seconds) -> Result<Self, NoSuccessor> {
        if self.sequence >= MAX_NUMBER {
            return Err(NoSuccessor::Exhausted);
        }
        // Never less long than before: a tombstone has to outlive every record that it supersedes,
        // or a node that was away could bring the name back.
        let not_after = self.not_after.min(now.saturating_add(MAX_LIFETIME));
        Ok(Self {
            sequence: self.sequence + 1,
            issued_at: now,
            not_after: not_after.max(now.saturating_add(LIFETIME)),
            ..self.clone()
        })
    }

    /// The record that deletes the name.
    ///
    /// # Errors
    ///
    /// [`NoSuccessor::Exhausted`].
    pub(crate) fn deleted(&self, now: Seconds) -> Result<Self, NoSuccessor> {
        Ok(Self { tombstone: true, ..self.refreshed(now)? })
    }

    /// Whether a living owner says it again: when less than a third of its time is left. A
    /// tombstone is not said again, since it outlives all that it supersedes.
    pub(crate) fn is_due(&self, now: Seconds) -> bool {
        let left = self.not_after.saturating_sub(now);
        !self.tombstone && left < self.not_after.saturating_sub(self.issued_at) / 3
    }
}
