//! One conversation with one peer: what to ask next, until there is nothing left to ask.

use std::collections::VecDeque;
use std::mem;

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Entries, Entry, differing, first_of, missing, next_of};
use crate::Key;
use crate::protocol::{MAX_ENTRIES, MAX_KEYS, MAX_PAGES, PARTS, Request};

/// The most records that one round asks for. What is left is for the next round, so that nobody is
/// kept busy by a peer that always has more.
pub const MAX_ROUND_KEYS: usize = 16_384;

/// The most pages of entries that one round asks for: 1,048,576 entries, which is more than a node
/// knows. Only a peer that makes them up has more.
pub const MAX_ROUND_PAGES: usize = 1024;

/// What to ask the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The fingerprints of all parts.
    Summary,
    /// Entries of the parts that these keys are of, from the keys themselves on: eight keys at most, in
    /// ascending order.
    Pages(Vec<Key>),
    /// The records under these keys, 64 at most.
    Find(Vec<Key>),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A fingerprint for each part.
    Summary(Vec<Key>),
    /// The entries of each page that was asked for. After a full one there may be another.
    Pages(Vec<Vec<Entry>>),
    /// Records, or none, which have been looked at: what they were is of no matter here.
    Found,
}

/// What no honest peer answers. The round is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// Something was answered that had not been asked.
    #[error("this was not asked")]
    NotAsked,
    /// There are more or fewer fingerprints or pages than were asked for.
    #[error("there are not as many parts or pages as were asked for")]
    Count,
    /// A page has more entries than may be told.
    #[error("a page has more entries than may be told")]
    TooMany,
    /// An entry is of another part, or comes before the page.
    #[error("an entry is of another page")]
    OtherPage,
    /// Entries of a page do not ascend, or are there twice.
    #[error("entries are out of order")]
    OutOfOrder,
}

/// A conversation. It asks for each page once, for at most [`MAX_ROUND_PAGES`] of them, and for at
/// most [`MAX_ROUND_KEYS`] records, so it ends whatever the peer answers.
#[derive(Debug)]
pub struct Round {
    /// This node's fingerprints when it began.
    mine: Vec<Key>,
    asked: Option<Ask>,
    begun: bool,
    /// Where the pages begin that were not asked for yet, of parts that differ.
    pages: VecDeque<Key>,
    /// Keys that were missing in the pages asked for last, and were not asked for yet.
    wanted: Vec<Key>,
    /// How many more records may be asked for, and pages.
    keys_left: usize,
    pages_left: usize,
}

impl Round {
    /// A round of a node that has these fingerprints.
    pub fn new(mine: Vec<Key>) -> Self {
        Self {
            mine,
            asked: None,
            begun: false,
            pages: VecDeque::new(),
            wanted: Vec::new(),
            keys_left: MAX_ROUND_KEYS,
            pages_left: MAX_ROUND_PAGES,
        }
    }

    /// What to ask next; `None` if the round is over. If it was not answered, it is given up.
    pub fn ask(&mut self) -> Option<Ask> {
        self.asked = self.next();
        self.asked.clone()
    }

    /// Whether, now that there is nothing left to ask, all was asked for that the peer has and this
    /// node lacks.
    pub fn is_complete(&self) -> bool {
        self.begun && self.pages.is_empty() && self.wanted.is_empty()
    }

    fn next(&mut self) -> Option<Ask> {
        if !mem::replace(&mut self.begun, true) {
            return Some(Ask::Summary);
        }
        if self.keys_left == 0 {
            return None;
        }
        if !self.wanted.is_empty() {
            let count = self.wanted.len().min(MAX_KEYS).min(self.keys_left);
            self.keys_left -= count;
            return Some(Ask::Find(self.wanted.drain(..count).collect()));
        }
        let count = self.pages.len().min(MAX_PAGES).min(self.pages_left);
        self.pages_left -= count;
        (count > 0).then(|| {
            let mut pages: Vec<Key> = self.pages.drain(..count).collect();
            pages.sort_unstable();
            Ask::Pages(pages)
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
            (Some(Ask::Pages(pages)), Answer::Pages(told)) => self.want(&pages, &told, entries),
            (Some(Ask::Find(_)), Answer::Found) => Ok(()),
            _ => Err(Misbehaviour::NotAsked),
        };
        taken.inspect_err(|_| self.give_up())
    }

    /// Has nothing left to ask.
    fn give_up(&mut self) {
        (self.begun, self.keys_left) = (true, 0);
    }

    /// The parts are asked for in any order: if all rounds began with the first and were cut short,
    /// the last would never have their turn.
    fn compare(&mut self, theirs: &[Key], random: &mut impl Rng) -> Result<(), Misbehaviour> {
        if theirs.len() != PARTS {
            return Err(Misbehaviour::Count);
        }
        let mut parts = differing(&self.mine, theirs);
        parts.shuffle(random);
        self.pages = parts.into_iter().map(first_of).collect();
        Ok(())
    }

    /// What follows a full page is asked for after the pages of other parts, so that a part that
    /// somebody has filled does not keep them waiting.
    fn want(
        &mut self,
        pages: &[Key],
        told: &[Vec<Entry>],
        entries: &impl Entries,
    ) -> Result<(), Misbehaviour> {
        if told.len() != pages.len() {
            return Err(Misbehaviour::Count);
        }
        for (from, theirs) in pages.iter().zip(told) {
            check(from, theirs)?;
            let open = theirs.iter().filter(|entry| !entries.is_settled(entry));
            let open: Vec<Entry> = open.copied().collect();
            self.wanted.extend(missing(entries.entries_from(from), &open));
            if theirs.len() == MAX_ENTRIES {
                self.pages.extend(theirs.last().and_then(|last| next_of(&last.key)));
            }
        }
        Ok(())
    }
}

/// Whether these may be the entries of the page that begins here.
fn check(from: &Key, told: &[Entry]) -> Result<(), Misbehaviour> {
    if told.len() > MAX_ENTRIES {
        return Err(Misbehaviour::TooMany);
    }
    if told.iter().any(|entry| !from.rest_of_part().contains(&entry.key)) {
        return Err(Misbehaviour::OtherPage);
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
            Ask::Pages(pages) => Self::Pages(pages),
            Ask::Find(keys) => Self::Find(keys),
        }
    }
}
