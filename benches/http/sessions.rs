//! What sessions are measured by: their calls, and raw bytes into and out of their memories.

use serde_json::{Value, json};

use crate::Options;
use crate::client::Client;
use crate::guests::DOUBLE;
use crate::load::{Load, keep_to_load_core, requests_per_second};
use crate::measure::execute;
use crate::report::{median, row};
use crate::target::Target;
use crate::transfer::Transfer;

/// How many connections are kept busy where it is about throughput; each calls a session of its own.
const CONNECTIONS: usize = 32;

/// How many bytes are transferred at a time.
const TRANSFERRED: usize = 64 << 20;

/// As large as what is transferred.
const MEMORY: &str = r#"(module (memory (export "memory") 1024))"#;

/// A session with one instance, called `it`. Gives its path.
fn session(client: &mut Client, wat: &str) -> String {
    let mut post = |path: &str, body: Value| {
        let body = body.to_string();
        let (answer, _) =
            client.ask("POST", path, "application/json", body.as_bytes()).expect("it is made");
        let answer = String::from_utf8_lossy(answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        answer
    };
    // What the instance takes besides its memory is counted, too.
    let limits = json!({ "memory_bytes": TRANSFERRED + (16 << 20) });
    let made = post("/v1/sessions", json!({ "limits": limits, "idle_timeout_ms": 3_600_000 }));
    let (_, body) = made.split_once("\r\n\r\n").expect("it has a body");
    let body: Value = serde_json::from_str(body).expect("it is JSON");
    let path = format!("/v1/sessions/{}", body["id"].as_str().expect("it has an id"));
    post(&format!("{path}/instances"), json!({ "name": "it", "wat": wat }));
    path
}

/// Calls in sessions, as a share of the floor's requests a second on as many connections.
pub(crate) fn calls(options: &Options) {
    const GOAL: &str = "≥ 0.9 of the floor";
    let wanted: Vec<_> = [
        ("sessions: a call, one connection", 1, GOAL),
        ("sessions: a call, 32 connections, a session each", CONNECTIONS, "–"),
    ]
    .into_iter()
    .filter(|(name, ..)| options.wants(name))
    .collect();
    if wanted.is_empty() {
        return;
    }
    let (floor, server) = (Target::floor(), Target::in_memory());
    let mut client = Client::connect(&server.url);
    let paths: Vec<_> = (0..CONNECTIONS)
        .map(|_| format!("{}/instances/it/functions/double", session(&mut client, DOUBLE)))
        .collect();
    let (floor_paths, floor_body) = ([String::from("/execute")], execute("double"));
    for (name, connections, goal) in wanted {
        let at_floor = Load { paths: &floor_paths, body: &floor_body, connections };
        let calls = Load { paths: &paths[..connections], body: r#"{"params":[2]}"#, connections };
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let floor = requests_per_second(&floor, &at_floor, options.seconds);
            let rate = requests_per_second(&server, &calls, options.seconds);
            ratios.push(rate / floor);
            rates.push(rate);
        }
        let rate = median(rates);
        let took = connections as f64 * 1e6 / rate;
        let measured = format!("{:.2} ({rate:.0} requests/s, {took:.0} µs each)", median(ratios));
        row(name, &measured, goal);
    }
}

/// Bytes into a memory of a session and out of it, in gigabytes a second; and as a share of what the
/// floor takes and gives.
pub(crate) fn memory(options: &Options) {
    const NAMES: [&str; 2] = ["memory: 64 MiB into a session", "memory: 64 MiB out of a session"];
    if !NAMES.iter().any(|name| options.wants(name)) {
        return;
    }
    let (floor, server) = (Target::floor(), Target::in_memory());
    let path = session(&mut Client::connect(&server.url), MEMORY);
    let path = format!("{path}/instances/it/memories/memory");
    // On a thread of its own, which alone is kept to the core of the load.
    let measured = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            keep_to_load_core();
            let mut floor = Transfer::connect(&floor.url, "/bytes", TRANSFERRED);
            let mut server = Transfer::connect(&server.url, &path, TRANSFERRED);
            // The first bytes that are written into a memory take longer.
            server.put();
            server.check();
            let mut rates = [const { Vec::new() }; 2];
            for _ in 0..options.rounds {
                rates[0].push((server.put_for(options.seconds), floor.put_for(options.seconds)));
                rates[1].push((server.get_for(options.seconds), floor.get_for(options.seconds)));
            }
            rates
        });
        load.join().expect("it does not panic")
    });
    for (name, rates) in NAMES.iter().zip(measured) {
        let ratio = median(rates.iter().map(|(rate, floor)| rate / floor).collect());
        let rate = median(rates.iter().map(|(rate, _)| *rate).collect());
        row(name, &format!("{rate:.2} GB/s ({ratio:.2} of the floor)"), "≥ 1 GB/s");
    }
}
