//! A disk in memory that remembers what was done to it, in order, and can tell what it may hold
//! after the power went at any moment of that.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use proptest::prelude::RngExt;
use proptest::test_runner::TestRng;
use redb::StorageBackend;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Something that happened, to the disk or, as a `Note`, to those who use what is on it.
#[derive(Debug, Clone)]
pub(super) enum Event<Note> {
    Change(Change),
    /// All changes before it last.
    Sync,
    Note(Note),
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

/// A handle to the disk; clones are the same disk.
#[derive(Debug)]
pub(super) struct Disk<Note>(Arc<Mutex<State<Note>>>);

#[derive(Debug)]
struct State<Note> {
    content: Vec<u8>,
    timeline: Vec<Event<Note>>,
}

impl<Note> Clone for Disk<Note> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Note> Disk<Note> {
    /// A disk whose content lasts.
    pub(super) fn holding(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { content, timeline: Vec::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State<Note>> {
        self.0.lock().unwrap()
    }

    pub(super) fn note(&self, note: Note) {
        self.state().timeline.push(Event::Note(note));
    }

    /// What was done since the disk was made.
    pub(super) fn take_timeline(&self) -> Vec<Event<Note>> {
        std::mem::take(&mut self.state().timeline)
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }
}

impl<Note: std::fmt::Debug + Send + 'static> StorageBackend for Disk<Note> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.state();
        let range = state.content.get(offset..offset + out.len());
        out.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().apply(Change::Resize(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state().timeline.push(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.state().apply(Change::Write { offset, data: data.to_vec() });
        Ok(())
    }
}

impl<Note> State<Note> {
    fn apply(&mut self, change: Change) {
        if let Change::Write { offset, data } = &change {
            let end = offset + data.len();
            self.content.resize(self.content.len().max(end), 0);
        }
        change.apply_to(&mut self.content);
        self.timeline.push(Event::Change(change));
    }
}

impl Change {
    /// What is written past the end is lost: the growth that made room for it was.
    fn apply_to(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => overwrite(content, *offset, data),
            Self::Resize(length) => content.resize(*length, 0),
        }
    }

    /// The part of it that gets to the disk: each sector of a write by itself.
    fn apply_sectors_to(&self, content: &mut Vec<u8>, mut survives: impl FnMut() -> bool) {
        match self {
            Self::Write { offset, data } => {
                for (index, sector) in data.chunks(SECTOR).enumerate() {
                    if survives() {
                        overwrite(content, offset + index * SECTOR, sector);
                    }
                }
            }
            Self::Resize(_) => self.apply_to(content),
        }
    }
}

fn overwrite(content: &mut [u8], offset: usize, data: &[u8]) {
    let end = content.len().min(offset + data.len());
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(&data[..end - offset]);
    }
}

/// A moment in a disk's timeline: what lasts, and what was done since and may be lost.
#[derive(Debug)]
pub(super) struct Moment {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// What becomes of the changes that were not synced.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Nothing of them is there: a disk with a cache of its own.
    Lost,
    /// All of them are: the process was killed, and the machine runs on.
    Kept,
    /// The first of them, the last of these in part.
    Prefix,
    /// Some of them, in whatever order they were made.
    Subset,
    /// Some sectors of them.
    Sectors,
}

impl Moment {
    pub(super) fn new(durable: Vec<u8>) -> Self {
        Self { durable, pending: Vec::new() }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply_to(&mut self.durable);
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What the disk may hold if the power goes now.
    pub(super) fn image(&self, random: &mut TestRng) -> Vec<u8> {
        let fates = [Fate::Lost, Fate::Kept, Fate::Prefix, Fate::Subset, Fate::Sectors];
        match fates[random.random_range(0..fates.len())] {
            Fate::Lost => self.durable.clone(),
            Fate::Kept => self.prefix(self.pending.len()),
            Fate::Prefix => {
                let whole = random.random_range(0..=self.pending.len());
                let mut content = self.prefix(whole);
                if let Some(torn) = self.pending.get(whole) {
                    let mut sectors = random.random_range(0..8);
                    torn.apply_sectors_to(&mut content, || {
                        sectors -= 1;
                        sectors >= 0
                    });
                }
                content
            }
            Fate::Subset => self.subset(random, false),
            Fate::Sectors => self.subset(random, true),
        }
    }

    fn prefix(&self, length: usize) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in &self.pending[..length] {
            change.apply_to(&mut content);
        }
        content
    }

    /// Each change survives or not. Their order needs no shuffling: an older one that comes after
    /// a newer one is a newer one that is lost. File systems keep resizes in order, so the first
    /// of these survive.
    fn subset(&self, random: &mut TestRng, torn: bool) -> Vec<u8> {
        let percent = random.random_range(1..100);
        let mut resizes = random.random_range(0..=self.pending.len());
        let mut content = self.durable.clone();
        for change in &self.pending {
            let mut survives = || random.random_range(0..100) < percent;
            match change {
                Change::Resize(_) if resizes == 0 => {}
                Change::Resize(_) => {
                    resizes -= 1;
                    change.apply_to(&mut content);
                }
                Change::Write { .. } if torn => change.apply_sectors_to(&mut content, survives),
                Change::Write { .. } if survives() => change.apply_to(&mut content),
                Change::Write { .. } => {}
            }
        }
        content
    }
}
