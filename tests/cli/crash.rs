//! `kill -9` while 32 clients register and delete: all that was acknowledged is there, and works.
//!
//! `CRASH_ROUNDS` in the environment is how often the server is killed; the rounds share a data
//! directory, up to [`ROUNDS_OF_A_DIRECTORY`] of them. Before it is started again, some compiled
//! code is damaged as well.

mod client;
mod writer;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tempfile::TempDir;

use self::client::Client;
use self::writer::{Expected, Writer, state};
use crate::support::Server;

const ROUNDS: usize = 5;
const ROUNDS_OF_A_DIRECTORY: usize = 25;
const WRITERS: usize = 32;

/// After how many acknowledgements, at most, the server is killed.
const MAX_ACKNOWLEDGEMENTS: usize = 300;

/// How many of the older registrations are looked at in every round; all are after the last.
const OLDER: usize = 100;

/// How long the next acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(60);

const FLAGS: &str = "-p 0 --listen 127.0.0.1 -d data";

/// What all rounds came to.
#[derive(Debug, Default)]
struct Summary {
    rounds: usize,
    acknowledged: usize,
    /// What is not as it was acknowledged.
    lost: Vec<String>,
    not_opened: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, acknowledged, lost, not_opened } = self;
        let lost = lost.len();
        write!(
            f,
            "{rounds} rounds, {acknowledged} acknowledged writes, {lost} lost, {not_opened} files \
             that did not open"
        )
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let started = Instant::now();
    let mut summary = Summary::default();
    while summary.rounds < rounds {
        let rounds = (rounds - summary.rounds).min(ROUNDS_OF_A_DIRECTORY);
        run_directory(rounds, &mut random, &mut summary);
        println!("{summary}, {:?}", started.elapsed());
    }
    assert!(summary.lost.is_empty(), "{:#?}", summary.lost);
    assert_eq!(summary.not_opened, 0);
    assert!(summary.acknowledged > 0);
}

fn run_directory(rounds: usize, random: &mut TestRng, summary: &mut Summary) {
    let directory = TempDir::new().unwrap();
    let mut all: Vec<Expected> = Vec::new();
    for round in 0..rounds {
        summary.rounds += 1;
        // Killed while it opens what the last round left, and then started for good.
        if random.random_range(0..4) == 0 {
            kill_while_starting(directory.path(), random);
        }
        damage_artifact(directory.path(), random);
        let Some(server) = Server::try_start(directory.path(), FLAGS) else {
            summary.not_opened += 1;
            println!("{} does not open", directory.keep().display());
            return;
        };
        check(&server, sample(&all, random), summary);
        let new = write_until_killed(server, summary.rounds, random, summary);
        if round + 1 == rounds {
            check_all(directory.path(), &all, &new, summary);
        }
        all.extend(new);
    }
}

/// The last round's, and some of the older ones.
fn sample<'a>(all: &'a [Expected], random: &mut TestRng) -> Vec<&'a Expected> {
    let last = all.len().saturating_sub(MAX_ACKNOWLEDGEMENTS + 2 * WRITERS);
    let older = (0..OLDER.min(last)).map(|_| &all[random.random_range(0..last)]);
    older.chain(&all[last..]).collect()
}

fn check_all(directory: &Path, old: &[Expected], new: &[Expected], summary: &mut Summary) {
    match Server::try_start(directory, FLAGS) {
        Some(server) => check(&server, old.iter().chain(new).collect(), summary),
        None => summary.not_opened += 1,
    }
}

fn check(server: &Server, expected: Vec<&Expected>, summary: &mut Summary) {
    let mut client = Client::connect(server.address()).unwrap();
    for Expected { name, states } in expected {
        match state(&mut client, name) {
            Ok(state) if states.contains(&state) => {}
            found => summary.lost.push(format!("{name} is {found:?}, not one of {states:?}")),
        }
    }
}

/// Kills the server after a random number of acknowledgements, and gives what has to be there.
fn write_until_killed(
    mut server: Server,
    round: usize,
    random: &mut TestRng,
    summary: &mut Summary,
) -> Vec<Expected> {
    let (acknowledged, acknowledgements) = mpsc::channel();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| Writer {
            client: Client::connect(server.address()).unwrap(),
            prefix: format!("r{round}:w{writer}"),
            first: i32::try_from((round * WRITERS + writer) % 10_000).unwrap() * 100_000,
            acknowledged: acknowledged.clone(),
        })
        .map(|writer| thread::spawn(move || writer.run()))
        .collect();
    drop(acknowledged);
    for _ in 0..random.random_range(0..MAX_ACKNOWLEDGEMENTS) {
        acknowledgements.recv_timeout(PATIENCE).expect("the server goes on");
        summary.acknowledged += 1;
    }
    // Not only right after an answer.
    thread::sleep(Duration::from_micros(random.random_range(0..3000)));
    server.kill();
    summary.acknowledged += acknowledgements.iter().count();
    writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
}

fn kill_while_starting(directory: &Path, random: &mut TestRng) {
    let mut child = Server::spawn(directory, FLAGS);
    thread::sleep(Duration::from_micros(random.random_range(0..100_000)));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Damages one file of compiled code, if there is any, as a failing disk would.
fn damage_artifact(directory: &Path, random: &mut TestRng) {
    let mut files = Vec::new();
    collect_files(&directory.join("data/artifacts"), &mut files);
    files.retain(|path| !path.ends_with("key"));
    if files.is_empty() {
        return;
    }
    let path = &files[random.random_range(0..files.len())];
    let mut code = fs::read(path).unwrap();
    let at = random.random_range(0..=code.len());
    match code.get_mut(at) {
        Some(byte) if random.random_range(0..2) == 0 => *byte ^= 1,
        _ => code.truncate(at.saturating_sub(1)),
    }
    // They are read-only, so another file takes the place.
    fs::remove_file(path).unwrap();
    fs::write(path, code).unwrap();
}

fn collect_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, files);
        } else {
            files.push(path);
        }
    }
}
