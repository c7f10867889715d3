//! What real nodes do, against their targets: nodes of this process, each with a registry of its own.
//!
//! `cargo bench -p wasm-exec-network --features delay --bench network` prints a Markdown table; words
//! run only the rows in which they are. Where nodes are said to be distant, all that one sends another
//! takes 25 ms to come, so a round trip takes 50. The targets that are about more nodes than fit into
//! a process are measured by the bench `simulation`.

mod copies;
mod distant;
mod figures;
mod loopback;
mod nodes;
mod warm;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

/// What a measurement found.
type Figure = Pin<Box<dyn Future<Output = String>>>;

/// A row: what is measured, its target, and what gives its figure.
type Row = (&'static str, &'static str, fn() -> Figure);

const ROWS: [Row; 7] = [
    ("warm name → program, own name, ÷ the embedded backend alone", "as fast", || {
        Box::pin(warm::own())
    }),
    ("warm name → program, another's name, ÷ the embedded backend alone", "as fast", || {
        Box::pin(warm::anothers())
    }),
    ("cold fetch of a 1 MB module, 100 distant nodes", "p50 ≤ 500 ms", || {
        Box::pin(distant::fetch())
    }),
    ("50 MiB between two nodes on loopback, TCP", "≥ 1 Gbit/s", || {
        Box::pin(loopback::transfer("/ip4/127.0.0.1/tcp/0"))
    }),
    ("50 MiB between two nodes on loopback, QUIC", "≥ 1 Gbit/s", || {
        Box::pin(loopback::transfer("/ip4/127.0.0.1/udp/0/quic-v1"))
    }),
    ("register here → callable on all of 10 nodes, loopback, TCP", "–", || {
        Box::pin(loopback::spread())
    }),
    ("30 % of 40 nodes die at once", "100 % of names, three copies in 30 s", || {
        Box::pin(copies::die())
    }),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    println!("| real nodes | figure | target |\n|---|---|---|");
    for (name, target, measure) in ROWS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            // What a row leaves running goes with its runtime.
            let Ok(runtime) = tokio::runtime::Runtime::new() else { return ExitCode::FAILURE };
            println!("| {name} | {} | {target} |", runtime.block_on(measure()));
        }
    }
    ExitCode::SUCCESS
}
