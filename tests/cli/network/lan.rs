//! Machines on a local network, played by network namespaces on a bridge.

use std::thread;

use tempfile::TempDir;

use super::namespace::{go_on, machine, play, plug_in, sh};
use super::node::{DOUBLE, TRIPLE, computes, eventually, get, peer_ids, put};
use crate::support::Server;

/// The name of the test, as the test runner knows it.
const TEST: &str = "network::lan::machines_of_a_lan_need_no_configuration_and_outlive_its_failure";

/// Makes the bridge, on which this process has an address, too.
const BRIDGE: &str = "ip link add lan type bridge && ip address add 10.77.0.254/24 dev lan && \
                      ip link set lan up && ip link set lo up";

/// Waits for the machine's end of a cable, and then is the program: the parameters are the address,
/// and the command.
const MACHINE: &str = r#"read -r _ && ip link set lo up && ip address add "$1/24" dev eth0 &&
    ip link set eth0 up && shift && exec "$@""#;

#[test]
fn machines_of_a_lan_need_no_configuration_and_outlive_its_failure() {
    play(TEST, BRIDGE, lan);
}

/// The test, in its namespace.
fn lan() {
    let [one, two] = [1, 2].map(Machine::start);
    for machine in [&one, &two] {
        machine.has_peers(1);
    }
    assert_eq!(put(&one.server, "utils", DOUBLE).has_status(201).json()["replicas"], 1);
    computes(&two.server, "utils", 4);

    one.is_cut_off(true);
    two.is_cut_off(true);
    // Each goes on by itself. It may take a while to notice that the other is gone; until then, it
    // says that there is no copy.
    thread::scope(|scope| {
        for (machine, name) in [(&one, "one"), (&two, "two")] {
            scope.spawn(move || {
                let status = put(&machine.server, name, TRIPLE).status;
                assert!([201, 503].contains(&status), "{status}");
                computes(&machine.server, name, 6);
                computes(&machine.server, "utils", 4);
                machine.has_peers(0);
            });
        }
    });
    get(&one.server, "/v1/modules/two").problem(404, "unknown-module");

    one.is_cut_off(false);
    two.is_cut_off(false);
    computes(&one.server, "two", 6);
    computes(&two.server, "one", 6);
}

/// A node on a machine of its own.
#[derive(Debug)]
struct Machine {
    server: Server,
    /// The bridge's end of its cable.
    cable: String,
    _directory: TempDir,
}

impl Machine {
    fn start(number: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("10.77.0.{number}");
        let command = [&*address, env!("CARGO_BIN_EXE_wasm-exec-api")];
        let flags = ["--memory", "--p2p", "--listen", &address, "--allow-anonymous"];
        let mut child = machine(MACHINE, &[&command[..], &flags].concat(), directory.path());
        let cable = format!("cable{number}");
        plug_in(&child, "lan", &cable, "eth0");
        go_on(&mut child);
        let server = Server::ready(child).expect("the node starts");
        Self { server, cable, _directory: directory }
    }

    /// Whether the bridge carries nothing between it and others that are cut off.
    fn is_cut_off(&self, cut_off: bool) {
        let isolated = if cut_off { "on" } else { "off" };
        sh(&format!("ip link set {} type bridge_slave isolated {isolated}", self.cable));
    }

    fn has_peers(&self, count: usize) {
        eventually(&format!("{count} peers"), || {
            (peer_ids(&self.server).len() == count).then_some(())
        });
    }
}
