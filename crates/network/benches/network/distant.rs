//! Nodes that are far from each other.

use std::time::{Duration, Instant};

use crate::figures::told;
use crate::nodes::{Node, module, until_known, until_met};

/// What one way between two nodes takes.
const DELAY: Duration = Duration::from_millis(25);

const NODES: usize = 100;

/// With how many others each node is connected at least: a node looks for no more than 64.
const PEERS: usize = 60;

const MODULE_BYTES: usize = 1_000_000;

/// How many modules are fetched, and by how many nodes each.
const MODULES: usize = 5;
const FETCHES: usize = 20;

/// Fetching a module that is elsewhere, one at a time, by nodes that know its name.
pub(crate) async fn fetch() -> String {
    let mut nodes = vec![Node::start_distant(DELAY, None).await];
    while nodes.len() < NODES {
        let next = Node::start_distant(DELAY, Some(&nodes[0])).await;
        nodes.push(next);
    }
    until_met(&nodes, PEERS).await;
    let mut took = Vec::new();
    for number in 0..MODULES {
        let name = format!("module{number}");
        nodes[number].register(Some(&name), module(MODULE_BYTES, number as u64)).await;
        let canonical = format!("{}:{name}", nodes[number].id());
        until_known(&nodes, &canonical).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let others = nodes[MODULES..].iter().filter(|node| node.status().records.held == 0);
        for node in others.skip(number * FETCHES % 10).take(FETCHES) {
            let began = Instant::now();
            assert!(node.loads(&canonical).await, "it is to be had");
            took.push(began.elapsed());
        }
    }
    told(took)
}
