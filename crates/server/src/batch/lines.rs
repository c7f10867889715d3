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
    /// How many of the first bytes of the buffer have been searched and have no newline. Without this, a
    /// line that comes byte by byte would be searched as often.
    searched: usize,
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
        let beginning = Beginning::Nothing;
        Self { bodies, buffer, searched: 0, beginning, ready: None, next: 0 }
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
        let mut searched = std::mem::take(&mut self.searched);
        while lines < most
            && let Some(found) = newline(&self.buffer[end + searched..])
        {
            let length = searched + found;
            searched = 0;
            let behind = end + length + 1;
            let too_long = self.check(length).is_err();
            if lines > 0 && (behind > GROUP_BYTES || too_long) {
                break;
            }
            (lines, end) = (lines + 1, behind);
            if too_long {
                break;
            }
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
            self.searched = size;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::problem::Code;

    /// What becomes of each line, or the code of its problem, and the size of each group.
    fn split(text: &[u8], size: usize, maximum: u64, most: usize) -> (Vec<String>, Vec<usize>) {
        let bodies = Bodies::new(maximum, 1 << 20, Duration::from_secs(1));
        let mut splitter = Splitter::new(&bodies);
        let (mut lines, mut sizes) = (Vec::new(), Vec::new());
        let mut add = |group: Group| {
            assert_eq!(group.first, lines.len() as u64);
            let before = lines.len();
            let mut text = |text: &[u8]| {
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    lines.push(str::from_utf8(line).unwrap().trim_end_matches('\n').to_owned());
                }
            };
            match group.lines {
                Lines::Text(lines) => text(&lines),
                Lines::Long(line, room) => {
                    assert!(room.is_some_and(|room| room.num_permits() > 0));
                    text(&line);
                }
                Lines::Refused(problem) => lines.push(problem.code.as_str().to_owned()),
            }
            sizes.push(lines.len() - before);
        };
        for piece in text.chunks(size) {
            splitter.push(piece);
            std::iter::from_fn(|| splitter.take(most)).for_each(&mut add);
        }
        splitter.finish().into_iter().for_each(&mut add);
        (lines, sizes)
    }

    #[test]
    fn however_it_comes_it_is_cut_into_the_same_lines() {
        let long = "x".repeat(3 * GROUP_BYTES);
        let text = format!("a\n\nbc\n{long}\nd\n{long}\n\ne");
        let expected: Vec<_> = text.split('\n').map(str::to_owned).collect();
        for size in [1, 5, 4096, GROUP_BYTES, GROUP_BYTES + 1, text.len()] {
            for text in [text.clone(), format!("{text}\n")] {
                let (lines, sizes) = split(text.as_bytes(), size, 1 << 20, 3);
                assert!(lines == expected, "in pieces of {size}");
                assert!(sizes.iter().all(|size| (1..=3).contains(size)), "{sizes:?}");
            }
        }
    }

    #[test]
    fn groups_have_as_many_lines_as_are_asked_for_and_so_many_bytes() {
        let (_, sizes) = split("[1]\n".repeat(10).as_bytes(), 4096, 1 << 20, 4);
        assert_eq!(sizes, [4, 4, 2]);
        let line = format!("{}\n", "x".repeat(GROUP_BYTES / 2 - 1));
        let (_, sizes) = split(line.repeat(5).as_bytes(), usize::MAX, 1 << 20, 100);
        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn what_is_too_long_is_refused_once_and_skipped() {
        for maximum in [10, 2 * GROUP_BYTES] {
            let (fits, long) = ("x".repeat(maximum), "x".repeat(maximum + 1));
            let longer = "x".repeat(5 * maximum);
            let text = format!("{long}\n{fits}\n{longer}\n{longer}\na\n{long}");
            let refused = Code::TooLarge.as_str();
            let expected = [refused, &fits, refused, refused, "a", refused];
            for size in [1, 7, 4096, text.len()] {
                let (lines, _) = split(text.as_bytes(), size, maximum as u64, 100);
                assert!(lines == expected, "in pieces of {size}, at most {maximum}");
            }
        }
    }

    #[test]
    fn nothing_is_no_line() {
        assert_eq!(split(b"", 1, 100, 100).0, [""; 0]);
        assert_eq!(split(b"\n", 1, 100, 100).0, [""]);
    }
}
