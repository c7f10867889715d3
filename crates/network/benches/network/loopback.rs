//! Nodes of one machine that speak over its sockets.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use wasm_exec_registry::mapped::Buffer;

use crate::figures::{millis, percentile, told};
use crate::nodes::{Node, measured_until, module, until};

const LARGE: usize = 50 << 20;

/// How often the large module is fetched.
const ROUNDS: u64 = 7;

const NODES: usize = 10;

/// How many modules are registered, and how many before them that do not count.
const MODULES: usize = 50;
const WARM_UP: usize = 5;

/// Between two registrations, so that all are at rest.
const REST: Duration = Duration::from_millis(200);

/// More memory than all rounds take.
const MEMORY: usize = 2 << 30;

/// Takes memory and gives it back. A virtual machine's memory that nobody has used for a while may have
/// gone back to the host; whoever uses it next would wait for the host page by page, which takes
/// longer than the transfer and says nothing about it.
fn have_memory() {
    let mut memory = Buffer::zeroed(MEMORY).expect("there is room");
    // One byte of a page is all of it.
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
}

/// A large module that one node has and the other calls by its digest: from the call to its bytes,
/// verified and kept. Both nodes and all their hashing and encrypting share the machine.
pub(crate) async fn transfer(listen: &str) -> String {
    have_memory();
    let one = Node::start(listen, None).await;
    let other = Node::start(listen, Some(&one)).await;
    until("they have met", async || other.status().peers.len() == 1).await;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let digest = one.register(None, module(LARGE, round)).await.to_string();
        let began = Instant::now();
        assert!(other.loads(&digest).await, "it is to be had");
        took.push(began.elapsed());
    }
    let median = percentile(&mut took, 50);
    let gigabits = |time: Duration| LARGE as f64 * 8.0 / 1e9 / time.as_secs_f64();
    format!(
        "{:.2} Gbit/s ({}), {:.2} to {:.2}",
        gigabits(median),
        millis(median),
        gigabits(took[took.len() - 1]),
        gigabits(took[0]),
    )
}

/// From the beginning of a registration until all other nodes have loaded the module by its name.
pub(crate) async fn spread() -> String {
    let nodes = Node::network(NODES, NODES - 1, "/ip4/127.0.0.1/tcp/0").await;
    let (mut answered, mut callable) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + MODULES {
        tokio::time::sleep(REST).await;
        let (name, wasm) = (format!("module{number}"), module(2000, number as u64));
        let (answer, last) = register_and_call(&nodes, number % NODES, &name, wasm).await;
        if number >= WARM_UP {
            answered.push(answer);
            callable.push(last);
        }
    }
    format!("{}; the registration is answered in {}", told(callable), told(answered))
}

/// How long it took until the registration was answered, and until all had called the module.
async fn register_and_call(
    nodes: &[Node],
    owner: usize,
    name: &str,
    wasm: Bytes,
) -> (Duration, Duration) {
    let began = Instant::now();
    let registering = async {
        nodes[owner].register(Some(name), wasm).await;
        began.elapsed()
    };
    let calling = async {
        let calls = nodes
            .iter()
            .map(|node| measured_until("it is called", async || node.loads(name).await));
        stream::iter(calls).for_each_concurrent(None, |call| call).await;
        began.elapsed()
    };
    tokio::join!(registering, calling)
}
