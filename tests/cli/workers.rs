//! The processes that compile: what they can reach, and that they end with their server.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::tempdir;

use crate::kernel;
use crate::support::{Server, wait_for};

/// Longer than anything here takes on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVE: &str = "-m -p 0 --listen 127.0.0.1";

const DOUBLE: &str = r#"(module (func (export "double") (param i32) (result i32)
    (i32.mul (local.get 0) (i32.const 2))))"#;

/// A process that compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Worker(i32);

impl Worker {
    /// Those of a server.
    fn all(server: &Server) -> Vec<Self> {
        let ids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok().map(Self));
        let parent = format!("PPid:\t{}", server.process_id());
        ids.filter(|worker| {
            let status = worker.file("status").unwrap_or_default();
            status.lines().any(|line| line == parent)
        })
        .collect()
    }

    /// The only one of a server.
    #[track_caller]
    fn only(server: &Server) -> Self {
        match Self::all(server)[..] {
            [worker] => worker,
            ref workers => panic!("{workers:?}"),
        }
    }

    fn path(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0)
    }

    /// A file of `/proc`, while the process is there.
    fn file(self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    /// A line of its status.
    fn status(self, name: &str) -> String {
        let status = self.file("status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap().to_owned()
    }

    /// A line of the status of each of its threads.
    fn threads(self, name: &str) -> Vec<String> {
        let threads = fs::read_dir(self.path("task")).unwrap();
        let ids = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap());
        ids.map(|id| Self(id.parse().unwrap()).status(name)).collect()
    }

    /// A limit of its resources, the one that holds and the one up to which it could be raised;
    /// `None` for none.
    fn limit(self, name: &str) -> (Option<u64>, Option<u64>) {
        let limits = self.file("limits").unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut values = line.split_whitespace().map(|value| match value {
            "unlimited" => None,
            value => Some(value.parse().unwrap()),
        });
        (values.next().unwrap(), values.next().unwrap())
    }

    /// The values of `/proc/…/stat`, from its state on.
    fn figures(self) -> Option<Vec<String>> {
        let stat = self.file("stat")?;
        let (_, figures) = stat.rsplit_once(") ")?;
        Some(figures.split(' ').map(ToOwned::to_owned).collect())
    }

    /// Whether it has ended, though nobody may have taken notice yet.
    fn has_ended(self) -> bool {
        // The first thread may end before the others, and the process only with the last of them.
        let threads =
            || std::fs::read_dir(format!("/proc/{}/task", self.0)).map_or(0, Iterator::count);
        self.figures().is_none_or(|figures| figures[0] == "Z" && threads() <= 1)
    }

    /// Processor time, in the kernel's ticks.
    fn ticks(self) -> u64 {
        self.figures().map_or(0, |figures| figures[11].parse().unwrap())
    }

    fn kill(self) {
        self.signal(Signal::KILL);
    }

    fn signal(self, signal: Signal) {
        // It may end at any moment.
        let _ = kill_process(Pid::from_raw(self.0).unwrap(), signal);
    }
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What costs a compiler minutes, within all limits: functions with a jump to one of many blocks, which
/// take many values along.
fn bomb() -> String {
    let (functions, targets, values) = (300, 220, 200);
    let labels: String = (0..targets).map(|label| format!("{label} ")).collect();
    let function = format!(
        "(func (param i32) {} {} local.get 0 br_table {labels} {} {})",
        "block (type $values) ".repeat(targets),
        "i32.const 0 ".repeat(values),
        "end ".repeat(targets),
        "drop ".repeat(values),
    );
    let results = "i32 ".repeat(values);
    format!("(module (type $values (func (result {results}))) {})", function.repeat(functions))
}

/// The open files of a process: their numbers and what they are.
fn files(process: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().filter_map(|file| {
        let file = file.unwrap();
        let target = fs::read_link(file.path()).ok()?;
        Some((file.file_name().into_string().unwrap(), target.to_string_lossy().into_owned()))
    });
    files.collect()
}

#[test]
fn a_worker_has_three_pipes_and_nothing_of_its_server() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "-d data -p 0 --listen 127.0.0.1");
    let worker = Worker::only(&server);
    // What was open for every process before the server started is not the server's.
    let inherited = files("self");
    let (standard, others): (Vec<_>, Vec<_>) = files(&worker.0.to_string())
        .into_iter()
        .partition(|(number, _)| ["0", "1", "2"].contains(&number.as_str()));
    assert!(standard.iter().all(|(_, target)| target.starts_with("pipe:")), "{standard:?}");
    assert!(others.iter().all(|file| inherited.contains(file)), "{others:?}");
    assert_eq!(worker.file("environ").unwrap(), "");
}

#[test]
fn a_worker_is_confined_by_all_that_the_kernel_has() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), SERVE);
    let worker = Worker::only(&server);
    let layers = kernel::layers();
    let (_, said) = server.line.split_once(", compilers confined by ").unwrap();
    assert_eq!(said.split(';').next().unwrap(), layers.join(", "), "{}", server.line);
    let all = |name: &str, value: &str| {
        let threads = worker.threads(name);
        assert!(threads.len() > 1 && threads.iter().all(|it| it == value), "{name}: {threads:?}");
    };
    all("NoNewPrivs", "1");
    // 2 is that a filter decides about system calls.
    all("Seccomp", if layers.contains(&"seccomp") { "2" } else { "0" });
    assert_eq!(worker.figures().unwrap()[16], "10", "its nice value");
}

#[test]
fn a_workers_resources_are_limited() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), SERVE);
    let worker = Worker::only(&server);
    for limit in ["Max core file size", "Max open files", "Max file size", "Max processes"] {
        assert_eq!(worker.limit(limit), (Some(0), Some(0)), "{limit}");
    }
    let (bytes, maximum) = worker.limit("Max address space");
    let peak = worker.status("VmPeak");
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    // What it had mapped before, and the default of what it may map to compile.
    let most = (2 << 30) + (peak << 10);
    assert!(bytes.is_some_and(|bytes| (2 << 30..=most).contains(&bytes)), "{bytes:?}");
    assert_eq!(maximum, bytes);
    // What it may take to get ready, and what it had taken before, rounded up.
    let (seconds, _) = worker.limit("Max cpu time");
    assert!(seconds.is_some_and(|seconds| (10..=20).contains(&seconds)), "{seconds:?}");
}

#[test]
fn no_worker_survives_its_server() {
    for signal in [Signal::KILL, Signal::TERM] {
        let directory = tempdir().unwrap();
        let mut server = Server::start(directory.path(), SERVE);
        let worker = Worker::only(&server);
        server.signal(signal);
        server.wait();
        wait_until("the worker has ended", || worker.has_ended());
    }
}

#[test]
fn a_worker_that_compiles_does_not_survive_its_server_either() {
    let directory = tempdir().unwrap();
    let mut server = Server::start(directory.path(), SERVE);
    let worker = Worker::only(&server);
    let before = worker.ticks();
    thread::scope(|scope| {
        let address = server.address().to_owned();
        // Nobody answers it.
        scope.spawn(move || drop(send_bomb(&address)));
        wait_until("the worker compiles", || worker.ticks() > before + 10);
        server.signal(Signal::KILL);
        server.wait();
        wait_until("the worker has ended", || worker.has_ended());
    });
}

/// Sends the bomb and waits until the connection ends.
fn send_bomb(address: &str) -> std::io::Result<()> {
    use std::io::{Read, Write};
    let wat = bomb();
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(
        stream,
        "PUT /v1/modules/bomb HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/wat\r\n\
         content-length: {}\r\n\r\n{wat}",
        wat.len()
    )?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

#[test]
fn an_idle_worker_that_is_killed_is_replaced() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), SERVE);
    let worker = Worker::only(&server);
    worker.kill();
    wait_until("the worker has ended", || worker.has_ended());
    let answer = server.put("/v1/modules/utils", DOUBLE);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_ne!(Worker::only(&server), worker);
}

#[test]
fn a_worker_that_is_killed_before_it_knows_of_a_module_costs_nothing() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), SERVE);
    let stopped = Worker::only(&server);
    // It is alive, but takes nothing any more.
    stopped.signal(Signal::STOP);
    let answer = thread::scope(|scope| {
        let put = scope.spawn(|| server.put("/v1/modules/utils", DOUBLE));
        wait_until("the module is being compiled", || {
            server.get("/metrics").contains("\nwasm_exec_running_compilations 1\n")
        });
        stopped.kill();
        put.join().unwrap()
    });
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    // Whether it is noticed that one has ended before it is given a module is a matter of luck.
    for number in 0..10 {
        Worker::only(&server).kill();
        let constant = format!("(module (func (result i32) (i32.const {number})))");
        let answer = server.put(&format!("/v1/modules/m{number}"), &constant);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
}

#[test]
fn a_module_is_given_up_with_the_second_worker_that_is_killed_over_it() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), SERVE);
    let mut killed: Option<Worker> = None;
    let answer = thread::scope(|scope| {
        let bomb = scope.spawn(|| server.put("/v1/modules/bomb", &bomb()));
        for _ in 0..2 {
            // None gets ready with as much processor time.
            let busy = |worker: &Worker| Some(*worker) != killed && worker.ticks() > 100;
            let compiling = || Worker::all(&server).into_iter().find(busy);
            wait_until("a worker compiles", || compiling().is_some());
            killed = compiling();
            killed.unwrap().kill();
        }
        bomb.join().unwrap()
    });
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(answer.contains("compile-limit"), "{answer}");
    assert!(answer.contains("ended from outside, twice"), "{answer}");
    let answer = server.put("/v1/modules/utils", DOUBLE);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[test]
fn a_module_that_crashes_its_compiler_is_refused_and_named_in_the_log() {
    let wasm = wasm_exec_engine::text::parse(&bomb()).unwrap();
    let digest = wasm_exec_registry::Digest::of(&wasm).to_string();
    for signal in [Signal::SEGV, Signal::ABORT] {
        let directory = tempdir().unwrap();
        let log = directory.path().join("log");
        let server = Server::start_logging(directory.path(), SERVE, &log);
        let worker = Worker::only(&server);
        let before = worker.ticks();
        let answer = thread::scope(|scope| {
            let bomb = scope.spawn(|| server.put("/v1/modules/bomb", &bomb()));
            wait_until("the worker compiles", || worker.ticks() > before + 50);
            wait_until("the worker has ended", || {
                // Rust takes the first SIGSEGV for a fault, which would come again.
                worker.has_ended() || {
                    worker.signal(signal);
                    false
                }
            });
            bomb.join().unwrap()
        });
        assert!(answer.starts_with("HTTP/1.1 422 "), "{signal:?}: {answer}");
        assert!(answer.contains("\"code\":\"compile-limit\""), "{signal:?}: {answer}");
        assert!(answer.contains("the compiler failed on this module"), "{signal:?}: {answer}");
        wait_for(&log, &digest);
        let log = fs::read_to_string(&log).unwrap();
        let line = log.lines().find(|line| line.contains(&digest)).unwrap();
        let number = format!("signal: {}", signal.as_raw());
        assert!(line.contains("the compiler failed") && line.contains(&number), "{line}");
        let answer = server.put("/v1/modules/utils", DOUBLE);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_ne!(Worker::only(&server), worker);
    }
}
