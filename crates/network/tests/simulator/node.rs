//! A node: the core's parts, and what a node's tasks do around them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use libp2p::PeerId;
use rand::RngExt;
use rand::rngs::StdRng;
use wasm_exec_network::Key;
use wasm_exec_network::core::Entry;
use wasm_exec_network::core::repair::{Action, Repair, Stored};
use wasm_exec_network::core::sync::{Answer, Ask, Entries, Fingerprints, Round, Schedule, told};

/// The records that there are, by their keys. What is not here cannot have been signed.
pub(crate) type Genuine = HashMap<Key, Record>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) owner: PeerId,
    pub(crate) hash: Key,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Sync(Ask),
    Holds(Vec<Key>),
    Store(Key),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Sync(Answer),
    Records(Vec<Entry>),
    Held(Vec<Key>),
    Stored(Stored),
}

/// The records that a node knows of.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<Key, Key>);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) peer: PeerId,
    pub(crate) lives: bool,
    pub(crate) lies: bool,
    pub(crate) known: Known,
    pub(crate) repair: Repair,
    fingerprints: Fingerprints,
    schedule: Schedule,
    rounds: HashMap<PeerId, Round>,
}

impl Known {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Entries for Known {
    fn entries_from(&self, key: &Key) -> impl Iterator<Item = Entry> {
        self.0.range(key.rest_of_part()).map(|(key, hash)| Entry { key: *key, hash: *hash })
    }
}

impl Node {
    pub(crate) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            lives: true,
            lies: false,
            known: Known::default(),
            repair: Repair::new(peer),
            fingerprints: Fingerprints::new(),
            schedule: Schedule::new(),
            rounds: HashMap::new(),
        }
    }

    /// Lives again, with what was on its disk.
    pub(crate) fn restart(&mut self, held: Vec<(Key, PeerId)>) {
        let known = std::mem::take(&mut self.known);
        *self = Self { known, lies: self.lies, ..Self::new(self.peer) };
        held.into_iter().for_each(|(key, owner)| self.repair.held(key, owner));
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.lives && !self.lies
    }

    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.repair.joined(peer);
        self.schedule.connected(peer);
    }

    pub(crate) fn lost(&mut self, peer: &PeerId) {
        self.repair.left(peer);
        self.schedule.gone(peer);
        self.rounds.remove(peer);
    }

    /// Has had its first rounds with all that it is connected to.
    pub(crate) fn settle(&mut self, now: Duration, random: &mut StdRng) {
        while let Some(peer) = self.schedule.begin(now, random) {
            self.schedule.ended(&peer);
        }
    }

    /// Takes a record that it has verified.
    pub(crate) fn learn(&mut self, key: Key, hash: Key) {
        if self.known.0.insert(key, hash) != Some(hash) {
            self.fingerprints.changed(&key);
        }
    }

    /// What it sends now, and which content it lets go of.
    pub(crate) fn tick(
        &mut self,
        now: Duration,
        random: &mut StdRng,
    ) -> (Vec<(PeerId, Request)>, Vec<Key>) {
        let (mut requests, mut released) = (Vec::new(), Vec::new());
        for action in self.repair.plan(now, random) {
            match action {
                Action::AskHolds { peer, keys } => requests.push((peer, Request::Holds(keys))),
                Action::Store { peer, key } => requests.push((peer, Request::Store(key))),
                Action::Release { key } => released.push(key),
            }
        }
        while let Some(peer) = self.schedule.begin(now, random) {
            self.rounds.insert(peer, Round::new(self.fingerprints.summary(&self.known)));
            requests.extend(self.go_on(peer));
        }
        (requests, released)
    }

    /// The next request of the round with `peer`.
    fn go_on(&mut self, peer: PeerId) -> Option<(PeerId, Request)> {
        let ask = self.rounds.get_mut(&peer).and_then(Round::ask);
        if ask.is_none() {
            self.rounds.remove(&peer);
            self.schedule.ended(&peer);
        }
        ask.map(|ask| (peer, Request::Sync(ask)))
    }

    /// What it answers.
    pub(crate) fn reply(
        &mut self,
        request: &Request,
        genuine: &Genuine,
        random: &mut StdRng,
    ) -> Reply {
        match request {
            _ if self.lies => lie(request, random),
            Request::Sync(Ask::Summary) => {
                Reply::Sync(Answer::Summary(self.fingerprints.summary(&self.known)))
            }
            Request::Sync(Ask::Pages(pages)) => {
                Reply::Sync(Answer::Pages(told(&self.known, pages).unwrap_or_default()))
            }
            Request::Sync(Ask::Find(keys)) => {
                let entry = |key: &Key| Some(Entry { key: *key, hash: *self.known.0.get(key)? });
                Reply::Records(keys.iter().filter_map(entry).collect())
            }
            Request::Holds(keys) => {
                let held = keys.iter().filter(|key| self.repair.holds(key));
                Reply::Held(held.copied().collect())
            }
            Request::Store(key) => {
                let record = genuine[key];
                self.learn(*key, record.hash);
                if !self.repair.holds(key) {
                    self.repair.held(*key, record.owner);
                }
                Reply::Stored(Stored::Yes)
            }
        }
    }

    /// Takes a reply, and gives what it asks next.
    pub(crate) fn replied(
        &mut self,
        now: Duration,
        from: PeerId,
        request: &Request,
        reply: Reply,
        genuine: &Genuine,
        random: &mut StdRng,
    ) -> Option<(PeerId, Request)> {
        match (request, reply) {
            (Request::Holds(_), Reply::Held(keys)) => self.repair.told(now, &from, &keys),
            (Request::Store(key), Reply::Stored(stored)) => {
                self.repair.store_ended(now, &from, key, stored, random);
            }
            (Request::Sync(_), Reply::Sync(answer)) => return self.heard(from, answer, random),
            (Request::Sync(_), Reply::Records(entries)) => {
                for Entry { key, hash } in entries {
                    if genuine.get(&key).is_some_and(|record| record.hash == hash) {
                        self.learn(key, hash);
                    }
                }
                return self.heard(from, Answer::Found, random);
            }
            _ => self.not_replied(now, from, request, random),
        }
        None
    }

    fn heard(
        &mut self,
        from: PeerId,
        answer: Answer,
        random: &mut StdRng,
    ) -> Option<(PeerId, Request)> {
        // What a peer did wrong ends the round, and is of no further matter here.
        let _ = self.rounds.get_mut(&from)?.answered(answer, &self.known, random);
        self.go_on(from)
    }

    /// There was no reply in time.
    pub(crate) fn not_replied(
        &mut self,
        now: Duration,
        from: PeerId,
        request: &Request,
        random: &mut StdRng,
    ) {
        match request {
            Request::Holds(_) => self.repair.not_told(now, &from, random),
            Request::Store(key) => {
                self.repair.store_ended(now, &from, key, Stored::Failed, random);
            }
            Request::Sync(_) => {
                self.rounds.remove(&from);
                self.schedule.ended(&from);
            }
        }
    }
}

/// What a liar answers: that all is different, entries that there are not, records that were never
/// signed, that it holds everything; and it refuses to store, or says that it did.
fn lie(request: &Request, random: &mut StdRng) -> Reply {
    let made_up = |part: Option<u8>, random: &mut StdRng| {
        let mut key: [u8; Key::BYTES] = random.random();
        key[0] = part.unwrap_or(key[0]);
        Key::from_bytes(key)
    };
    match request {
        Request::Sync(Ask::Summary) => {
            Reply::Sync(Answer::Summary((0..256).map(|_| made_up(None, random)).collect()))
        }
        Request::Sync(Ask::Pages(pages)) => {
            let (sorted, in_part) = (random.random_bool(0.9), random.random_bool(0.9));
            let told = pages.iter().map(|from| {
                let part = from.as_bytes()[0];
                let keys = (0..50).map(|_| made_up(in_part.then_some(part), random));
                let mut told: Vec<_> = keys.map(|key| Entry { key, hash: key }).collect();
                if sorted {
                    told.sort_unstable();
                }
                told
            });
            Reply::Sync(Answer::Pages(told.collect()))
        }
        Request::Sync(Ask::Find(keys)) => {
            Reply::Records(keys.iter().map(|key| Entry { key: *key, hash: *key }).collect())
        }
        Request::Holds(keys) => Reply::Held(keys.clone()),
        Request::Store(_) if random.random() => Reply::Stored(Stored::Refused),
        Request::Store(_) => Reply::Stored(Stored::Yes),
    }
}
