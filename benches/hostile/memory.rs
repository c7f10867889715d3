//! Everything that is bounded, in use at once, and how much memory the server takes then.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::attack::all_cores;
use crate::client::Client;
use crate::report::{mebibytes, row};
use crate::target::{Target, binary};
use crate::usage::{Usage, Watch};
use crate::{Options, bombs};

const NAME: &str = "resident memory with all that is bounded in use";

/// Small enough that all of it can be filled at once.
const SETTINGS: &[&str] = &[
    "--guest-memory=128MiB",
    "--memory-default=16MiB",
    "--memory-maximum=16MiB",
    "--timeout-default=30s",
    "--stack-bytes=256KiB",
    "--concurrent-calls=32",
    "--bodies-bytes=64MiB",
    "--answers-bytes=64MiB",
    "--wasm-bytes=4MiB",
    "--request-bytes=13MiB",
    "--ready-bytes=64MiB",
    "--ready-programs=1000",
    "--store-cache-bytes=16MiB",
    "--artifacts-bytes=64MiB",
    "--connections=2000",
    "--sessions=50",
    "--sessions-per-client=50",
    "--concurrent-compilations=2",
    "--compile-memory=512MiB",
    "--log=off",
];

/// How long after the load is over the server's memory is looked at again.
const REST: Duration = Duration::from_secs(5);

/// A guest that has 16 MiB, all of it touched, and does not end.
const HOLDER: &str = r#"(module (memory (export "memory") 250)
  (func (export "f")
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 16384000))
    (loop (br 0)))
  (func (export "touch") (memory.fill (i32.const 0) (i32.const 1) (i32.const 16384000))))"#;

/// Fills everything for a while, and judges the most memory that was taken.
pub(crate) fn measure(options: &Options) {
    if !options.wants(NAME) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let place = format!("--data-directory={}", directory.path().display());
    let arguments = [SETTINGS, &[&*place]].concat();
    let bound = sum(&arguments);
    let server = Target::server(&all_cores(), &arguments);
    let program = Usage::of(server.process()).resident;
    register(&server.url);
    let watch = Watch::start(server.process());
    let load = Load::start(&server.url);
    thread::sleep(Duration::from_secs(4 * options.seconds));
    let in_use = in_use(&server.url);
    let failed = load.finish();
    let peak = watch.finish();
    thread::sleep(REST);
    let after = Usage::of(server.process()).resident;
    let measured = format!(
        "{} at most, {:.2} of the sum of settings ({}) and the program at rest ({}); in use: \
         {in_use}; {} after it",
        mebibytes(peak),
        peak as f64 / (bound + program) as f64,
        mebibytes(bound),
        mebibytes(program),
        mebibytes(after),
    );
    row(NAME, &measured, "≤ 1.05 of the sum");
    if failed > 0 {
        eprintln!("warning: {failed} of the memory's loads ended early");
    }
}

/// What the server says that it may take with such settings, in bytes.
fn sum(arguments: &[&str]) -> u64 {
    let output = Command::new(binary()).arg("memory").args(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    let last = text.lines().last().and_then(|line| line.split_whitespace().next()?.parse().ok());
    last.expect("its last line is the sum")
}

/// What the server says is in use: guests, bodies and answers.
fn in_use(url: &str) -> String {
    let mut client = Client::connect(url);
    let (metrics, _) = client.ask("GET", "/metrics", "text/plain", b"").expect("it answers");
    let metrics = String::from_utf8_lossy(metrics);
    let figure = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        mebibytes(line.and_then(|number| number.trim().parse().ok()).unwrap_or_default())
    };
    let [guests, bodies, answers] =
        ["guest_memory", "body", "answer"].map(|what| figure(&format!("wasm_exec_{what}_bytes")));
    format!("guests {guests}, bodies {bodies}, answers {answers}")
}

fn register(url: &str) {
    let mut client = Client::connect(url);
    let body = json!({ "module_name": "holder", "wat": HOLDER }).to_string();
    client.post("/register", &body).expect("it registers");
    // Mostly bytes that nothing looks at, to be given out.
    let large = bombs::with_custom(&bombs::functions(1), "padding", &vec![0; 3 << 20]);
    let put = client.ask("PUT", "/v1/modules/large", "application/wasm", &large);
    assert!(put.is_ok_and(|(answer, _)| answer.starts_with(b"HTTP/1.1 201")), "it registers");
}

/// Those who take all they can get, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<bool>>,
}

type Act = fn(&str, u64, &AtomicBool) -> std::io::Result<()>;

/// What is done at once, and by how many.
const ACTS: [(Act, u64); 8] = [
    (hold_memory, 12),
    (keep_sessions, 1),
    (send_bodies, 8),
    (take_no_answers, 40),
    (make_programs, 2),
    (compile_much, 3),
    (parse_texts, 3),
    (send_heads, 1),
];

impl Load {
    fn start(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let all = ACTS.into_iter().flat_map(|(act, count)| (0..count).map(move |one| (act, one)));
        let threads = all.map(|(act, number)| {
            let (url, stopped) = (url.to_owned(), Arc::clone(&stop));
            thread::spawn(move || {
                crate::attack::stand_back();
                while !stopped.load(Ordering::Relaxed) {
                    if act(&url, number, &stopped).is_err() {
                        // Refused for now, or its connection made room for others.
                        thread::sleep(Duration::from_millis(100));
                    }
                }
                true
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// How many did not live to see the end.
    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().filter_map(|thread| thread.join().err()).count()
    }
}

/// A connection whose reads and writes end, so that whoever waits is stopped in time.
fn connect(url: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

fn wait(stopped: &AtomicBool, seconds: u64) {
    for _ in 0..10 * seconds {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// A call that takes memory and does not end before its time is up.
fn hold_memory(url: &str, _: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(url)?;
    let body = r#"{"limits":{"timeout_ms":10000}}"#;
    write!(stream, "{}{body}", head(url, "POST", "/v1/modules/holder/functions/f", body.len()))?;
    wait(stopped, 10);
    Ok(())
}

/// Sessions with memory, as many as there may be.
fn keep_sessions(url: &str, _: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    let mut client = Client::try_connect(url)?;
    for _ in 0..8 {
        let (answer, _) = client.ask("POST", "/v1/sessions", "application/json", b"{}")?;
        let Some(id) = body_of(answer)["id"].as_str().map(str::to_owned) else { break };
        let path = format!("/v1/sessions/{id}/instances");
        let body = json!({ "name": "a", "module": "holder" }).to_string();
        client.ask("POST", &path, "application/json", body.as_bytes())?;
        let path = format!("{path}/a/functions/touch");
        client.ask("POST", &path, "application/json", b"{}")?;
    }
    wait(stopped, 60);
    Ok(())
}

/// A large body of which all but the end comes.
fn send_bodies(url: &str, _: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(url)?;
    let body = vec![b' '; 12 << 20];
    write!(stream, "{}", head(url, "POST", "/v1/call", body.len() + 1))?;
    stream.write_all(&body)?;
    wait(stopped, 20);
    Ok(())
}

/// Large answers that are asked for and not taken.
fn take_no_answers(url: &str, _: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(url)?;
    write!(stream, "{}", head(url, "GET", "/v1/modules/large/wasm", 0))?;
    let mut start = [0; 16];
    stream.read_exact(&mut start)?;
    if start.starts_with(b"HTTP/1.1 200") {
        wait(stopped, 20);
    }
    thread::sleep(Duration::from_millis(100));
    Ok(())
}

/// Programs that nobody has seen, of some hundred functions each.
fn make_programs(url: &str, number: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    register_variants(url, number, &bombs::functions(300), stopped)
}

/// Programs that take a compiler much memory.
fn compile_much(url: &str, number: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    register_variants(url, 100 + number, &bombs::functions(90_000), stopped)
}

fn register_variants(
    url: &str,
    number: u64,
    wasm: &[u8],
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    let mut client = Client::try_connect(url)?;
    for count in 0.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let wasm = bombs::variant(wasm, number << 32 | count);
        client.ask("POST", "/v1/modules", "application/wasm", &wasm)?;
    }
    Ok(())
}

/// Texts that take much memory while they are parsed, and are no module in the end.
fn parse_texts(url: &str, _: u64, _: &AtomicBool) -> std::io::Result<()> {
    let text = format!("(module {} (func (call 1000000)))", "(func)".repeat(600_000));
    Client::try_connect(url)?.ask("POST", "/v1/modules", "text/wat", text.as_bytes())?;
    Ok(())
}

/// Connections on which the first kilobytes of a head come.
fn send_heads(url: &str, _: u64, stopped: &AtomicBool) -> std::io::Result<()> {
    let head = head(url, "GET", "/", 0);
    // Without the empty line at its end.
    let head = head.strip_suffix("\r\n").unwrap_or_default();
    let part = format!("{head}X: {}", "x".repeat(60_000));
    let mut streams = Vec::new();
    while streams.len() < 1_500 && !stopped.load(Ordering::Relaxed) {
        let mut stream = connect(url)?;
        stream.write_all(part.as_bytes())?;
        streams.push(stream);
    }
    wait(stopped, 8);
    Ok(())
}

fn head(url: &str, method: &str, path: &str, length: usize) -> String {
    let host = url.trim_start_matches("http://");
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// The JSON of an answer, or null.
fn body_of(answer: &[u8]) -> Value {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_default()
}
