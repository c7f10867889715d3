//! Nodes that end and start again.

use super::node::{DOUBLE, Node, TRIPLE};
use crate::support::wait_for;

/// A server that is no node.
const EMBEDDED: &str = "-p 0 --listen 127.0.0.1 --p2p=false -d data";

#[test]
fn a_node_that_was_killed_has_all_it_had_and_finds_its_peers() {
    let two = Node::alone();
    let mut one = Node::start(&format!("-d data --peer {}", two.address()));
    one.meets(&[&two]);
    let id = one.id().to_owned();
    two.put("of-two", TRIPLE).has_status(201);
    one.computes("of-two", 6);
    one.put("of-one", DOUBLE).has_status(201);

    // It listens elsewhere now, so that it is for this one to find the other.
    one.restart("-d data");
    assert_eq!(one.id(), id);
    one.computes("of-one", 4);
    one.computes("of-two", 6);
    one.meets(&[&two]);
    one.put("new", TRIPLE).has_status(201);
    two.computes("new", 6);
    two.computes(&one.canonical("of-one"), 4);

    // What it has, it has without anybody.
    drop(two);
    one.restart("-d data");
    one.computes("of-one", 4);
    one.computes("of-two", 6);
    one.computes("new", 6);
}

#[test]
fn an_embedded_store_becomes_a_node_and_one_without_a_network_again() {
    let two = Node::alone();
    let mut one = Node::start("-d data");
    one.restart_as(EMBEDDED);
    one.put("utils@1.2.0", DOUBLE).has_status(201);
    one.put("utils@1.10.0", TRIPLE).has_status(201);
    one.put("other", DOUBLE).has_status(201);

    one.restart(&format!("-d data --peer {}", two.address()));
    for (name, result) in [("utils@1.2.0", 4), ("utils", 6), ("other", 4)] {
        two.computes(name, result);
        two.computes(&one.canonical(name), result);
    }
    two.put("of-two", DOUBLE).has_status(201);
    one.computes("of-two", 4);
    one.put("later", DOUBLE).has_status(201);
    one.delete("other").has_status(204);

    let of_two = two.canonical("of-two");
    one.restart_as(EMBEDDED);
    for (name, result) in
        [("utils@1.2.0", 4), ("utils@1.10.0", 6), ("utils", 6), ("later", 4), (&of_two, 4)]
    {
        one.computes(name, result);
    }
    one.get("/v1/modules/other").problem(404, "unknown-module");
    one.get("/v1/network").problem(404, "not-found");
}

/// In a network a namespace is an owner, and a server that is no node lets anybody have any.
#[test]
fn names_in_namespaces_of_an_embedded_store_are_told_of_and_wait_until_it_is_one_again() {
    let mut one = Node::start("-d data");
    one.restart_as(EMBEDDED);
    one.put("acme:utils", DOUBLE).has_status(201);
    one.put("acme:other", DOUBLE).has_status(201);
    one.put("utils", TRIPLE).has_status(201);

    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    one.restart_logging("-d data", &log);
    wait_for(&log, "names in namespaces that are no peer's id");
    let log = std::fs::read_to_string(&log).unwrap();
    let told: Vec<_> = log.lines().filter(|line| line.contains("acme:")).collect();
    assert!(matches!(*told, [line] if line.contains(r#""names":2"#)), "{log}");
    one.get("/v1/modules/acme:utils").problem(404, "unknown-module");
    one.put("acme:utils", DOUBLE).problem(403, "forbidden");
    one.delete("acme:utils").problem(403, "forbidden");
    one.computes("utils", 6);

    one.restart_as(EMBEDDED);
    one.computes("acme:utils", 4);
}
