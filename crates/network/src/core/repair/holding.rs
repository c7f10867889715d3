//! One record whose content this node holds, and what it knows of others about it.

use std::time::Duration;

use libp2p::PeerId;
use rand::{Rng, RngExt};

use super::doubts::Doubts;
use super::plan::Plan;
use super::{BELIEVED, FRESH, LINGER, PATIENCE};
use crate::Key;
use crate::core::placement::{LivePeers, REPLICAS, willing_targets};

/// How long a peer is left alone after the first failure with a record, and at most.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// The same, after a refusal: what a peer will not have it will hardly want soon.
const REFUSED_FOR: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// After so many failures in a row, the next nearest peer is to hold the record instead.
const PASSED_OVER_AFTER: u32 = 2;

/// Of how many peers something is known about one record, at most.
const MAX_STANDINGS: usize = 16;

/// The most turns that a holder which is no target waits for being far away.
const MAX_TURNS: usize = 4;

/// What a decision is made from, besides the record.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) now: Duration,
    pub(super) me: &'a PeerId,
    pub(super) live: &'a LivePeers,
    pub(super) doubts: &'a Doubts,
}

#[derive(Debug)]
pub(super) struct Holding {
    owner: PeerId,
    /// Of peers that should hold it, and of those that are passed over.
    standings: Vec<Standing>,
    /// Since when others hold it in this node's place.
    surplus_since: Option<Duration>,
    /// Whether fewer peers are known to hold it than should.
    pub(super) wanting: bool,
}

/// How a peer stands to a record.
#[derive(Debug)]
struct Standing {
    peer: PeerId,
    known: Known,
    /// In a row.
    failures: u32,
    refused: bool,
    /// Nothing is asked of it before.
    retry_at: Duration,
}

/// What a peer said, last at `at`.
#[derive(Clone, Copy, Debug)]
enum Known {
    Nothing,
    Holds { at: Duration },
    Lacks { since: Duration, at: Duration },
}

/// What to do about a peer that should hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Ask,
    Store,
}

impl Holding {
    pub(super) fn new(owner: PeerId) -> Self {
        Self { owner, standings: Vec::new(), surplus_since: None, wanting: true }
    }

    /// Plans what to do about the record; `true` if this node is to let go of it.
    pub(super) fn look(&mut self, key: &Key, view: &View<'_>, plan: &mut Plan<'_>) -> bool {
        let willing = |peer: &PeerId| {
            !self.is_passed_over(view.now, peer) && !view.doubts.is_distrusted(view.now, peer)
        };
        let targets = willing_targets(key, &self.owner, view.live, willing);
        self.forget_others(view.now, &targets);
        let holding = |peer: &&PeerId| *peer == view.me || self.is_held_by(peer);
        let held = targets.iter().filter(holding).count();
        let mine = targets.iter().position(|peer| peer == view.me);
        let turn = match mine {
            Some(mine) => targets[..mine].iter().filter(holding).count(),
            None => held + turns_of_distance(key, view),
        };
        self.wanting = held + usize::from(mine.is_none()) < targets.len();
        for target in targets.iter().filter(|target| *target != view.me) {
            match self.step(view.now, target, turn) {
                Step::Nothing => {}
                Step::Ask => plan.ask(*target, *key),
                Step::Store => plan.store(*target, *key),
            }
        }
        if mine.is_some() || held < REPLICAS {
            self.surplus_since = None;
            return false;
        }
        self.is_released(key, view.now, &targets, plan)
    }

    /// The turn says how many should act before this node does.
    fn step(&self, now: Duration, peer: &PeerId, turn: usize) -> Step {
        let Some(standing) = self.standing(peer) else { return Step::Ask };
        if now < standing.retry_at {
            return Step::Nothing;
        }
        match standing.known {
            Known::Holds { at } if now < at + BELIEVED => Step::Nothing,
            Known::Nothing | Known::Holds { .. } => Step::Ask,
            Known::Lacks { since, at } => {
                let turn = u32::try_from(turn).unwrap_or(u32::MAX);
                let my_turn = since + PATIENCE.saturating_mul(turn);
                match () {
                    () if now < my_turn => Step::Nothing,
                    // Those before may have done it since.
                    () if at < my_turn || now > at + FRESH => Step::Ask,
                    () => Step::Store,
                }
            }
        }
    }

    /// All targets hold it and this node is none of them. Before the only copy that is not theirs is
    /// let go, they have to say so again.
    fn is_released(
        &mut self,
        key: &Key,
        now: Duration,
        targets: &[PeerId],
        plan: &mut Plan<'_>,
    ) -> bool {
        let since = *self.surplus_since.get_or_insert(now);
        if now < since + LINGER {
            return false;
        }
        let stale = |peer: &&PeerId| !self.was_held_by(peer, now.saturating_sub(FRESH));
        let stale: Vec<_> = targets.iter().filter(stale).collect();
        stale.iter().for_each(|peer| plan.ask(**peer, *key));
        stale.is_empty()
    }

    /// How many others are known to hold it.
    pub(super) fn copies(&self) -> usize {
        self.holders().count()
    }

    /// Who they are.
    pub(super) fn holders(&self) -> impl Iterator<Item = &PeerId> {
        let holds = |standing: &&Standing| matches!(standing.known, Known::Holds { .. });
        self.standings.iter().filter(holds).map(|standing| &standing.peer)
    }

    /// `peer` said whether it holds the record.
    pub(super) fn told(&mut self, now: Duration, peer: &PeerId, holds: bool) {
        let standing = self.standing_mut(peer);
        if holds {
            let known = Known::Holds { at: now };
            *standing = Standing { known, ..Standing::new(*peer) };
        } else {
            let since = match standing.known {
                Known::Lacks { since, .. } => since,
                Known::Nothing | Known::Holds { .. } => now,
            };
            standing.known = Known::Lacks { since, at: now };
        }
    }

    /// `peer` did not answer.
    pub(super) fn failed(&mut self, now: Duration, peer: &PeerId, random: &mut impl Rng) {
        self.standing_mut(peer).back_off(now, RETRY_AFTER, random);
    }

    /// `peer` will not have the record.
    pub(super) fn refused(&mut self, now: Duration, peer: &PeerId, random: &mut impl Rng) {
        let standing = self.standing_mut(peer);
        standing.refused = true;
        standing.back_off(now, REFUSED_FOR, random);
    }

    /// `peer` is gone.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.standings.retain(|standing| standing.peer != *peer);
    }

    /// Forgets peers that are of no matter now.
    fn forget_others(&mut self, now: Duration, targets: &[PeerId]) {
        let matters =
            |standing: &Standing| targets.contains(&standing.peer) || now < standing.retry_at;
        self.standings.retain(matters);
    }

    fn is_passed_over(&self, now: Duration, peer: &PeerId) -> bool {
        self.standing(peer).is_some_and(|standing| {
            now < standing.retry_at && (standing.refused || standing.failures >= PASSED_OVER_AFTER)
        })
    }

    fn is_held_by(&self, peer: &PeerId) -> bool {
        self.was_held_by(peer, Duration::ZERO)
    }

    /// Whether `peer` has said at `since` or later that it holds the record, and nothing else since.
    fn was_held_by(&self, peer: &PeerId, since: Duration) -> bool {
        let known = self.standing(peer).map(|standing| standing.known);
        matches!(known, Some(Known::Holds { at }) if at >= since)
    }

    fn standing(&self, peer: &PeerId) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.peer == *peer)
    }

    /// The peer's standing, which begins with nothing known. The oldest makes place if there are too
    /// many: what it did is found out again.
    fn standing_mut(&mut self, peer: &PeerId) -> &mut Standing {
        let index = self.standings.iter().position(|standing| standing.peer == *peer);
        let index = index.unwrap_or_else(|| {
            if self.standings.len() >= MAX_STANDINGS {
                self.standings.remove(0);
            }
            self.standings.push(Standing::new(*peer));
            self.standings.len() - 1
        });
        &mut self.standings[index]
    }
}

impl Standing {
    fn new(peer: PeerId) -> Self {
        let (known, retry_at) = (Known::Nothing, Duration::ZERO);
        Self { peer, known, failures: 0, refused: false, retry_at }
    }

    /// Leaves the peer alone for twice as long as the last time, and for some more, so that those who
    /// failed together do not try again together.
    fn back_off(
        &mut self,
        now: Duration,
        (first, most): (Duration, Duration),
        random: &mut impl Rng,
    ) {
        let doubled = first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.retry_at = now + doubled.min(most).mul_f64(random.random_range(1.0..1.5));
        self.failures = self.failures.saturating_add(1);
    }
}

/// How many turns a holder that is no target waits because others are nearer.
fn turns_of_distance(key: &Key, view: &View<'_>) -> usize {
    let nearest = view.live.nearest(key).take(REPLICAS + MAX_TURNS);
    nearest.take_while(|peer| *peer != view.me).count().saturating_sub(REPLICAS)
}
