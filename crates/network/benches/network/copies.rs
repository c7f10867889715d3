//! Nodes that die, and what they had.

use std::collections::HashMap;
use std::time::Instant;

use wasm_exec_registry::ListQuery;

use crate::nodes::{Node, module, until, until_known};

const NODES: usize = 40;
const DYING: usize = 12;
const RECORDS: usize = 120;

/// How many copies there are to be of each.
const COPIES: usize = 3;

/// A part of the nodes is gone at once, and with it their connections. A node that is cut off is
/// noticed later: a ping is sent each 5 s, and waited for 10 s.
pub(crate) async fn die() -> String {
    let mut nodes = Node::network(NODES, NODES - 1, "/memory/0").await;
    let mut names = Vec::new();
    for number in 0..RECORDS {
        let owner = &nodes[number % NODES];
        owner.register(Some(&format!("module{number}")), module(2000, number as u64)).await;
        let name = format!("{}:module{number}", owner.id());
        until_known(&nodes, &name).await;
        names.push(name);
    }
    // Every third or so, so that owners and holders die.
    let mut number = 0;
    nodes.retain(|_| {
        number += 1;
        number % 3 != 0 || number / 3 > DYING
    });
    assert_eq!(nodes.len(), NODES - DYING);
    let died = Instant::now();
    let left = copies(&nodes).await;
    let resolved = resolved(&nodes, &names).await;
    let lost = names.iter().filter(|name| !left.contains_key(*name)).count();
    until("all have their copies", async || {
        let copies = copies(&nodes).await;
        left.keys().all(|name| copies.get(name).is_some_and(|copies| *copies >= COPIES))
    })
    .await;
    format!(
        "{:.2} % of {RECORDS} names on all nodes; three copies of all again after {:.1} s, but for \
         {lost} whose three holders died",
        resolved * 100.0,
        died.elapsed().as_secs_f64(),
    )
}

/// The part of the names that are known, on all nodes.
async fn resolved(nodes: &[Node], names: &[String]) -> f64 {
    let mut resolved = 0;
    for node in nodes {
        for name in names {
            resolved += usize::from(node.resolves(name).await);
        }
    }
    resolved as f64 / (nodes.len() * names.len()) as f64
}

/// On how many disks each name's content is.
async fn copies(nodes: &[Node]) -> HashMap<String, usize> {
    let mut copies = HashMap::new();
    for node in nodes {
        let query = ListQuery { limit: RECORDS, ..ListQuery::default() };
        let page = node.registry.list(query).await.expect("it is listed");
        for name in page.modules.into_iter().filter_map(|module| module.name) {
            let name = match name.namespace() {
                None => format!("{}:{name}", node.id()),
                Some(_) => name.to_string(),
            };
            *copies.entry(name).or_insert(0) += 1;
        }
    }
    copies
}
