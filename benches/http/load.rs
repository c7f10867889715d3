//! Load from wrk, and of batches, which wrk does not send.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::target::{Target, pinned};

/// The core that the load runs on, besides the servers'.
const LOAD_CORE: &str = "1";

/// How many lines are sent at a time.
const LINES: usize = 16 << 10;

/// What wrk sends again and again, from one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// Where to, in turns.
    pub(crate) paths: &'a [String],
    /// JSON.
    pub(crate) body: &'a str,
    /// How many connections are kept busy.
    pub(crate) connections: usize,
}

impl Load<'_> {
    /// wrk's script, in Lua.
    fn script(&self) -> String {
        let body = self.body;
        let mut script = format!(
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n\
             wrk.body = [[{body}]]\n"
        );
        // What is sent to one path alone, wrk makes once without being told.
        if self.paths.len() > 1 {
            let paths: Vec<_> = self.paths.iter().map(|path| format!("'{path}'")).collect();
            script += &format!("local paths, requests, turn = {{{}}}, {{}}, 0\n", paths.join(","));
            script += "function init()\n\
                       for i, path in ipairs(paths) do requests[i] = wrk.format(nil, path) end\n\
                       end\n\
                       function request() turn = turn % #requests + 1 return requests[turn] end\n";
        }
        script
    }
}

/// Requests a second that a target answers.
pub(crate) fn requests_per_second(target: &Target, load: &Load<'_>, seconds: u64) -> f64 {
    let mut script = tempfile::Builder::new().suffix(".lua").tempfile().expect("a file");
    script.write_all(load.script().as_bytes()).expect("it is written");
    let path = &load.paths[0];
    let output = pinned(LOAD_CORE)
        .args(["wrk", "-t1", &format!("-c{}", load.connections), &format!("-d{seconds}s"), "-s"])
        .arg(script.path())
        .arg(format!("{}{path}", target.url))
        .output()
        .expect("wrk is installed (Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx"), "the target failed: {text}");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("wrk said: {text}"))
}

/// Lines a second that a target answers of one batch, on one connection, sent without a pause.
pub(crate) fn lines_per_second(target: &Target, path: &str, line: &str, seconds: u64) -> f64 {
    let host = target.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let lines = format!("{line}\n").repeat(LINES);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    let reader = stream.try_clone().expect("it is a socket");
    let started = Instant::now();
    let reading = std::thread::spawn(move || {
        keep_to_load_core();
        count_answers(reader).expect("the target answers")
    });
    keep_to_load_core();
    stream.write_all(head.as_bytes()).expect("the target reads");
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        stream.write_all(chunk.as_bytes()).expect("the target reads");
        sent += LINES;
    }
    stream.write_all(b"0\r\n\r\n").expect("the target reads");
    let answered = reading.join().expect("it does not panic");
    assert_eq!(answered, sent, "a line is not answered");
    answered as f64 / started.elapsed().as_secs_f64()
}

/// Reads an answer to its end, and counts those to lines: each ends in a brace and a newline, and the
/// frames around them have no braces.
fn count_answers(mut stream: TcpStream) -> io::Result<usize> {
    const END: &[u8] = b"\r\n0\r\n\r\n";
    let mut buffer = vec![0; 256 << 10];
    // What was read last is at the start, so that nothing is missed that lies across.
    let mut kept = 0;
    let mut count = 0;
    loop {
        let read = stream.read(&mut buffer[kept..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = &buffer[..kept + read];
        // A pair that lies within what was kept was counted before.
        let new = &bytes[kept.saturating_sub(1)..];
        count += new.windows(2).filter(|pair| pair == b"}\n").count();
        if bytes.ends_with(END) {
            return Ok(count);
        }
        let tail = bytes.len().min(END.len());
        let start = bytes.len() - tail;
        buffer.copy_within(start..start + tail, 0);
        kept = tail;
    }
}

/// Has this thread run where wrk does.
pub(crate) fn keep_to_load_core() {
    let mut core = CpuSet::new();
    core.set(LOAD_CORE.parse().expect("it is a number"));
    sched_setaffinity(None, &core).expect("there is such a core");
}
