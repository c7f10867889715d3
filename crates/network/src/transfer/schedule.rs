//! Which parts of a fetch are missing, and of whom they are asked. Does nothing, and has no clock.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use futures_util::future::AbortHandle;
use libp2p::PeerId;

/// The least and the most that a part may take before somebody who has nothing to do is asked for it,
/// too.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// The parts of a fetch that are missing.
#[derive(Debug)]
pub(super) struct Schedule {
    missing: BTreeSet<usize>,
    /// Those that nobody is asked for.
    waiting: VecDeque<usize>,
    /// Those that somebody is asked for, or two.
    asked: Vec<Asked>,
    patience: Duration,
}

#[derive(Debug)]
struct Asked {
    part: usize,
    peer: PeerId,
    since: Instant,
    abort: AbortHandle,
}

impl Schedule {
    /// For as long as nothing has come, whoever has nothing to do is asked for a part that somebody
    /// else has not sent in `patience`.
    pub(super) fn new(missing: Vec<usize>, patience: Duration) -> Self {
        let waiting = missing.iter().copied().collect();
        let missing = missing.into_iter().collect();
        Self { missing, waiting, asked: Vec::new(), patience }
    }

    /// Whether all parts are here.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// What to ask of `peer`: the next part, or where there is none, the one that somebody else has
    /// been asked for longest and too long ago.
    pub(super) fn take(&mut self, peer: PeerId, now: Instant) -> Option<usize> {
        let waiting = self.waiting.pop_front();
        waiting.or_else(|| Some(self.next_overtaking(peer).filter(|(at, _)| *at <= now)?.1))
    }

    /// When `peer` may be asked for a part that another has not sent, and which.
    pub(super) fn next_overtaking(&self, peer: PeerId) -> Option<(Instant, usize)> {
        let slow =
            self.asked.iter().filter(|asked| asked.peer != peer && self.asked_of(asked.part) == 1);
        slow.map(|asked| (asked.since + self.patience, asked.part)).min()
    }

    fn asked_of(&self, part: usize) -> usize {
        self.asked.iter().filter(|asked| asked.part == part).count()
    }

    /// That `peer` is asked for a part. Aborting gives it up.
    pub(super) fn ask(&mut self, part: usize, peer: PeerId, since: Instant, abort: AbortHandle) {
        self.asked.push(Asked { part, peer, since, abort });
    }

    /// That a part came from `peer`. Whoever else is asked for it is given up; says who that was.
    pub(super) fn came(&mut self, part: usize, peer: PeerId, now: Instant) -> Option<PeerId> {
        self.missing.remove(&part);
        let mut overtaken = None;
        for asked in self.asked.extract_if(.., |asked| asked.part == part) {
            if asked.peer == peer {
                let took = now.saturating_duration_since(asked.since);
                let (least, most) = PATIENCE;
                self.patience = ((self.patience + 2 * took) / 2).clamp(least, most);
            } else {
                asked.abort.abort();
                overtaken = Some(asked.peer);
            }
        }
        overtaken
    }

    /// That a part did not come from `peer`.
    pub(super) fn failed(&mut self, part: usize, peer: PeerId) {
        self.asked.retain(|asked| (asked.part, asked.peer) != (part, peer));
        if self.missing.contains(&part) && self.asked_of(part) == 0 {
            self.waiting.push_front(part);
        }
    }

    /// Gives up all that `peer` is asked for.
    pub(super) fn give_up(&mut self, peer: PeerId) {
        let given_up: Vec<usize> = self
            .asked
            .iter()
            .filter(|asked| asked.peer == peer)
            .inspect(|asked| asked.abort.abort())
            .map(|asked| asked.part)
            .collect();
        given_up.into_iter().for_each(|part| self.failed(part, peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);

    struct Fetch {
        schedule: Schedule,
        start: Instant,
        aborts: Vec<AbortHandle>,
    }

    impl Fetch {
        fn of(parts: usize) -> Self {
            let schedule = Schedule::new((0..parts).collect(), FIRST);
            Self { schedule, start: Instant::now(), aborts: Vec::new() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn ask(&mut self, peer: PeerId, millis: u64) -> Option<usize> {
            let part = self.schedule.take(peer, self.at(millis))?;
            let (abort, _) = AbortHandle::new_pair();
            self.aborts.push(abort.clone());
            self.schedule.ask(part, peer, self.at(millis), abort);
            Some(part)
        }
    }

    #[test]
    fn parts_are_asked_for_once_until_somebody_is_slow() {
        let [slow, fast] = [PeerId::random(), PeerId::random()];
        let mut fetch = Fetch::of(3);
        assert_eq!(fetch.ask(slow, 0), Some(0));
        assert_eq!(fetch.ask(fast, 0), Some(1));
        assert_eq!(fetch.schedule.came(1, fast, fetch.at(100)), None);
        assert_eq!(fetch.ask(fast, 100), Some(2));
        assert_eq!(fetch.schedule.came(2, fast, fetch.at(200)), None);
        // A part took 100 ms, so one that takes more than 200 is slow, but less than 250 never is.
        assert_eq!(fetch.ask(fast, 200), None);
        let (at, part) = fetch.schedule.next_overtaking(fast).unwrap();
        assert_eq!(part, 0);
        assert!(at >= fetch.at(250) && at <= fetch.at(500));
        assert_eq!(fetch.ask(slow, 1000), None, "not from the same");
        assert_eq!(fetch.ask(fast, 1000), Some(0));
        assert_eq!(fetch.ask(PeerId::random(), 5000), None, "two are asked");
        assert_eq!(fetch.schedule.came(0, fast, fetch.at(1100)), Some(slow));
        let aborted: Vec<bool> = fetch.aborts.iter().map(AbortHandle::is_aborted).collect();
        assert_eq!(aborted, [true, false, false, false]);
        assert!(fetch.schedule.is_done());
    }

    #[test]
    fn what_fails_is_next() {
        let [one, other] = [PeerId::random(), PeerId::random()];
        let mut fetch = Fetch::of(3);
        assert_eq!(fetch.ask(one, 0), Some(0));
        assert_eq!(fetch.ask(one, 0), Some(1));
        fetch.schedule.failed(0, one);
        assert_eq!(fetch.ask(other, 0), Some(0));
        fetch.schedule.give_up(one);
        assert_eq!(fetch.ask(other, 0), Some(1));
        assert_eq!(fetch.ask(other, 0), Some(2));
        // What came meanwhile is not asked for again, and what another is asked for is left to it.
        assert_eq!(fetch.ask(one, 1000), Some(0));
        fetch.schedule.failed(0, one);
        assert_eq!(fetch.schedule.came(0, other, fetch.at(1000)), None);
        fetch.schedule.failed(0, one);
        assert_eq!(fetch.ask(PeerId::random(), 3000), Some(1));
    }
}
