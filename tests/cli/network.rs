//! The server as a node of a peer-to-peer network: its settings, what it says, and `peers`.

mod calling;
mod claims;
#[cfg(target_os = "linux")]
mod lan;
#[cfg(target_os = "linux")]
mod namespace;
mod node;
mod private;
mod restarts;
#[cfg(target_os = "linux")]
mod routers;

use tempfile::tempdir;

use crate::support::{Server, Test};

/// Two nodes.
const ALICE: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
const BOB: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

/// A node that nobody finds.
const ALONE: &str = "-p 0 --listen 127.0.0.1 -m --p2p --no-mdns --p2p-listen /ip4/127.0.0.1/tcp/0";

#[test]
fn a_node_says_who_it_is_and_how_to_join() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), ALONE);
    let (_, node) = server.line.split_once(", store in memory, node 12D3KooW").expect(&server.line);
    let id = format!("12D3KooW{}", node.split([',', ';']).next().unwrap());
    let (_, join) =
        node.split_once("; join with: wasm-exec-api --p2p --peer ").expect(&server.line);
    assert!(join.starts_with("/ip4/127.0.0.1/tcp/"), "{join}");
    assert!(join.ends_with(&format!("/p2p/{id}\n")), "{join}");

    let network = server.get("/v1/network");
    assert!(network.starts_with("HTTP/1.1 200 ") && network.contains(&id), "{network}");
    Test::new(&format!("peers --url http://{}", server.address()))
        .stdout(&format!("node {id}\nat {}no peers\n", join))
        .run();
}

#[test]
fn two_nodes_of_one_machine_need_no_configuration() {
    let directory = tempdir().unwrap();
    // But that they would find nodes of whoever runs the tests.
    let flags = "-p 0 --listen 127.0.0.1 -m --p2p --no-mdns";
    let servers = [(); 2].map(|()| Server::start(directory.path(), flags));
    let address = |server: &Server| server.line.split_once(" --peer ").unwrap().1.to_owned();
    assert_ne!(address(&servers[0]), address(&servers[1]));
}

#[test]
fn a_server_that_is_no_node_has_no_peers() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "-p 0 --listen 127.0.0.1 -m --p2p=false");
    assert!(!server.line.contains("node") && !server.line.contains("join"), "{}", server.line);
    node::get(&server, "/v1/network").problem(404, "not-found");
    Test::new(&format!("peers --url http://{}", server.address()))
        .status(1)
        .stdout("")
        .stderr_has("error: this server is not a node of a network; ")
        .run();
}

#[test]
fn peers_says_why_there_is_no_answer() {
    let directory = tempdir().unwrap();
    let keys = directory.path().join("keys.toml");
    let key = |scope: &str, name: &str| {
        let file = keys.display();
        let made = Test::new(&format!("keys create --file {file} --name {name} --scope {scope}"));
        made.run().trim().to_owned()
    };
    let (call, admin) = (key("call", "c"), key("admin", "a"));
    let server = Server::start(directory.path(), &format!("{ALONE} --api-keys keys.toml"));
    let peers = format!("peers --url http://{}", server.address());
    Test::new(&peers).status(1).stderr_has("(401 Unauthorized)").run();
    Test::new(&format!("{peers} --key {call}")).status(1).stderr_has("(403 Forbidden)").run();
    Test::new(&format!("{peers}/ --key {admin}")).stdout_has("no peers\n").run();
    Test::new(&peers).environment("WASM_EXEC_KEY", &admin).stdout_has("no peers\n").run();

    let address = server.address().to_owned();
    drop(server);
    Test::new(&format!("peers --url http://{address}"))
        .status(1)
        .stderr_has("error: cannot connect to http://")
        .run();
    for url in ["https://localhost", "localhost:4000", "/v1"] {
        Test::new(&format!("peers --url {url}"))
            .status(1)
            .stderr_has("is not an http:// URL")
            .run();
    }
}

#[test]
fn a_network_is_set_up_by_flags_environment_and_file() {
    let trust = format!("{ALICE},bob={BOB}");
    Test::new("config --p2p --peer /ip4/192.0.2.7/tcp/4001 --config server.toml")
        .file("server.toml", "p2p = false\nno-mdns = true\nnetwork-key = \"network.key\"")
        .environment("WASM_EXEC_TRUST", &trust)
        .stdout_has("p2p = true # flag\n")
        .stdout_has("peer = [\"/ip4/192.0.2.7/tcp/4001\"] # flag\n")
        .stdout_has("network-key = \"network.key\" # file server.toml\n")
        .stdout_has(&format!(
            "trust = [\"{ALICE}\", \"bob={BOB}\"] # environment WASM_EXEC_TRUST\n"
        ))
        .stdout_has("no-mdns = true # file server.toml\n")
        .run();
}

#[test]
fn who_names_a_network_has_to_be_in_it() {
    if cfg!(feature = "p2p") {
        return;
    }
    let key = "ab".repeat(32);
    for (flag, value) in [("peer", "/ip4/192.0.2.7/tcp/4001"), ("network-key", &*key)] {
        let flags = format!("config --{flag} {value}");
        let message = format!("error: {flag} is set, which needs p2p as well\n");
        Test::new(&flags).status(1).stderr_has(&message).run();
        Test::new(&format!("{flags} --p2p=false")).stdout_has("p2p = false # flag\n").run();
    }
}

#[test]
fn the_secret_of_a_network_is_not_shown() {
    let key = "ab".repeat(32);
    let printed = Test::new(&format!("config --p2p --network-key {key}"))
        .stdout_has("network-key = \"(hidden)\" # flag\n")
        .run();
    assert!(!printed.contains(&key));
    let help = Test::new("--help").environment("WASM_EXEC_NETWORK_KEY", &key).run();
    assert!(!help.contains(&key));
}

#[test]
fn a_node_takes_its_networks_key_from_a_file() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("network.key");
    std::fs::write(&file, format!("{}\n", "0B".repeat(32))).unwrap();
    Server::start(directory.path(), &format!("{ALONE} --network-key network.key"));
    for content in ["", "ab", &"g".repeat(64), &"a".repeat(2000)] {
        Test::new(&format!("{ALONE} --network-key network.key"))
            .file("network.key", content)
            .status(1)
            .stdout("")
            .stderr_has("error: network.key is not a network key: it has to hold 64 hex digits\n")
            .run();
    }
    Test::new(&format!("{ALONE} --network-key missing"))
        .status(1)
        .stderr_has("error: cannot read the network key missing: No such file")
        .run();
}

#[test]
fn what_is_no_address_and_nobodys_id_is_refused_at_the_start() {
    for (flags, message) in [
        ("--p2p-listen 0.0.0.0:4001", "error: \"0.0.0.0:4001\" is not a multiaddress"),
        (
            "--p2p-listen /ip4/192.0.2.7/tcp/0",
            "error: the node cannot reach the network: cannot listen at /ip4/192.0.2.7/tcp/0",
        ),
        (
            "--peer /ip4/192.0.2.7/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "does not name a node: its peer id is not that of an Ed25519 key",
        ),
        ("--peer example.org", "error: \"example.org\" is not a multiaddress"),
        ("--trust alice", "error: \"alice\" is not the peer id of an Ed25519 key"),
        (&format!("--trust a:b={ALICE}"), "error: \"a:b\" cannot be the name of an owner"),
        (&format!("--trust a={ALICE},a={BOB}"), "error: a is the name of two owners\n"),
    ] {
        Test::new(&format!("-p 0 -m --p2p --no-mdns {flags}"))
            .status(1)
            .stdout("")
            .stderr_has(message)
            .run();
    }
}
