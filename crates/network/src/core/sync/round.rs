//! One conversation with one peer: what to ask next, until there is nothing left to ask.

use std::mem;

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Entries, Entry, differing, missing, part_of};
use crate::Key;
use crate::protocol::{MAX_ENTRIES, MAX_KEYS, MAX_PARTS, PARTS, Request};

/// The most records that one round asks for. What is left is for the next round, so that nobody is
/// kept busy by a peer that always has more.
pub const MAX_ROUND_KEYS: usize = 16_384;

/// What to ask the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The fingerprints of all parts.
    Summary,
    /// The entries of these parts, eight at most, in ascending order.
    Parts(Vec<u8>),
    /// The records under these keys, 64 at most.
    Find(Vec<Key>),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A fingerprint for each part.
    Summary(Vec<Key>),
    /// The entries of each part that was asked for.
    Parts(Vec<Vec<Entry>>),
    /// Records, or none, which have been looked at: what they were is of no matter here.
    Found,
}

/// What no honest peer answers. The round is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// Something was answered that had not been asked.
    #[error("this was not asked")]
    NotAsked,
    /// There are more or fewer fingerprints or parts than were asked for.
    #[error("there are not as many parts as were asked for")]
    Count,
    /// A part has more entries than may be told.
    #[error("a part has more entries than may be told")]
    TooMany,
    /// An entry is of a part that it was not told in.
    #[error("an entry is of another part")]
    OtherPart,
    /// Entries of a part do not ascend, or are there twice.
    #[error("entries are out of order")]
    OutOfOrder,
}

/// A conversation. It asks for each part once, and for at most [`MAX_ROUND_KEYS`] records, so it
/// ends whatever the peer answers.
#[derive(Debug)]
pub struct Round {
    /// This node's fingerprints when it began.
    mine: Vec<Key>,
    asked: Option<Ask>,
    begun: bool,
    /// Parts that differ, and were not asked for yet.
    parts: Vec<u8>,
    /// Keys that were missing in the parts asked for last, and were not asked for yet.
    wanted: Vec<Key>,
    /// How many more records may be asked for.
    allowance: usize,
}

impl Round {
    /// A round of a node that has these fingerprints.
    pub fn new(mine: Vec<Key>) -> Self {
        let (asked, begun, parts, wanted) = (None, false, Vec::new(), Vec::new());
        Self { mine, asked, begun, parts, wanted, allowance: MAX_ROUND_KEYS }
    }

    /// What to ask next; `None` if the round is over. If it was not answered, it is given up.
    pub fn ask(&mut self) -> Option<Ask> {
        self.asked = self.next();
        self.asked.clone()
    }

    /// Whether, now that there is nothing left to ask, all was asked for that the peer has and this
    /// node lacks.
    pub fn is_complete(&self) -> bool {
        self.begun && self.parts.is_empty() && self.wanted.is_empty()
    }

    fn next(&mut self) -> Option<Ask> {
        if !mem::replace(&mut self.begun, true) {
            return Some(Ask::Summary);
        }
        if self.allowance == 0 {
            return None;
        }
        if !self.wanted.is_empty() {
            let count = self.wanted.len().min(MAX_KEYS).min(self.allowance);
            self.allowance -= count;
            return Some(Ask::Find(self.wanted.drain(..count).collect()));
        }
        let count = self.parts.len().min(MAX_PARTS);
        (count > 0).then(|| {
            let mut parts: Vec<u8> = self.parts.drain(..count).collect();
            parts.sort_unstable();
            Ask::Parts(parts)
        })
    }

    /// Takes the answer to what was asked last. `entries` are those that this node knows of now.
    ///
    /// # Errors
    ///
    /// What the peer did wrong. Nothing is left to ask then.
    pub fn answered(
        &mut self,
        answer: Answer,
        entries: &impl Entries,
        random: &mut impl Rng,
    ) -> Result<(), Misbehaviour> {
        let taken = match (self.asked.take(), answer) {
            (Some(Ask::Summary), Answer::Summary(theirs)) => self.compare(&theirs, random),
            (Some(Ask::Parts(parts)), Answer::Parts(told)) => self.want(&parts, &told, entries),
            (Some(Ask::Find(_)), Answer::Found) => Ok(()),
            _ => Err(Misbehaviour::NotAsked),
        };
        taken.inspect_err(|_| self.give_up())
    }

    /// Has nothing left to ask.
    fn give_up(&mut self) {
        (self.begun, self.allowance) = (true, 0);
    }

    /// The parts are asked for in any order: if all rounds began with the first and were cut short,
    /// the last would never have their turn.
    fn compare(&mut self, theirs: &[Key], random: &mut impl Rng) -> Result<(), Misbehaviour> {
        if theirs.len() != PARTS {
            return Err(Misbehaviour::Count);
        }
        self.parts = differing(&self.mine, theirs);
        self.parts.shuffle(random);
        Ok(())
    }

    fn want(
        &mut self,
        parts: &[u8],
        told: &[Vec<Entry>],
        entries: &impl Entries,
    ) -> Result<(), Misbehaviour> {
        if told.len() != parts.len() {
            return Err(Misbehaviour::Count);
        }
        for (part, theirs) in parts.iter().zip(told) {
            check(*part, theirs)?;
            let open = theirs.iter().filter(|entry| !entries.is_settled(entry));
            let open: Vec<Entry> = open.copied().collect();
            self.wanted.extend(missing(entries.part(*part), &open));
        }
        Ok(())
    }
}

/// Whether these may be the entries of this part.
fn check(part: u8, told: &[Entry]) -> Result<(), Misbehaviour> {
    if told.len() > MAX_ENTRIES {
        return Err(Misbehaviour::TooMany);
    }
    if told.iter().any(|entry| part_of(&entry.key) != part) {
        return Err(Misbehaviour::OtherPart);
    }
    if !told.is_sorted_by(|one, next| one.key < next.key) {
        return Err(Misbehaviour::OutOfOrder);
    }
    Ok(())
}

impl From<Ask> for Request {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Summary => Self::Summary,
            Ask::Parts(parts) => Self::Parts(parts),
            Ask::Find(keys) => Self::Find(keys),
        }
    }
}
