//! Nodes that go away.

use crate::support::{Node, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn names_outlive_their_owners_and_copies_are_replaced() {
    let mut nodes = Node::network(7).await;
    let names: Vec<_> = (0..10).map(|number| format!("module{number}")).collect();
    for name in &names {
        nodes[0].register(name, name.clone()).await;
    }
    let owner = nodes[0].id();
    // The owner and another, which may have copies as well; of three copies one is left at least.
    nodes.drain(..2);
    for node in &nodes {
        for name in &names {
            node.until_loads(&format!("{owner}:{name}"), name.as_bytes()).await;
        }
    }
    eventually("everything has its copies again", async || {
        nodes
            .iter()
            .all(|node| {
                let replication = node.status().replication;
                replication.under_replicated == 0 && replication.pending == 0
            })
            .then_some(())
    })
    .await;
}
