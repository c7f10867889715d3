//! What became of the suite.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::listed::Entry;
use crate::player::{Played, Verdict};
use crate::suite::Suite;

/// Totals by folder, and all that is not as it should be.
#[derive(Debug)]
pub(crate) struct Report {
    folders: BTreeMap<String, Totals>,
    faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    files: usize,
    /// Directives that are no assertions, and which of them are listed or failed.
    others: Outcomes,
    assertions: Outcomes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    passed: usize,
    listed: usize,
    failed: usize,
}

impl Report {
    pub(crate) fn new(suite: &Suite, mut played: Vec<Played<'_>>) -> Self {
        played.sort_by_key(|played| played.script);
        let mut report = Self { folders: BTreeMap::new(), faults: Vec::new() };
        let mut unknown: BTreeSet<_> = suite.listed.scripts().collect();
        for played in &played {
            unknown.remove(played.script);
            report.add(played, suite.listed.of(played.script));
        }
        let unknown = unknown.into_iter().map(|script| format!("{script}: listed, but not there"));
        report.faults.extend(unknown);
        report
    }

    /// Whether everything passes or is listed, and everything that is listed fails.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn add(&mut self, played: &Played<'_>, listed: &[Entry]) {
        let folder = played.script.rsplit_once('/').map_or(".", |(folder, _)| folder);
        let totals = self.folders.entry(folder.to_owned()).or_default();
        totals.files += 1;
        for verdict in &played.verdicts {
            let entry = listed.iter().find(|entry| entry.lines.contains(&verdict.line));
            let outcomes =
                if verdict.assertion { &mut totals.assertions } else { &mut totals.others };
            if let Some(fault) = outcomes.count(verdict, entry) {
                self.faults.push(format!("{}:{}: {fault}", played.script, verdict.line));
            }
        }
        for Entry { lines, .. } in listed {
            if !played.verdicts.iter().any(|verdict| lines.contains(&verdict.line)) {
                let (first, last) = (lines.start(), lines.end());
                let fault = format!("{}:{first}-{last}: listed, but not there", played.script);
                self.faults.push(fault);
            }
        }
    }
}

impl Outcomes {
    /// Counts one more; gives what is wrong with it.
    fn count(&mut self, verdict: &Verdict, entry: Option<&Entry>) -> Option<String> {
        match (&verdict.failure, entry) {
            (None, None) => self.passed += 1,
            (Some(_), Some(_)) => self.listed += 1,
            (Some(failure), None) => {
                self.failed += 1;
                return Some(failure.clone());
            }
            (None, Some(entry)) => {
                self.failed += 1;
                return Some(format!("passes, but is listed: {}", entry.reason));
            }
        }
        None
    }

    fn all(self) -> usize {
        self.passed + self.listed + self.failed
    }

    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            listed: self.listed + other.listed,
            failed: self.failed + other.failed,
        }
    }
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            others: self.others.plus(other.others),
            assertions: self.assertions.plus(other.assertions),
        }
    }

    fn row(self, folder: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, others, assertions } = self;
        let directives = others.plus(assertions).all();
        let Outcomes { passed, listed, failed } = assertions;
        writeln!(f, "{folder:<38} {files:>5} {directives:>10} {passed:>8} {listed:>6} {failed:>6}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        writeln!(f, "{:<38} files directives   passed listed failed", "folder")?;
        for (folder, totals) in &self.folders {
            totals.row(folder, f)?;
        }
        let all = self.folders.values().fold(Totals::default(), |sum, totals| sum.plus(*totals));
        all.row("all", f)?;
        let Totals { others, assertions, .. } = all;
        writeln!(
            f,
            "{} of {} assertions passed, {} are listed, {} failed; of {} other directives, {} are listed, {} failed",
            assertions.passed,
            assertions.all(),
            assertions.listed,
            assertions.failed,
            others.all(),
            others.listed,
            others.failed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listed::Listed;

    /// The faults of a script whose second line fails and whose third passes.
    fn faults(listed: &'static str) -> Vec<String> {
        let suite = Suite { scripts: Vec::new(), listed: Listed::parse(listed) };
        let failed = Verdict { line: 2, assertion: true, failure: Some("it failed".to_owned()) };
        let passed = Verdict { line: 3, assertion: true, failure: None };
        let played = Played { script: "a/b.wast", verdicts: vec![failed, passed] };
        Report::new(&suite, vec![played]).faults
    }

    #[test]
    fn what_fails_has_to_be_listed() {
        assert_eq!(faults(""), ["a/b.wast:2: it failed"]);
        assert_eq!(faults("## why\n\na/b.wast 2"), [""; 0]);
    }

    #[test]
    fn what_is_listed_has_to_fail() {
        assert_eq!(faults("## why\na/b.wast 2-3"), ["a/b.wast:3: passes, but is listed: why"]);
    }

    #[test]
    fn what_is_listed_has_to_be_there() {
        assert_eq!(faults("## why\na/b.wast 2 4-5"), ["a/b.wast:4-5: listed, but not there"]);
        assert_eq!(faults("## why\na/b.wast 2\nb.wast 1"), ["b.wast: listed, but not there"]);
    }
}
