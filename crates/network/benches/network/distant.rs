//! Nodes that are far from each other.

use std::time::{Duration, Instant};

use crate::figures::told;
use crate::nodes::{Node, module, until_known, until_met};

/// What one way between two nodes takes.
const DELAY: Duration = Duration::from_millis(25);

const NODES: usize = 100;

/// With how many others each node is connected at least: a node looks for no more than 64. As all who
/// come are let in, most are connected with nearly all others in the end.
const PEERS: usize = 60;

const MODULE_BYTES: usize = 1_000_000;

/// After many have met, and after a registration, so that all are at rest.
const REST: Duration = Duration::from_secs(5);

/// How many modules are fetched, and by how many nodes each.
const MODULES: usize = 5;
const FETCHES: usize = 20;

/// Fetching a module that is elsewhere, one at a time, by nodes that know its name.
pub(crate) async fn fetch() -> String {
    let mut nodes = vec![Node::start_distant(DELAY, None).await];
    while nodes.len() < NODES {
        // Not all by the same one, which has places for 96, and lets in the rest by turns.
        let next = Node::start_distant(DELAY, Some(&nodes[nodes.len() / 2])).await;
        nodes.push(next);
    }
    until_met(&nodes, PEERS).await;
    tokio::time::sleep(REST).await;
    let mut took = Vec::new();
    for number in 0..MODULES {
        let name = format!("module{number}");
        nodes[number].register_surely(&name, module(MODULE_BYTES, number as u64)).await;
        let canonical = format!("{}:{name}", nodes[number].id());
        until_known(&nodes, &canonical).await;
        tokio::time::sleep(REST).await;
        let others = nodes[MODULES..].iter().filter(|node| node.status().records.held == 0);
        for node in others.skip(number * FETCHES % 10).take(FETCHES) {
            let began = Instant::now();
            assert!(node.loads(&canonical).await, "it is to be had");
            took.push(began.elapsed());
        }
    }
    told(took)
}
