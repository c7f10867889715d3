//! What is measured.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use wasm_exec_network::Key;

use super::lookup::{Conduct, Network};
use super::overlay::{K, Overlay};
use super::world::World;

/// For how long a simulation goes on if what is waited for does not happen.
const MOST: Duration = Duration::from_secs(300);

/// A network in which a part of the nodes is dead, or lies, and names are looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookUps {
    pub(crate) nodes: usize,
    pub(crate) lookups: usize,
    pub(crate) dead: f64,
    pub(crate) liars: f64,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LookedUp {
    /// The part of the look-ups that found the record.
    pub(crate) found: f64,
    pub(crate) mean_hops: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl LookUps {
    /// Each look-up is for another record, which the [`K`] closest nodes know, as Kademlia stores it,
    /// from a node that does not know it.
    pub(crate) fn run(self) -> LookedUp {
        let mut random = StdRng::seed_from_u64(self.seed);
        let overlay = Overlay::new(self.nodes, &mut random);
        let conduct = self.conduct(&mut random);
        let network = Network { overlay: &overlay, conduct: &conduct };
        let honest: Vec<_> = (0..).zip(&conduct).filter(|(_, c)| **c == Conduct::Honest).collect();
        let mut found = Vec::new();
        for _ in 0..self.lookups {
            let key = Key::from_bytes(random.random());
            let holders = overlay.closest(&key, K);
            let asker = loop {
                let (asker, _) = honest.choose(&mut random).expect("somebody is honest");
                if !holders.contains(asker) {
                    break *asker;
                }
            };
            found.extend(network.find(asker, &key, &holders, &mut random));
        }
        let mut latencies: Vec<_> = found.iter().map(|found| found.latency).collect();
        latencies.sort_unstable();
        let hops: u32 = found.iter().map(|found| found.hops).sum();
        LookedUp {
            found: found.len() as f64 / self.lookups as f64,
            mean_hops: f64::from(hops) / found.len() as f64,
            p50: latencies[latencies.len() / 2],
            p99: latencies[latencies.len() * 99 / 100],
        }
    }

    fn conduct(&self, random: &mut StdRng) -> Vec<Conduct> {
        let count = |part: f64| (self.nodes as f64 * part) as usize;
        let mut conduct = vec![Conduct::Honest; self.nodes];
        conduct[..count(self.dead)].fill(Conduct::Dead);
        conduct[count(self.dead)..count(self.dead) + count(self.liars)].fill(Conduct::Liar);
        conduct.shuffle(random);
        conduct
    }
}

/// Nodes with records, before something happens to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registered {
    pub(crate) nodes: usize,
    pub(crate) records: usize,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Survived {
    /// How long it took until all records had three copies, first from their owners and then from
    /// what was left; `None` if it took too long.
    pub(crate) copied: Option<Duration>,
    pub(crate) restored: Option<Duration>,
    /// Records whose holders all died at once, and those whose last copy went afterwards.
    pub(crate) lost_at_once: usize,
    pub(crate) lost_later: usize,
    /// The part of the names that a survivor knows, without asking anybody.
    pub(crate) names: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Healed {
    /// Until all nodes knew all names, and until all records had three copies.
    pub(crate) names: Option<Duration>,
    pub(crate) restored: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LiedTo {
    /// Until a node that is new knew all names.
    pub(crate) newcomer: Option<Duration>,
    /// The part of the names that the honest nodes know.
    pub(crate) names: f64,
    /// Records that have no copy but their owner's, and how many copies there are on average, on
    /// honest nodes.
    pub(crate) single: usize,
    pub(crate) copies: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Churned {
    /// The part of the records with three copies among those that lived, on average.
    pub(crate) whole: f64,
    pub(crate) lost: usize,
    pub(crate) names: f64,
}

impl Registered {
    /// All nodes are connected to all others, and know all names; only owners have content.
    fn meshed(&self) -> World {
        let mut world = World::new(self.nodes, self.seed);
        let all: Vec<_> = world.numbers().collect();
        all.iter().for_each(|node| world.settle(*node, &all));
        self.register(&mut world, true);
        world
    }

    /// Nodes are connected to those in their routing tables, and know the names of what they hold;
    /// owners have looked up who is closest to their records.
    fn routed(&self) -> World {
        let mut world = World::new(self.nodes, self.seed);
        for node in world.numbers() {
            let table = world.overlay.table(node).to_vec();
            world.settle(node, &table);
        }
        for (key, owner) in self.register(&mut world, false) {
            let closest = world.overlay.closest(&key, K);
            world.settle(owner, &closest);
        }
        world
    }

    fn register(&self, world: &mut World, announced: bool) -> Vec<(Key, u32)> {
        let owners = world.numbers().end;
        let register = |_| {
            let owner = world.random.random_range(0..owners);
            (world.register(owner, announced), owner)
        };
        (0..self.records).map(register).collect()
    }

    /// A part of the nodes dies at once, in a network where everybody is connected.
    pub(crate) fn die(&self, part: f64) -> Survived {
        Self::die_in(self.meshed(), part)
    }

    /// The same in a network too large for that.
    pub(crate) fn die_routed(&self, part: f64) -> Survived {
        Self::die_in(self.routed(), part)
    }

    fn die_in(mut world: World, part: f64) -> Survived {
        let copied = world.run_until(MOST, World::is_restored);
        let dying = world.some(part);
        world.kill(&dying);
        let lost_at_once = world.lost();
        let names = world.names_known();
        let restored = world.run_until(MOST, World::is_restored);
        let lost_later = world.lost() - lost_at_once;
        Survived { copied, restored, lost_at_once, lost_later, names }
    }

    /// Two halves are parted for two minutes, in which each registers as many records as there are.
    pub(crate) fn part(&self) -> Healed {
        let mut world = self.meshed();
        world.run_until(MOST, World::is_restored);
        world.part();
        world.run(Duration::from_secs(60));
        self.register(&mut world, true);
        world.run(Duration::from_secs(60));
        assert!(world.names_known() < 1.0, "half of the new names are unknown");
        world.heal();
        let names = world.run_until(MOST, |world| world.names_known() >= 1.0);
        let restored = world.run_until(MOST, World::is_restored);
        Healed { names, restored: names.zip(restored).map(|(names, restored)| names + restored) }
    }

    /// A part of the nodes lies. One of the others is new.
    pub(crate) fn lie(&self, part: f64) -> LiedTo {
        let mut world = World::new(self.nodes, self.seed);
        let lying = world.some(part);
        lying.iter().for_each(|liar| world.node(*liar).lies = true);
        let honest: Vec<_> = world.numbers().filter(|node| !lying.contains(node)).collect();
        let (newcomer, others) = (honest[0], world.numbers().filter(|node| *node != honest[0]));
        let others: Vec<_> = others.collect();
        others.iter().for_each(|node| world.settle(*node, &others));
        world.node(newcomer).lives = false;
        let register = |_| {
            let owner = *honest[1..].choose(&mut world.random).expect("some are honest");
            world.register(owner, true)
        };
        let keys: Vec<_> = (0..self.records).map(register).collect();
        world.run(Duration::from_secs(60));
        world.revive(&[newcomer]);
        let records = keys.len();
        let knows = |world: &World| world.nodes[newcomer as usize].known.len() == records;
        let newcomer = world.run_until(MOST, knows);
        world.run(Duration::from_secs(60));
        let copies: Vec<_> = keys.iter().map(|key| world.copies(key)).collect();
        LiedTo {
            newcomer,
            names: world.names_known(),
            single: copies.iter().filter(|copies| **copies < 2).count(),
            copies: copies.iter().sum::<usize>() as f64 / records as f64,
        }
    }

    /// A part of the nodes dies each half minute, and those that died before start again.
    pub(crate) fn churn(&self, part: f64, rounds: usize) -> Churned {
        let mut world = self.meshed();
        world.run_until(MOST, World::is_restored);
        let (mut dead, mut whole) = (Vec::new(), 0.0);
        for _ in 0..rounds {
            let dying = world.some(part);
            world.kill(&dying);
            world.revive(&dead);
            dead = dying.into_iter().filter(|node| !dead.contains(node)).collect();
            world.run(Duration::from_secs(30));
            whole += world.whole() / rounds as f64;
        }
        world.revive(&dead);
        world.run(Duration::from_secs(60));
        Churned { whole, lost: world.lost(), names: world.names_known() }
    }
}
