//! Machines played by network namespaces.
//!
//! A test runs itself again in a namespace that has nothing but what it makes, so it neither sees nor
//! touches the networks of the machine, and all of it goes away with the processes. It needs root, or
//! a system that lets users have namespaces.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::node::eventually;

/// Set where a test runs in its namespace.
const INSIDE: &str = "WASM_EXEC_TEST_INSIDE_NAMESPACE";

/// The ways into a namespace: as a user, and as root where users may not.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--net"], &["--net"]];

/// Runs a test in a namespace in which `setup` was done. `name` is how the test runner knows the test.
pub(super) fn play(name: &str, setup: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        sh(setup);
        return test();
    }
    let probe = |way: &&&[&str]| {
        let run = Command::new("unshare").args(**way).args(["sh", "-c", setup]).output();
        run.is_ok_and(|run| run.status.success())
    };
    let Some(way) = WAYS.iter().find(probe) else {
        let notice = format!(
            "\nNOT RUN: {name}: neither this user nor root can do this here, for which `unshare` and \
             the tools are needed, and the rights to use them: {setup}\n\n"
        );
        // Not by a macro, whose output is only shown of tests that fail.
        io::stderr().write_all(notice.as_bytes()).unwrap();
        return;
    };
    let inside = Command::new("unshare")
        .args(*way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let [stdout, stderr] = [inside.stdout, inside.stderr].map(String::from_utf8);
    assert!(inside.status.success(), "{}\n{}", stdout.unwrap(), stderr.unwrap());
}

/// Starts a machine, which is a namespace and a script that has these parameters and waits for a line.
pub(super) fn machine(script: &str, parameters: &[&str], directory: &Path) -> Child {
    let child = Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh"])
        .args(parameters)
        .current_dir(directory)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let namespace =
        |process: &str| -> io::Result<PathBuf> { fs::read_link(format!("/proc/{process}/ns/net")) };
    let own = namespace("self").unwrap();
    let id = child.id().to_string();
    eventually("a namespace", || (namespace(&id).unwrap() != own).then_some(()));
    child
}

/// Leads a cable from a bridge to a machine: the bridge's end has this name.
pub(super) fn plug_in(child: &Child, bridge: &str, cable: &str, interface: &str) {
    let id = child.id();
    sh(&format!("ip link add {cable} type veth peer name {interface} netns {id}"));
    sh(&format!("ip link set {cable} master {bridge} up"));
}

/// Has a machine go on, which has all its cables.
pub(super) fn go_on(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
}

pub(super) fn sh(command: &str) {
    let run = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(run.status.success(), "{command}: {run:?}");
}
