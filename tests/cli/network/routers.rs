//! Nodes behind routers that let nothing in which was not asked for, played by network namespaces.

use std::io::Read;
use std::process::Child;

use tempfile::TempDir;

use super::namespace::{go_on, machine, play, plug_in, sh};
use super::node::{DOUBLE, TRIPLE, computes, eventually, peer_ids, put, register};
use crate::support::Server;

/// The name of the test, as the test runner knows it.
const TEST: &str = "network::routers::nodes_behind_two_routers_reach_each_other";

/// Two bridges: the internet, and one over which the test asks the nodes, and these hear nothing of each
/// other. And `nft` is there, and may translate addresses.
const BRIDGES: &str = "ip link add world type bridge && ip link set world up && \
                       ip link add desk type bridge && ip address add 10.99.0.254/24 dev desk && \
                       ip link set desk up && ip link set lo up && \
                       nft 'add table ip probe; add chain ip probe out \
                       { type nat hook postrouting priority 100; }; delete table ip probe'";

/// Waits for the cables, and then is the program: the parameters are the address, the way to others or
/// `-`, the address for the test, and the command.
const HOST: &str = r#"read -r _ && ip link set lo up &&
    ip address add "$1/24" dev eth0 && ip link set eth0 up &&
    ip address add "$3/24" dev eth1 && ip link set eth1 up &&
    { [ "$2" = - ] || ip route add default via "$2"; } && shift 3 && exec "$@""#;

/// Waits for the cables, and then passes on what is asked from inside, under its own address, and the
/// answers to it: the parameters are the addresses outside and inside.
const ROUTER: &str = r#"read -r _ && ip address add "$1/24" dev eth0 && ip link set eth0 up &&
    ip address add "$2/24" dev eth1 && ip link set eth1 up && echo 1 >/proc/sys/net/ipv4/ip_forward &&
    nft 'add table ip router
        add chain ip router behind { type nat hook postrouting priority 100; }
        add rule ip router behind oifname "eth0" masquerade
        add chain ip router here { type filter hook input priority 0; }
        add rule ip router here iifname "eth0" ct state established,related accept
        add rule ip router here iifname "eth0" drop
        add chain ip router through { type filter hook forward priority 0; }
        add rule ip router through iifname "eth0" ct state established,related accept
        add rule ip router through iifname "eth0" drop' &&
    echo ready && exec sleep infinity"#;

#[test]
#[ignore = "needs nft, and waits until nodes have found out where they are"]
fn nodes_behind_two_routers_reach_each_other() {
    play(TEST, BRIDGES, routers);
}

/// The test, in its namespace.
fn routers() {
    for (run, transport) in ["tcp/4001", "udp/4001/quic-v1"].into_iter().enumerate() {
        reach_each_other(100 * run, transport);
    }
}

/// Two nodes that listen by this transport alone. Cables and addresses are numbered from `first`, since
/// machines that have ended are answered for a little longer.
fn reach_each_other(first: usize, transport: &str) {
    let own = format!("192.0.2.{}", first + 1);
    let public = Host::start(first + 1, &own, transport, None, None);
    let (_, address) = public.server.line.trim_end().split_once(" --peer ").unwrap();
    let behind_a_router = |number: usize| {
        let mut router = Router::start(first + number, number);
        let (cable, own) = (first + number + 1, format!("10.{number}.0.2"));
        (Host::start(cable, &own, transport, Some(&mut router), Some(address)), router)
    };
    let [(one, _its), (other, _others)] = [1, 2].map(behind_a_router);
    // What others have a copy of comes from them.
    put(&one.server, "utils", DOUBLE).has_status(201);
    computes(&other.server, "utils", 4);
    // What nobody else has comes on a direct way, through both routers.
    for node in [&one, &other] {
        eventually("both others are peers", || (peer_ids(&node.server).len() == 2).then_some(()));
    }
    let module = register(&one.server, TRIPLE).has_status(201).json();
    computes(&other.server, module["digest"].as_str().unwrap(), 6);
}

/// A router with one cable to the internet, and one to a host to come.
struct Router {
    child: Child,
    inside: String,
    _directory: TempDir,
}

impl Router {
    fn start(cable: usize, number: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (outside, inside) = (format!("192.0.2.{}", 10 + cable), format!("10.{number}.0.1"));
        let child = machine(ROUTER, &[&outside, &inside], directory.path());
        plug_in(&child, "world", &format!("router{cable}"), "eth0");
        Self { child, inside, _directory: directory }
    }

    /// Leads a cable to a host, and begins.
    fn serve(&mut self, host: &Child) {
        let (router, host) = (self.child.id(), host.id());
        sh(&format!("ip link add eth1 netns {router} type veth peer name eth0 netns {host}"));
        go_on(&mut self.child);
        let mut ready = [0];
        let output = self.child.stdout.as_mut().expect("it is piped");
        output.read_exact(&mut ready).expect("the router begins");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // Gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node on a machine of its own.
struct Host {
    server: Server,
    _directory: TempDir,
}

impl Host {
    fn start(
        cable: usize,
        address: &str,
        transport: &str,
        router: Option<&mut Router>,
        peer: Option<&str>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let desk = format!("10.99.0.{cable}");
        let listen = format!("/ip4/{address}/{transport}");
        let way = router.as_ref().map_or("-", |router| &router.inside).to_owned();
        let command = [address, &way, &desk, env!("CARGO_BIN_EXE_wasm-exec-api")];
        let flags = ["--memory", "--p2p", "--no-mdns", "--listen", &desk, "--allow-anonymous"];
        let mut parameters = [&command[..], &flags, &["--p2p-listen", &listen]].concat();
        parameters.extend(peer.iter().flat_map(|peer| ["--peer", peer]));
        let mut child = machine(HOST, &parameters, directory.path());
        match router {
            Some(router) => router.serve(&child),
            None => plug_in(&child, "world", &format!("host{cable}"), "eth0"),
        }
        let cable = format!("desk{cable}");
        plug_in(&child, "desk", &cable, "eth1");
        sh(&format!("ip link set {cable} type bridge_slave isolated on"));
        go_on(&mut child);
        let server = Server::ready(child).expect("the node starts");
        Self { server, _directory: directory }
    }
}
