//! Machines on a local network, played by network namespaces on a bridge.
//!
//! The test runs itself again in a namespace that has nothing but the bridge, so it neither sees nor
//! touches the networks of the machine, and all of it goes away with the processes. It needs root, or
//! a system that lets users have namespaces.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::node::{DOUBLE, TRIPLE, computes, eventually, get, peer_ids, put};
use crate::support::Server;

/// Set where the test runs in its namespace.
const INSIDE: &str = "WASM_EXEC_TEST_INSIDE_NAMESPACE";

/// The name of the test, as the test runner knows it.
const TEST: &str = "network::lan::machines_of_a_lan_need_no_configuration_and_outlive_its_failure";

/// The ways into a namespace: as a user, and as root where users may not.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--net"], &["--net"]];

/// Makes the bridge, on which this process has an address, too.
const BRIDGE: &str = "ip link add lan type bridge && ip address add 10.77.0.254/24 dev lan && \
                      ip link set lan up && ip link set lo up";

/// Waits for the machine's end of a cable, and then is the program: the parameters are the address,
/// and the command.
const MACHINE: &str = r#"read -r _ && ip link set lo up && ip address add "$1/24" dev eth0 &&
    ip link set eth0 up && shift && exec "$@""#;

#[test]
fn machines_of_a_lan_need_no_configuration_and_outlive_its_failure() {
    if std::env::var_os(INSIDE).is_some() {
        return lan();
    }
    let probe = |way: &&&[&str]| {
        let run = Command::new("unshare").args(**way).args(["sh", "-c", BRIDGE]).output();
        run.is_ok_and(|run| run.status.success())
    };
    let Some(way) = WAYS.iter().find(probe) else {
        // Not by a macro, whose output is only shown of tests that fail.
        let reason = "neither this user nor root can make network namespaces with bridges here \
                      (`unshare` and `ip` are needed, and the rights to use them)";
        writeln!(io::stderr(), "\nNOT RUN: {TEST}: {reason}\n").unwrap();
        return;
    };
    let inside = Command::new("unshare")
        .args(*way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let [stdout, stderr] = [inside.stdout, inside.stderr].map(String::from_utf8);
    assert!(inside.status.success(), "{}\n{}", stdout.unwrap(), stderr.unwrap());
}

/// The test, in its namespace.
fn lan() {
    sh(BRIDGE);
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
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", MACHINE, "sh", &address])
            .arg(env!("CARGO_BIN_EXE_wasm-exec-api"))
            .args(["--memory", "--p2p", "--listen", &address, "--allow-anonymous"])
            .current_dir(directory.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let cable = format!("cable{number}");
        plug_in(&child, &cable);
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
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

/// Leads a cable from the bridge to a process, once that has a namespace of its own.
fn plug_in(child: &Child, cable: &str) {
    let namespace =
        |process: &str| -> io::Result<PathBuf> { fs::read_link(format!("/proc/{process}/ns/net")) };
    let own = namespace("self").unwrap();
    let id = child.id().to_string();
    eventually("a namespace", || (namespace(&id).unwrap() != own).then_some(()));
    sh(&format!("ip link add {cable} type veth peer name eth0 netns {id}"));
    sh(&format!("ip link set {cable} master lan up"));
}

fn sh(command: &str) {
    let run = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(run.status.success(), "{command}: {run:?}");
}
