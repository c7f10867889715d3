//! Reading what is on the disk, through a node and without one.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use wasm_exec_registry::{RedbBackend, Registry};

use crate::figures::percentile;
use crate::nodes::{CACHE_BYTES, Node, load, module, register, until};

/// How often each is read in a turn, and how many turns there are.
const READS: usize = 500;
const TURNS: usize = 41;

const MODULE_BYTES: usize = 2000;

/// A name that the node has registered itself.
pub(crate) async fn own() -> String {
    compared(true).await
}

/// A name that another has registered, of which the node has a copy.
pub(crate) async fn anothers() -> String {
    compared(false).await
}

async fn compared(own: bool) -> String {
    let directory = TempDir::new().expect("there is room");
    let open = |file: &str| {
        RedbBackend::open(&directory.path().join(file), CACHE_BYTES).expect("it opens")
    };
    let alone = Registry::new(std::sync::Arc::new(open("alone.redb")));
    let wasm = module(MODULE_BYTES, 1);
    register(&alone, "utils".parse().ok(), wasm.clone()).await;
    let other = Node::start("/memory/0", None).await;
    let node = Node::of(open("node.redb"), "/memory/0", Some(&other)).await;
    until("they have met", async || node.status().peers.len() == 1).await;
    let owner = if own { &node } else { &other };
    owner.register(Some("utils"), wasm).await;
    until("it is on the disk", async || node.loads("utils").await).await;
    let mut alone_took = Vec::new();
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        let (without, with) = (read(&alone).await, read(&node.registry).await);
        alone_took.push(without);
        ratios.push(with.as_secs_f64() / without.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let micros = percentile(&mut alone_took, 50).as_secs_f64() * 1e6;
    format!("{:.2}; alone it takes {micros:.1} µs", ratios[TURNS / 2])
}

/// How long a read takes, the median of a turn.
async fn read(registry: &Registry) -> Duration {
    let mut took = Vec::with_capacity(READS);
    for _ in 0..READS {
        let began = Instant::now();
        assert_eq!(load(registry, "utils").await, Some(MODULE_BYTES));
        took.push(began.elapsed());
    }
    percentile(&mut took, 50)
}
