//! Keeping the content of records on as many peers as should hold it.
//!
//! A [`Repair`] knows for which records this node holds the content, which peers live, and who was
//! heard to hold what. [`Repair::plan`] says what to do about it: ask peers what they hold, hand
//! content to those that should hold it and do not, and let go of what others hold in this node's
//! place. Each record has those who care for it in an order: its targets that hold it, then other
//! holders, the nearest first. Who is later in it waits longer before it acts, and asks again first.
//! So one node acts at a time, and if it does not, because it lies or is slow, the next one does.
//!
//! A peer is believed what it says it holds, until it is asked to prove it and cannot
//! ([`Repair::next_audit`]). Until then one that lies keeps a copy from being made; it cannot keep the
//! owner from having its own.

mod doubts;
mod flights;
mod holding;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use libp2p::PeerId;
use rand::{Rng, RngExt};

use self::doubts::Doubts;
use self::flights::Flights;
use self::holding::{Holding, View};
use self::plan::Plan;
use super::placement::LivePeers;
use crate::Key;

/// The most records that one plan looks at. The next goes on where it ended.
pub const MAX_LOOKED_AT: usize = 4096;

/// How many records may be on their way to others at once, and how many of them to one peer.
pub const MAX_STORES: usize = 16;
/// See [`MAX_STORES`].
pub const MAX_STORES_TO_ONE: usize = 4;

/// How many peers may be asked at once what they hold; each of them one question at a time.
pub const MAX_ASKS: usize = 16;

/// How long each one in the order of those who care waits for the one before it.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// For how long it is believed that a peer holds what it said it holds.
pub const BELIEVED: Duration = Duration::from_secs(600);

/// What a peer said before this long ago is asked again before anything is done about it.
pub const FRESH: Duration = Duration::from_secs(5);

/// For how long others have to hold a record in this node's place before it lets go of it: peers
/// that come and go would otherwise have it copied each time.
pub const LINGER: Duration = Duration::from_secs(600);

/// Something to do. Each is to be reported back, but for [`Action::Release`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask `peer` of which of these records it holds the content; at most 64. Ends with
    /// [`Repair::told`] or [`Repair::not_told`].
    AskHolds {
        /// Whom to ask.
        peer: PeerId,
        /// The keys of the records.
        keys: Vec<Key>,
    },
    /// Ask `peer` to store the record. Ends with [`Repair::store_ended`].
    Store {
        /// Who should hold it.
        peer: PeerId,
        /// The record's key.
        key: Key,
    },
    /// The content of this record may be deleted here. It is forgotten already.
    Release {
        /// The record's key.
        key: Key,
    },
}

/// How asking a peer to store a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It has it, or one that supersedes it.
    Yes,
    /// It will not have it.
    Refused,
    /// There was no answer, or it could not be done now.
    Failed,
}

/// What came of asking a peer to prove that it holds a record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It proved it.
    Given,
    /// It was silent, though it says that it holds it.
    Silent,
    /// It has something else, or nothing, and says that it holds it.
    Wrong,
}

/// How things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records whose content this node holds.
    pub held: usize,
    /// Those of them that fewer peers are known to hold than should, when they were last looked at.
    pub wanting: usize,
    /// Questions that are not answered yet.
    pub asks: usize,
    /// Records on their way to others.
    pub stores: usize,
}

/// At how many records is looked for one that another peer says it holds.
const MAX_AUDITABLE: usize = 64;

/// The last key there can be.
const LAST: Key = Key::from_bytes([u8::MAX; Key::BYTES]);

/// The state of one node. Times are since any fixed moment.
#[derive(Debug)]
pub struct Repair {
    me: PeerId,
    live: LivePeers,
    holdings: BTreeMap<Key, Holding>,
    /// The key of the record that was looked at last.
    cursor: Key,
    flights: Flights,
    doubts: Doubts,
}

impl Repair {
    /// A node that holds nothing and knows nobody.
    pub fn new(me: PeerId) -> Self {
        let live = LivePeers::from_iter([me]);
        let (flights, doubts) = (Flights::default(), Doubts::default());
        Self { me, live, holdings: BTreeMap::new(), cursor: LAST, flights, doubts }
    }

    /// The peers that live, this node among them.
    pub fn live(&self) -> &LivePeers {
        &self.live
    }

    /// A peer lives.
    pub fn joined(&mut self, peer: PeerId) {
        self.live.insert(peer);
    }

    /// A peer is gone, and with it what was known of it. Nothing that was asked of it needs to be
    /// reported any more.
    pub fn left(&mut self, peer: &PeerId) {
        if *peer != self.me && self.live.remove(peer) {
            self.flights.forget(peer);
            self.doubts.forget(peer);
            self.holdings.values_mut().for_each(|holding| holding.forget(peer));
        }
    }

    /// This node holds the content of `owner`'s record under `key`. Of a record that it held already,
    /// all that was known is forgotten: the content may be another one.
    pub fn held(&mut self, key: Key, owner: PeerId) {
        self.holdings.insert(key, Holding::new(owner));
    }

    /// This node does not hold it any more, or nobody should: it has expired, or was taken back.
    pub fn released(&mut self, key: &Key) {
        self.holdings.remove(key);
    }

    /// Whether this node is to hold the content of the record.
    pub fn holds(&self, key: &Key) -> bool {
        self.holdings.contains_key(key)
    }

    /// `peer` answered that it holds these of the records it was asked for.
    pub fn told(&mut self, now: Duration, peer: &PeerId, held: &[Key]) {
        let held: BTreeSet<_> = held.iter().collect();
        let is_believed = self.is_believed(now, peer);
        for key in self.flights.answered(peer) {
            if let Some(holding) = self.holdings.get_mut(&key).filter(|_| is_believed) {
                holding.told(now, peer, held.contains(&key));
            }
        }
    }

    /// `peer` did not answer what it holds.
    pub fn not_told(&mut self, now: Duration, peer: &PeerId, random: &mut impl Rng) {
        for key in self.flights.answered(peer) {
            if let Some(holding) = self.holdings.get_mut(&key) {
                holding.failed(now, peer, random);
            }
        }
    }

    /// Asking `peer` to store a record ended so, whether a plan had said to ask or it was done for
    /// another reason.
    pub fn store_ended(
        &mut self,
        now: Duration,
        peer: &PeerId,
        key: &Key,
        stored: Stored,
        random: &mut impl Rng,
    ) {
        self.flights.landed(peer, key);
        if !self.is_believed(now, peer) {
            return;
        }
        let Some(holding) = self.holdings.get_mut(key).filter(|_| *peer != self.me) else { return };
        match stored {
            Stored::Yes => holding.told(now, peer, true),
            Stored::Refused => holding.refused(now, peer, random),
            Stored::Failed => holding.failed(now, peer, random),
        }
    }

    /// Whether `peer` has not been found out to say that it holds what it does not.
    pub fn is_believed(&self, now: Duration, peer: &PeerId) -> bool {
        !self.doubts.is_distrusted(now, peer)
    }

    /// Somebody who says that it holds a record's content, any of both, to prove it. Ends with
    /// [`Repair::audited`] or [`Repair::denied`], or with nothing if it could not be asked.
    pub fn next_audit(&self, now: Duration, random: &mut impl Rng) -> Option<(PeerId, Key)> {
        let mut from = [0; Key::BYTES];
        random.fill_bytes(&mut from);
        let from = Key::from_bytes(from);
        let all = self.holdings.range(from..).chain(self.holdings.range(..from));
        let mut held = all.take(MAX_AUDITABLE).filter_map(|(key, holding)| {
            let holders: Vec<_> = holding.holders().collect();
            let index = random.random_range(0..holders.len().max(1));
            holders.get(index).map(|peer| (**peer, *key))
        });
        held.find(|(peer, _)| self.live.contains(peer) && self.is_believed(now, peer))
    }

    /// `peer`, asked to prove that it holds the content of the record, answered so. `true` if it is
    /// found out by it: then nothing that it says counts for a while, and it is to hold nothing.
    pub fn audited(&mut self, now: Duration, peer: &PeerId, key: &Key, proof: Proof) -> bool {
        if proof == Proof::Given
            && let Some(holding) = self.holdings.get_mut(key)
        {
            holding.told(now, peer, true);
        }
        let is_found_out = self.doubts.note(now, peer, proof);
        if is_found_out {
            self.holdings.values_mut().for_each(|holding| holding.forget(peer));
        }
        is_found_out
    }

    /// `peer` says that it does not hold the content of the record.
    pub fn denied(&mut self, now: Duration, peer: &PeerId, key: &Key) {
        if let Some(holding) = self.holdings.get_mut(key) {
            holding.told(now, peer, false);
        }
    }

    /// How many other nodes are known to hold the content of the record, which this node holds.
    pub fn replicas(&self, key: &Key) -> usize {
        self.holdings.get(key).map_or(0, |holding| holding.copies())
    }

    /// How things stand.
    pub fn counts(&self) -> Counts {
        let wanting = self.holdings.values().filter(|holding| holding.wanting).count();
        let (asks, stores) = self.flights.counts();
        Counts { held: self.holdings.len(), wanting, asks, stores }
    }

    /// What to do now. To be called about once a second, and when something was reported.
    pub fn plan(&mut self, now: Duration, random: &mut impl Rng) -> Vec<Action> {
        self.give_up_what_is_late(now, random);
        let Self { me, live, holdings, cursor, flights, doubts } = self;
        let view = View { now, me, live, doubts };
        let mut plan = Plan::new(now, flights);
        let mut released = Vec::new();
        let mut left = MAX_LOOKED_AT;
        let from = *cursor;
        let ranges =
            [(Bound::Excluded(from), Bound::Unbounded), (Bound::Unbounded, Bound::Included(from))];
        for range in ranges {
            for (key, holding) in holdings.range_mut(range).take(left) {
                if holding.look(key, &view, &mut plan) {
                    released.push(*key);
                }
                *cursor = *key;
                left -= 1;
            }
        }
        let mut actions = plan.into_actions();
        for key in released {
            self.holdings.remove(&key);
            actions.push(Action::Release { key });
        }
        actions
    }

    /// Whoever carries out the actions has its own time limits. If it forgets to report all the same,
    /// this keeps the places in flight from running out.
    fn give_up_what_is_late(&mut self, now: Duration, random: &mut impl Rng) {
        for peer in self.flights.late_asks(now) {
            self.not_told(now, &peer, random);
        }
        for (peer, key) in self.flights.late_stores(now) {
            self.store_ended(now, &peer, &key, Stored::Failed, random);
        }
    }
}
