//! The measurements, each a row or two of the table.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use wasm_exec_registry::{RedbBackend, Registration, Registry};

use crate::Options;
use crate::client::Client;
use crate::guests::{self, DOUBLE, LOOP, MEM17};
use crate::load::{Load, lines_per_second, requests_per_second};
use crate::report::{mebibytes, median, milliseconds, percentile, row};
use crate::target::Target;
use crate::targets;

/// How many connections are kept busy.
const CONNECTIONS: usize = 32;

/// The body of a call of `double`, by the route that the floor has.
pub(crate) fn execute(module: &str) -> String {
    json!({ "module_name": module, "function_name": "double", "params": [2] }).to_string()
}

/// Requests a second that a target answers of those to one path.
fn rate(target: &Target, path: &str, body: &str, options: &Options) -> f64 {
    let load = Load { paths: &[path.to_owned()], body, connections: CONNECTIONS };
    requests_per_second(target, &load, options.seconds)
}

/// Calls of programs that are ready, as a share of the floor's requests per second.
pub(crate) fn hot_calls(options: &Options) {
    let v1 = "/v1/modules/double/functions/double";
    let routes = [
        ("hot call, trivial, `/execute`", "/execute", execute("double"), "≥ 0.85 of the floor"),
        ("hot call, trivial, `/v1`", v1, r#"{"params":[2]}"#.to_owned(), "–"),
        ("hot call, mem17, `/execute`", "/execute", execute("mem17"), "≥ 0.55 of the floor"),
    ];
    let wanted: Vec<_> = routes.iter().filter(|(name, ..)| options.wants(name)).collect();
    if wanted.is_empty() {
        return;
    }
    let (floor, server) = (Target::floor(), Target::in_memory());
    let mut client = Client::connect(&server.url);
    guests::register(&mut client, "double", DOUBLE);
    guests::register(&mut client, "mem17", MEM17);
    let mut floors = Vec::new();
    let mut rates = vec![Vec::new(); wanted.len()];
    for _ in 0..options.rounds {
        floors.push(rate(&floor, "/execute", &execute("double"), options));
        for ((_, path, body, _), rates) in wanted.iter().zip(&mut rates) {
            rates.push(rate(&server, path, body, options));
        }
    }
    row("floor: bare axum, same JSON", &format!("{:.0} requests/s", median(floors.clone())), "–");
    for ((name, _, _, goal), rates) in wanted.iter().zip(rates) {
        let ratios = rates.iter().zip(&floors).map(|(rate, floor)| rate / floor).collect();
        let measured = format!("{:.2} ({:.0} requests/s)", median(ratios), median(rates));
        row(name, &measured, goal);
    }
}

/// Lines of one batch, against the floor's requests per second.
pub(crate) fn batch(options: &Options) {
    const NAME: &str = "lines of a batch, trivial call";
    if !options.wants(NAME) {
        return;
    }
    let (floor, server) = (Target::floor(), Target::in_memory());
    guests::register(&mut Client::connect(&server.url), "double", DOUBLE);
    let path = "/v1/modules/double/functions/double/batch";
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let floor = rate(&floor, "/execute", &execute("double"), options);
        // On a thread of its own, which alone is kept to the core of the load.
        let rate = std::thread::scope(|scope| {
            let load = scope.spawn(|| lines_per_second(&server, path, "[2]", options.seconds));
            load.join().expect("it does not panic")
        });
        ratios.push(rate / floor);
        rates.push(rate);
    }
    let measured = format!("{:.2} × the floor ({:.0} lines/s)", median(ratios), median(rates));
    row(NAME, &measured, "≥ 4 × the floor");
}

/// `POST /` of modules that nobody has seen.
pub(crate) fn never_seen(options: &Options) {
    const NAME: &str = "never-seen tiny module, `POST /`";
    if !options.wants(NAME) {
        return;
    }
    let server = Target::in_memory();
    let mut client = Client::connect(&server.url);
    let mut times: Vec<_> = (0..1000)
        .map(|number| {
            let hex = guests::variant_hex(number);
            let body = json!({ "wasm_hex": hex, "function_name": "double", "params": [2] });
            client.post("/", &body.to_string()).expect("it runs")
        })
        .collect();
    times.sort_unstable();
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    let measured = format!("p50 {}, p99 {}", milliseconds(p50), milliseconds(p99));
    row(NAME, &measured, "p50 ≤ 0.6 ms");
}

/// First calls of registered modules after a restart: from the artifact on disk.
pub(crate) fn first_calls(options: &Options) {
    const NAME: &str = "first call, tiny, from the artifact on disk";
    const MODULES: usize = 500;
    if !options.wants(NAME) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let body = |number: usize| execute(&format!("module{number}"));
    {
        let server = Target::on(directory.path());
        let mut client = Client::connect(&server.url);
        for number in 0..MODULES {
            let name = format!("module{number}");
            guests::register(&mut client, &name, &guests::variant(number));
        }
    }
    let server = Target::on(directory.path());
    let mut client = Client::connect(&server.url);
    let call = |number| client.post("/execute", &body(number)).expect("it runs");
    let mut first: Vec<_> = (0..MODULES).map(call).collect();
    let mut hot: Vec<_> = (0..MODULES)
        .map(|number| client.post("/execute", &body(number)).expect("it runs"))
        .collect();
    first.sort_unstable();
    hot.sort_unstable();
    let over = |share| percentile(&first, share).saturating_sub(percentile(&hot, 0.5));
    let measured = format!(
        "p50 +{}, p99 +{} over the hot call's {}",
        milliseconds(over(0.5)),
        milliseconds(over(0.99)),
        milliseconds(percentile(&hot, 0.5)),
    );
    row(NAME, &measured, "≤ +0.4 ms");
}

/// Light calls beside calls that never end.
pub(crate) fn fairness(options: &Options) {
    const NAME: &str = "light calls beside two CPU-bound callers, one core";
    if !options.wants(NAME) {
        return;
    }
    let server = Target::in_memory();
    let mut client = Client::connect(&server.url);
    guests::register(&mut client, "double", DOUBLE);
    guests::register(&mut client, "loop", LOOP);
    let hogs: Vec<_> = (0..2)
        .map(|_| {
            let mut hog = Client::connect(&server.url);
            std::thread::spawn(move || {
                let body = json!({ "limits": { "timeout_ms": 12_000 } }).to_string();
                // It ends by its timeout, or with the server.
                let _ = hog.post("/v1/modules/loop/functions/loop", &body);
            })
        })
        .collect();
    let body = execute("double");
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < Duration::from_secs(8) {
        times.push(client.post("/execute", &body).expect("it runs"));
    }
    drop(server);
    hogs.into_iter().for_each(|hog| hog.join().expect("it does not panic"));
    times.sort_unstable();
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    let measured = format!("p50 {}, p99 {}", milliseconds(p50), milliseconds(p99));
    row(NAME, &measured, "p99 ≤ 10 ms");
}

/// Memory of a server that does nothing.
pub(crate) fn idle(options: &Options) {
    const NAME: &str = "idle server, resident memory";
    if !options.wants(NAME) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let server = Target::on(directory.path());
    let mut client = Client::connect(&server.url);
    guests::register(&mut client, "double", DOUBLE);
    drop(server);
    targets::forget_program();
    let server = Target::on(directory.path());
    let (all, own) = (mebibytes(server.resident()), mebibytes(server.anonymous()));
    row(NAME, &format!("{all}, of which {own} are not of its file"), "≤ 20 MiB");
}

/// Starting with many registered modules, and calling one.
pub(crate) fn many_modules(options: &Options) {
    const NAME: &str = "start with 100,000 registered modules";
    if !options.wants(NAME) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path(), 100_000);
    let started = Instant::now();
    let server = Target::on(directory.path());
    let listening = started.elapsed();
    Client::connect(&server.url).post("/execute", &execute("module77777")).expect("it runs");
    let called = started.elapsed();
    let measured = format!(
        "{} until it listens, {} until one is called; {} resident",
        milliseconds(listening),
        milliseconds(called),
        mebibytes(server.resident()),
    );
    row(NAME, &measured, "≤ 500 ms");
}

/// Registers modules without a server: only the registry's part of it.
fn fill(directory: &Path, modules: usize) {
    let data = wasm_exec_registry::DataDirectory::open(directory).expect("it is new");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    runtime.block_on(async {
        let backend = RedbBackend::open(&data.registry_path(), 64 << 20).expect("it is new");
        let registry = Registry::new(Arc::new(backend));
        let mut registering = tokio::task::JoinSet::new();
        for number in 0..modules {
            let registry = registry.clone();
            registering.spawn(async move {
                let wasm = wasm_exec_engine::text::parse(&guests::variant(number));
                let registration = Registration {
                    name: Some(format!("module{number}").parse().expect("it is a name")),
                    links: [].into(),
                    wasm: wasm.expect("it is valid").into(),
                };
                registry.register(registration).await.expect("it registers");
            });
            if registering.len() >= 1024 {
                registering.join_next().await;
            }
        }
        registering.join_all().await;
    });
}
