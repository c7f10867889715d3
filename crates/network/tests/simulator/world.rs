//! Nodes, time, and what is between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use libp2p::PeerId;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use wasm_exec_network::Key;
use wasm_exec_network::core::placement::REPLICAS;

use super::node::{Genuine, Node, Record, Reply, Request};
use super::overlay::Overlay;

/// The round trip between two nodes, on average.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// How long fetching a record's content takes besides.
const FETCH: Duration = Duration::from_millis(500);

/// One message in a hundred is lost.
const LOSS: f64 = 0.01;

/// When a reply does not count any more.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// How long until it is noticed that a connection is lost, in seconds.
const NOTICED: std::ops::Range<f64> = 5.0..10.0;

/// How long until a connection is made again that can be, in seconds.
const DIALLED: std::ops::Range<f64> = 0.0..10.0;

/// How often a node looks at what there is to do.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Event {
    Tick(u32),
    Arrives(u64),
    Returns(u64, Reply),
    GivenUp(u64),
    Connected(u32, u32),
    Lost(u32, u32),
}

/// A request that its sender waits for.
#[derive(Debug)]
struct Waiting {
    from: u32,
    to: u32,
    request: Request,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) genuine: Genuine,
    pub(crate) overlay: Overlay,
    pub(crate) random: StdRng,
    /// Whether there is a partition, between the nodes of even and those of odd numbers.
    parted: bool,
    /// Which nodes have a record's content, or had it when they died.
    holders: HashMap<Key, BTreeSet<u32>>,
    events: BTreeMap<(Duration, u64), Event>,
    waiting: HashMap<u64, Waiting>,
    next: u64,
}

impl World {
    /// So many nodes, none of which is connected.
    pub(crate) fn new(count: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let overlay = Overlay::new(count, &mut random);
        let mut world = Self {
            now: Duration::ZERO,
            nodes: overlay.peers.iter().copied().map(Node::new).collect(),
            genuine: HashMap::new(),
            overlay,
            random,
            parted: false,
            holders: HashMap::new(),
            events: BTreeMap::new(),
            waiting: HashMap::new(),
            next: 0,
        };
        for node in world.numbers() {
            let first = TICK.mul_f64(world.random.random());
            world.after(first, Event::Tick(node));
        }
        world
    }

    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.nodes.len()).expect("few nodes")
    }

    pub(crate) fn node(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize]
    }

    /// A part of the nodes, by chance.
    pub(crate) fn some(&mut self, part: f64) -> Vec<u32> {
        let mut numbers: Vec<_> = self.numbers().collect();
        numbers.shuffle(&mut self.random);
        let count = self.nodes.len() as f64 * part;
        numbers.truncate(count as usize);
        numbers
    }

    /// Connects a node to others long ago, so that nothing is left to say.
    pub(crate) fn settle(&mut self, number: u32, others: &[u32]) {
        let Self { now, nodes, overlay, random, .. } = self;
        let node = &mut nodes[number as usize];
        for other in others.iter().filter(|other| **other != number) {
            node.connected(overlay.peers[*other as usize]);
        }
        node.settle(*now, random);
    }

    /// Connects two nodes as soon as they find each other.
    pub(crate) fn connect(&mut self, one: u32, other: u32) {
        let after = Duration::from_secs_f64(self.random.random_range(DIALLED));
        self.after(after, Event::Connected(one, other));
        self.after(after, Event::Connected(other, one));
    }

    /// Has a node register a record, of which everybody knows at once that it can reach.
    pub(crate) fn register(&mut self, owner: u32, announced: bool) -> Key {
        let key = Key::from_bytes(self.random.random());
        let hash = Key::from_bytes(self.random.random());
        let peer = self.overlay.peers[owner as usize];
        self.genuine.insert(key, Record { owner: peer, hash });
        self.holders.entry(key).or_default().insert(owner);
        self.node(owner).repair.held(key, peer);
        for other in self.numbers() {
            let reached = announced && self.can_reach(owner, other);
            if other == owner || reached {
                self.node(other).learn(key, hash);
            }
        }
        key
    }

    /// Has nodes die, which is noticed a little later by those connected to them.
    pub(crate) fn kill(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.node(*number).lives = false;
        }
        self.notice_what_is_lost();
    }

    /// Has nodes that died start again, with the records and the content that they had.
    pub(crate) fn revive(&mut self, numbers: &[u32]) {
        let peers = self.numbers();
        for number in numbers {
            let held = self.holders.iter().filter(|(_, holders)| holders.contains(number));
            let mut held: Vec<_> = held.map(|(key, _)| (*key, self.genuine[key].owner)).collect();
            held.sort_unstable();
            self.node(*number).restart(held);
            self.after(TICK, Event::Tick(*number));
            for peer in peers.clone().filter(|peer| peer != number) {
                self.connect(*number, peer);
            }
        }
    }

    /// Parts the even from the odd.
    pub(crate) fn part(&mut self) {
        self.parted = true;
        self.notice_what_is_lost();
    }

    /// Ends the partition.
    pub(crate) fn heal(&mut self) {
        self.parted = false;
        for one in self.numbers() {
            (one + 1..self.numbers().end)
                .filter(|other| (other - one) % 2 == 1)
                .for_each(|other| self.connect(one, other));
        }
    }

    fn notice_what_is_lost(&mut self) {
        for node in self.numbers() {
            if !self.nodes[node as usize].lives {
                continue;
            }
            let peers: Vec<_> = self.nodes[node as usize].repair.live().iter().copied().collect();
            for peer in peers {
                let peer = self.overlay.number(&peer);
                if !self.can_reach(node, peer) {
                    let after = Duration::from_secs_f64(self.random.random_range(NOTICED));
                    self.after(after, Event::Lost(node, peer));
                }
            }
        }
    }

    fn can_reach(&self, one: u32, other: u32) -> bool {
        let lives = self.nodes[one as usize].lives && self.nodes[other as usize].lives;
        lives && !(self.parted && one % 2 != other % 2)
    }

    /// Lets time pass until `done`, which is asked once a second. How long it took; `None` if more
    /// than `most`.
    pub(crate) fn run_until(
        &mut self,
        most: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let began = self.now;
        while self.now - began < most {
            self.run(Duration::from_secs(1));
            if done(self) {
                return Some(self.now - began);
            }
        }
        None
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(first) = self.events.first_entry().filter(|first| first.key().0 <= end) {
            let ((at, _), event) = first.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(node) => self.tick(node),
            Event::Arrives(id) => self.arrive(id),
            Event::Returns(id, reply) => self.return_reply(id, reply),
            Event::GivenUp(id) => {
                let Some(Waiting { from, to, request }) = self.waiting.remove(&id) else { return };
                let (peer, now) = (self.overlay.peers[to as usize], self.now);
                let node = &mut self.nodes[from as usize];
                node.not_replied(now, peer, &request, &mut self.random);
            }
            Event::Connected(node, peer) if self.can_reach(node, peer) => {
                let peer = self.overlay.peers[peer as usize];
                self.node(node).connected(peer);
            }
            Event::Lost(node, peer) if !self.can_reach(node, peer) => {
                let peer = self.overlay.peers[peer as usize];
                self.node(node).lost(&peer);
            }
            Event::Connected(..) | Event::Lost(..) => {}
        }
    }

    fn tick(&mut self, number: u32) {
        let node = &mut self.nodes[number as usize];
        if !node.lives {
            return;
        }
        if !node.lies {
            let (requests, released) = node.tick(self.now, &mut self.random);
            requests.into_iter().for_each(|(to, request)| self.send(number, to, request));
            for key in released {
                self.holders.entry(key).or_default().remove(&number);
            }
        }
        self.after(TICK, Event::Tick(number));
    }

    fn send(&mut self, from: u32, to: PeerId, request: Request) {
        let to = self.overlay.number(&to);
        let id = self.next;
        let takes = if matches!(request, Request::Store(_)) { FETCH } else { Duration::ZERO };
        self.waiting.insert(id, Waiting { from, to, request });
        self.after(REPLY_WITHIN, Event::GivenUp(id));
        self.deliver(takes, Event::Arrives(id));
    }

    fn arrive(&mut self, id: u64) {
        let Some(Waiting { from, to, request }) = self.waiting.get(&id) else { return };
        if !self.can_reach(*from, *to) {
            return;
        }
        let node = &mut self.nodes[*to as usize];
        let reply = node.reply(request, &self.genuine, &mut self.random);
        if let (Request::Store(key), false) = (request, node.lies) {
            self.holders.entry(*key).or_default().insert(*to);
        }
        self.deliver(Duration::ZERO, Event::Returns(id, reply));
    }

    fn return_reply(&mut self, id: u64, reply: Reply) {
        let reachable = |waiting: &Waiting| self.can_reach(waiting.from, waiting.to);
        if !self.waiting.get(&id).is_some_and(reachable) {
            return;
        }
        let Some(Waiting { from, to, request }) = self.waiting.remove(&id) else { return };
        let (peer, now) = (self.overlay.peers[to as usize], self.now);
        let node = &mut self.nodes[from as usize];
        let next = node.replied(now, peer, &request, reply, &self.genuine, &mut self.random);
        if let Some((to, request)) = next {
            self.send(from, to, request);
        }
    }

    /// Has a message arrive, or not.
    fn deliver(&mut self, after: Duration, event: Event) {
        if !self.random.random_bool(LOSS) {
            let way = ROUND_TRIP.mul_f64(self.random.random_range(0.4..0.6));
            self.after(after + way, event);
        }
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.events.insert((self.now + time, self.next), event);
        self.next += 1;
    }

    /// How many honest nodes that live have the content of a record.
    pub(crate) fn copies(&self, key: &Key) -> usize {
        let holders = self.holders.get(key).into_iter().flatten();
        holders.filter(|holder| self.nodes[**holder as usize].is_honest()).count()
    }

    /// Records of whose content no copy is left.
    pub(crate) fn lost(&self) -> usize {
        self.genuine.keys().filter(|key| self.copies(key) == 0).count()
    }

    /// Whether all records that are not lost have as many copies as they should.
    pub(crate) fn is_restored(&self) -> bool {
        self.genuine.keys().all(|key| matches!(self.copies(key), 0 | REPLICAS..))
    }

    /// The part of all records that have as many copies as they should.
    pub(crate) fn whole(&self) -> f64 {
        let whole = self.genuine.keys().filter(|key| self.copies(key) >= REPLICAS).count();
        whole as f64 / self.genuine.len() as f64
    }

    /// The part of all names that the honest nodes know, on average.
    pub(crate) fn names_known(&self) -> f64 {
        let honest: Vec<_> = self.nodes.iter().filter(|node| node.is_honest()).collect();
        let known: usize = honest.iter().map(|node| node.known.len()).sum();
        known as f64 / (honest.len() * self.genuine.len()) as f64
    }
}
