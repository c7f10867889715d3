//! Networks with a key.

use tempfile::TempDir;

use super::node::{DOUBLE, Node, peers};

/// A directory with the key of a network in a file.
fn directory_with_key(digit: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let key = format!("{}\n", digit.repeat(64));
    std::fs::write(directory.path().join("network.key"), key).unwrap();
    directory
}

#[test]
fn only_who_has_the_key_gets_in() {
    let one = Node::start_in(directory_with_key("a"), "-m --network-key network.key");
    let join = peers(&[&one]);
    let other_key =
        Node::start_in(directory_with_key("b"), &format!("-m --network-key network.key {join}"));
    let no_key = Node::start(&format!("-m {join}"));
    // Those two have tried by the time that the next, which begins after them, is in.
    let two = Node::start(&format!("-m --network-key {} {join}", "A".repeat(64)));
    two.meets(&[&one]);
    assert_eq!(one.put("utils", DOUBLE).has_status(201).json()["replicas"], 1);
    two.computes(&one.canonical("utils"), 4);
    assert_eq!(one.peers(), [two.id()]);
    for stranger in [&other_key, &no_key] {
        assert_eq!(stranger.peers(), [""; 0]);
        let path = format!("/v1/modules/{}", one.canonical("utils"));
        stranger.get(&path).problem(404, "unknown-module");
    }
}

#[test]
fn plain_names_are_taken_from_trusted_owners_only() {
    let key = "5e".repeat(32);
    let one = Node::start(&format!("-m --network-key {key}"));
    one.put("utils", DOUBLE).has_status(201);
    let join = format!("-m --network-key {key} {}", peers(&[&one]));
    let wary = Node::start(&join);
    let trusting = Node::start(&format!("{join} --trust {}", one.id()));
    for node in [&wary, &trusting] {
        node.computes(&one.canonical("utils"), 4);
    }
    trusting.computes("utils", 4);
    wary.get("/v1/modules/utils").problem(404, "unknown-module");
}
