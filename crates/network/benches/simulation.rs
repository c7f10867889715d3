//! What large networks do, in simulated time, against their targets.
//!
//! `cargo bench -p wasm-exec-network --bench simulation` prints a Markdown table. The figures are of
//! the model that `tests/simulator` describes, and the same on every machine; `-- --seed N` simulates
//! others, and words run only the rows in which they are.

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use simulator::scenario::{LookUps, Registered};

/// A row: what is simulated, its target, and what gives its figure.
type Row = (&'static str, &'static str, Box<dyn Fn(u64) -> String>);

fn main() -> ExitCode {
    let (seed, words) = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("| simulated (seed {seed}) | figure | target | took |\n|---|---|---|---|");
    for (name, target, run) in rows() {
        if words.is_empty() || words.iter().any(|word| name.contains(word)) {
            let began = Instant::now();
            let figure = run(seed);
            println!("| {name} | {figure} | {target} | {:.1} s |", began.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}

/// The seed, and words.
fn options(arguments: impl Iterator<Item = String>) -> Result<(u64, Vec<String>), String> {
    let (mut seed, mut words) = (1, Vec::new());
    // Cargo adds `--bench`.
    let mut arguments = arguments.filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        if argument == "--seed" {
            let value = arguments.next().and_then(|value| value.parse().ok());
            seed = value.ok_or("--seed: expected a number")?;
        } else {
            words.push(argument);
        }
    }
    Ok((seed, words))
}

fn rows() -> Vec<Row> {
    let look_ups = look_ups().into_iter();
    look_ups.chain(deaths()).chain(others()).collect()
}

fn look_ups() -> Vec<Row> {
    let look_up = |nodes, dead, liars| {
        move |seed| {
            let looked_up = LookUps { nodes, lookups: 2000, dead, liars, seed }.run();
            format!(
                "{:.2} hops, p50 {:.0?}, p99 {:.0?}, {:.2} % found",
                looked_up.mean_hops,
                millis(looked_up.p50),
                millis(looked_up.p99),
                looked_up.found * 100.0
            )
        }
    };
    vec![
        ("look-ups, 1,000 nodes", "mean ≤ 1.5 hops", Box::new(look_up(1000, 0.0, 0.0))),
        ("look-ups, 10,000 nodes", "mean ≤ 2 hops", Box::new(look_up(10_000, 0.0, 0.0))),
        (
            "look-ups, 500 nodes, 10 % dead",
            "p50 ≤ 150 ms, p99 ≤ 1 s",
            Box::new(look_up(500, 0.1, 0.0)),
        ),
        ("look-ups, 10,000 nodes, 30 % dead", "100 % found", Box::new(look_up(10_000, 0.3, 0.0))),
        ("look-ups, 10,000 nodes, 30 % liars", "–", Box::new(look_up(10_000, 0.0, 0.3))),
    ]
}

fn deaths() -> Vec<Row> {
    let die = |nodes, records, routed| {
        move |seed| {
            let registered = Registered { nodes, records, seed };
            let survived = if routed { registered.die_routed(0.3) } else { registered.die(0.3) };
            let names = if routed {
                String::new()
            } else {
                format!(", {:.2} % of names known", survived.names * 100.0)
            };
            format!(
                "copied from owners in {}, restored in {}, {} of {records} lost with all their \
                 holders, {} later{names}",
                seconds(survived.copied),
                seconds(survived.restored),
                survived.lost_at_once,
                survived.lost_later,
            )
        }
    };
    let target = "restored in 30 s, none lost later, 100 % of names";
    vec![
        ("30 % die at once, 300 nodes", target, Box::new(die(300, 1000, false))),
        ("30 % die at once, 10,000 nodes", target, Box::new(die(10_000, 10_000, true))),
    ]
}

fn others() -> Vec<Row> {
    let registered = |seed| Registered { nodes: 300, records: 500, seed };
    let part = move |seed| {
        let healed = registered(seed).part();
        let (names, restored) = (seconds(healed.names), seconds(healed.restored));
        format!("all names known in {names}, three copies of all in {restored}")
    };
    let lie = move |seed| {
        let lied_to = registered(seed).lie(0.3);
        format!(
            "{:.2} % of names known, a newcomer knows all in {}; {:.1} copies on honest nodes, \
             {} of 500 records with one only",
            lied_to.names * 100.0,
            seconds(lied_to.newcomer),
            lied_to.copies,
            lied_to.single,
        )
    };
    let churn = move |seed| {
        let churned = registered(seed).churn(0.05, 20);
        format!(
            "{:.2} % of records with three copies, {} lost, {:.2} % of names known",
            churned.whole * 100.0,
            churned.lost,
            churned.names * 100.0,
        )
    };
    vec![
        ("two halves parted for 2 min, 300 nodes", "healed in 30 s", Box::new(part)),
        ("30 % liars, 300 nodes", "100 % of names, 0 forged", Box::new(lie)),
        ("5 % die or return each 30 s, 300 nodes", "none lost", Box::new(churn)),
    ]
}

fn millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "more than 300 s".to_owned(), |time| format!("{} s", time.as_secs()))
}
