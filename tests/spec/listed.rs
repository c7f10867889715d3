//! The directives of which it is known that they fail, and why.
//!
//! The format, line by line: `# …` is a comment; `## reason` begins those that fail for that reason;
//! `path lines…` names them, by the lines on which they begin (`7`, or `7-9` for all that begin
//! there).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// All that is listed.
#[derive(Debug)]
pub(crate) struct Listed {
    scripts: BTreeMap<&'static str, Vec<Entry>>,
}

/// Lines of one script.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) lines: RangeInclusive<usize>,
    pub(crate) reason: &'static str,
}

impl Listed {
    /// # Panics
    ///
    /// When the text does not follow the format.
    pub(crate) fn parse(text: &'static str) -> Self {
        let mut scripts = BTreeMap::<_, Vec<_>>::new();
        let mut reason = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(heading) = line.strip_prefix("## ") {
                reason = Some(heading);
            } else if !line.starts_with('#') {
                let mut words = line.split(' ');
                let script = words.next().expect("there is a first word");
                let reason = reason.expect("a reason comes before the first script");
                let entries = words.map(|lines| Entry { lines: range(lines), reason });
                scripts.entry(script).or_default().extend(entries);
            }
        }
        Self { scripts }
    }

    /// What is listed of one script.
    pub(crate) fn of(&self, script: &str) -> &[Entry] {
        self.scripts.get(script).map_or(&[], Vec::as_slice)
    }

    /// The scripts of which something is listed.
    pub(crate) fn scripts(&self) -> impl Iterator<Item = &'static str> {
        self.scripts.keys().copied()
    }
}

fn range(lines: &str) -> RangeInclusive<usize> {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{lines} are no lines"));
    match lines.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(lines)..=number(lines),
    }
}
