//! `kill -9` while eight threads register and delete: what was acknowledged is there, whole.
//!
//! The test runs itself as another process, which prints each acknowledgement, kills it after a
//! random number of them, and looks at what it left. A machine that loses its power is simulated
//! beside the backend, in `power_loss`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wasm_exec_registry::{
    DataDirectory, GraphLimits, RedbBackend, Registration, Registry, RegistryError,
};

const CHILD: &str = "a_child_registers_until_it_is_killed";
const DIRECTORY: &str = "REGISTRY_CRASH_TEST_DIRECTORY";
const ROUND: &str = "REGISTRY_CRASH_TEST_ROUND";
const WRITERS: usize = 8;
const ROUNDS: usize = 48;
/// No new round begins after this, so that a slow disk does not make the test endless.
const TIME: Duration = Duration::from_secs(10);

fn open(directory: &Path) -> (DataDirectory, Registry) {
    let directory = DataDirectory::open(directory).unwrap();
    let backend = RedbBackend::open(&directory.registry_path(), 1 << 20).unwrap();
    (directory, Registry::new(Arc::new(backend)))
}

/// What a module of this name holds: from a few bytes to some hundred kilobytes.
fn wasm(name: &str) -> String {
    let size = name.bytes().fold(7_usize, |hash, byte| (hash * 31 + usize::from(byte)) % 104_729);
    name.repeat(1 + size / 40)
}

#[test]
#[ignore = "the process that the other test kills"]
fn a_child_registers_until_it_is_killed() {
    let directory = std::env::var_os(DIRECTORY).unwrap();
    let round = std::env::var(ROUND).unwrap();
    let (_directory, registry) = open(Path::new(&directory));
    // The harness has begun a line.
    say("");
    let runtime = Runtime::new().unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let registry = registry.clone();
            runtime.spawn(write(registry, format!("r{round}w{writer}")))
        })
        .collect();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
}

/// Registers chains of modules, deletes half of them, and says what was acknowledged.
async fn write(registry: Registry, writer: String) {
    let mut last = None;
    for n in 0_u64.. {
        let name = format!("{writer}n{n}");
        let registration = Registration {
            name: Some(name.parse().unwrap()),
            links: last.map(|last| ("last".to_owned(), last)).into_iter().collect(),
            wasm: wasm(&name).into(),
        };
        let registered = registry.register(registration).await.unwrap();
        say(&format!("+ {name}"));
        last = Some(registered.digest);
        if n % 4 == 3 {
            // The end of a chain, which is collected, and its middle, which stays linked to.
            for name in [name, format!("{writer}n{}", n - 2)] {
                say(&format!("? {name}"));
                registry.delete(&name.parse().unwrap()).await.unwrap();
                say(&format!("- {name}"));
            }
            last = None;
        }
    }
}

/// Prints one line in one write, past the test harness, which would capture it.
fn say(line: &str) {
    let mut stdout = std::io::stdout();
    stdout.write_all(format!("{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Registered,
    /// Its deletion was asked for, and not acknowledged.
    Either,
    Deleted,
}

/// What the children were told.
#[derive(Default)]
struct Acknowledged(BTreeMap<String, Known>);

impl Acknowledged {
    /// Notes a line; whether it was one of ours, and whole.
    fn note(&mut self, line: &str) -> bool {
        let known = match line.get(..2) {
            Some("+ ") => Known::Registered,
            Some("? ") => Known::Either,
            Some("- ") => Known::Deleted,
            _ => return false,
        };
        let Some(name) = line[2..].strip_suffix('\n') else {
            return false;
        };
        self.0.insert(name.to_owned(), known);
        true
    }

    async fn check(&self, registry: &Registry) {
        for (name, known) in &self.0 {
            let reference = name.parse().unwrap();
            let resolved = match (registry.resolve(&reference).await, known) {
                (Ok(resolved), Known::Registered | Known::Either) => resolved,
                (Err(RegistryError::UnknownName(_)), Known::Deleted | Known::Either) => continue,
                (result, known) => panic!("{name} is {known:?}, and {result:?}"),
            };
            let limits = GraphLimits::default();
            let graph = registry.graph(resolved.digest, limits).await.unwrap();
            let root = graph.nodes.last().unwrap();
            assert!(registry.blob(root.wasm).await.unwrap() == wasm(name), "{name}");
            for node in &graph.nodes {
                registry.blob(node.wasm).await.unwrap();
            }
        }
    }
}

fn spawn(directory: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", CHILD, "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Runs a child, kills it after `acknowledgements`, and notes all that it said.
fn run_and_kill(
    directory: &Path,
    round: usize,
    acknowledgements: usize,
    acknowledged: &mut Acknowledged,
) {
    let mut child = spawn(directory, round);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut noted = 0;
    let mut killed = false;
    loop {
        if !killed && noted >= acknowledgements {
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            break;
        }
        noted += usize::from(acknowledged.note(&line));
    }
    let status = child.wait().unwrap();
    assert!(killed && !status.success(), "the child ended: {status}");
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let runtime = Runtime::new().unwrap();
    let started = Instant::now();
    let directory = TempDir::new().unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut rounds = 0;
    for round in 0..ROUNDS {
        if started.elapsed() > TIME {
            break;
        }
        // The first rounds are killed while they make the file.
        let acknowledgements = match round {
            0..4 => 0,
            _ => random.random_range(0..60),
        };
        run_and_kill(directory.path(), round, acknowledgements, &mut acknowledged);
        let (_directory, registry) = open(directory.path());
        runtime.block_on(acknowledged.check(&registry));
        rounds += 1;
    }
    assert!(rounds > 4, "only {rounds} rounds in {TIME:?}");
    assert!(!acknowledged.0.is_empty());
}
