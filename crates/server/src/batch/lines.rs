//! Cutting what comes into lines, and these into groups, without keeping a line that is too long.

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::GROUP_BYTES;
use crate::body::Bodies;
use crate::problem::Problem;

/// Lines that follow each other.
#[derive(Debug)]
pub(super) struct Group {
    /// The number of the first.
    pub(super) first: u64,
    pub(super) lines: Lines,
}

#[derive(Debug)]
pub(super) enum Lines {
    /// Each with its newline, which the last of all may lack.
    Text(Bytes),
    /// A long one, and the room that it takes.
    Long(BytesMut, Option<OwnedSemaphorePermit>),
    /// One that is not run.
    Refused(Box<Problem>),
}

/// Cuts what comes into groups.
#[derive(Debug)]
pub(super) struct Splitter<'a> {
    bodies: &'a Bodies,
    /// Whole lines that are not taken yet, and the beginning of the next.
    buffer: BytesMut,
    beginning: Beginning,
    /// A group that goes before what is in the buffer.
    ready: Option<Group>,
    /// The number of the next line.
    next: u64,
}

/// What came of a line before what is in the buffer. The buffer is empty but while it is nothing.
#[derive(Debug)]
enum Beginning {
    Nothing,
    /// It is longer than a group may be.
    Long(BytesMut, Option<OwnedSemaphorePermit>),
    /// It was refused, and is skipped up to its end.
    Skipped,
}

impl<'a> Splitter<'a> {
    /// Lines may be as long as other requests' bodies, and take their room when they are long.
    pub(super) fn new(bodies: &'a Bodies) -> Self {
        let buffer = BytesMut::new();
        Self { bodies, buffer, beginning: Beginning::Nothing, ready: None, next: 0 }
    }

    /// Takes what came. All groups have to be taken before more is put in.
    pub(super) fn push(&mut self, data: &[u8]) {
        let rest = match std::mem::replace(&mut self.beginning, Beginning::Nothing) {
            Beginning::Nothing => data,
            beginning => self.go_on(beginning, data),
        };
        self.buffer.extend_from_slice(rest);
    }

    /// Goes on with a line that has begun; what is behind its end is left.
    fn go_on<'d>(&mut self, beginning: Beginning, data: &'d [u8]) -> &'d [u8] {
        let end = newline(data);
        let (part, rest) = data.split_at(end.map_or(data.len(), |end| end + 1));
        self.beginning = match beginning {
            Beginning::Long(mut line, mut room) => match self.grow(&mut line, &mut room, part) {
                Ok(()) if end.is_some() => {
                    self.emit(Lines::Long(line, room));
                    Beginning::Nothing
                }
                Ok(()) => Beginning::Long(line, room),
                Err(problem) => {
                    self.emit(Lines::Refused(Box::new(problem)));
                    if end.is_some() { Beginning::Nothing } else { Beginning::Skipped }
                }
            },
            beginning if end.is_none() => beginning,
            _ => Beginning::Nothing,
        };
        rest
    }

    /// Adds to a long line.
    fn grow(
        &self,
        line: &mut BytesMut,
        room: &mut Option<OwnedSemaphorePermit>,
        part: &[u8],
    ) -> Result<(), Problem> {
        let content = part.strip_suffix(b"\n").unwrap_or(part);
        self.check(line.len() + content.len())?;
        self.bodies.grow(room, (line.len() + part.len()) as u64)?;
        line.extend_from_slice(part);
        Ok(())
    }

    /// Whether a line may have so many bytes, its newline not counted.
    fn check(&self, size: usize) -> Result<(), Problem> {
        match size as u64 > self.bodies.maximum() {
            true => Err(self.bodies.line_too_large()),
            false => Ok(()),
        }
    }

    /// The next group, of at most so many lines, if a line is complete.
    pub(super) fn take(&mut self, most: usize) -> Option<Group> {
        if let Some(group) = self.ready.take() {
            return Some(group);
        }
        let (mut lines, mut end) = (0, 0);
        while lines < most
            && let Some(length) = newline(&self.buffer[end..])
        {
            let behind = end + length + 1;
            if lines > 0 && (behind > GROUP_BYTES || self.check(length).is_err()) {
                break;
            }
            (lines, end) = (lines + 1, behind);
        }
        match lines {
            0 => self.begin_long_line(),
            _ => Some(self.group_of(lines, end)),
        }
    }

    /// The first lines of the buffer, which end there.
    fn group_of(&mut self, lines: usize, end: usize) -> Group {
        let text = self.buffer.split_to(end);
        if self.buffer.is_empty() {
            // The allocation is the group's, so that one who sends nothing more holds none.
            self.buffer = BytesMut::new();
        }
        let first = self.next;
        self.next += lines as u64;
        let too_long = self.check(end - 1).err().filter(|_| lines == 1);
        let lines = match too_long {
            Some(problem) => Lines::Refused(Box::new(problem)),
            None => Lines::Text(text.freeze()),
        };
        Group { first, lines }
    }

    /// Begins to keep for itself, with room of its own, a line that has grown too long for a group.
    fn begin_long_line(&mut self) -> Option<Group> {
        let size = self.buffer.len();
        if size <= GROUP_BYTES && self.check(size).is_ok() {
            return None;
        }
        let start = std::mem::take(&mut self.buffer);
        let beginning = Beginning::Long(BytesMut::new(), None);
        let rest = self.go_on(beginning, &start);
        debug_assert!(rest.is_empty(), "there is no newline in it");
        self.ready.take()
    }

    /// The last line, if it lacks its newline.
    pub(super) fn finish(&mut self) -> Option<Group> {
        match std::mem::replace(&mut self.beginning, Beginning::Nothing) {
            Beginning::Long(line, room) => self.emit(Lines::Long(line, room)),
            Beginning::Nothing if !self.buffer.is_empty() => {
                let text = std::mem::take(&mut self.buffer);
                self.emit(Lines::Text(text.freeze()));
            }
            Beginning::Nothing | Beginning::Skipped => {}
        }
        self.ready.take()
    }

    /// The problem as the answer to the line that was to come or to end.
    pub(super) fn give_up(&mut self, problem: Problem) -> Option<Group> {
        self.emit(Lines::Refused(Box::new(problem)));
        self.ready.take()
    }

    fn emit(&mut self, lines: Lines) {
        self.ready = Some(Group { first: self.next, lines });
        self.next += 1;
    }
}

fn newline(data: &[u8]) -> Option<usize> {
    data.iter().position(|byte| *byte == b'\n')
}
