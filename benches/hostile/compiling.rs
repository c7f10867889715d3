//! Modules that cost a compiler much, one kind after the other, and light calls meanwhile.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::attack::{Peaks, stand_back};
use crate::light::{Ask, Caller, ask_for};
use crate::report::row;
use crate::target::SERVER_CORE;
use crate::{Options, bombs};

const NAME: &str = "compile bomb";

/// What became of one kind of module.
#[derive(Default)]
struct Sent {
    count: usize,
    /// The answer to the last.
    answer: String,
    slowest: Duration,
}

/// Registers each bomb again and again while light calls run. One row a bomb, then the light calls.
pub(crate) fn measure(options: &Options, peaks: &mut Peaks) {
    let bombs: Vec<_> = bombs::all()
        .into_iter()
        .filter(|(name, _)| options.wants(&format!("{NAME}: {name}")))
        .collect();
    if bombs.is_empty() {
        return;
    }
    let duration = Duration::from_secs(options.seconds);
    peaks.attack("compile bombs", SERVER_CORE, |server| {
        let idle = ask_for(&server.url, Ask::Call, options.seconds);
        for (name, wasm) in bombs {
            let light = Caller::start(&server.url, Ask::Call);
            let (url, bytes) = (server.url.clone(), wasm.len());
            let sending = thread::spawn(move || send_for(duration, &url, &wasm));
            let sent = sending.join().expect("it does not panic");
            let during = light.finish();
            let ratio = during.p99().as_secs_f64() / idle.p99().as_secs_f64();
            let measured = format!(
                "{} times {}, the slowest after {:.3} s; light calls' p99 {ratio:.2} × idle, {}",
                sent.count,
                sent.answer,
                sent.slowest.as_secs_f64(),
                during.told()
            );
            let what = format!("{NAME}: {name} ({bytes} bytes)");
            row(&what, &measured, "an answer; p99 ≤ 3 × idle");
        }
        row("light calls before the compile bombs", &idle.told(), "–");
    });
}

/// Registers a module and, for so long, others like it, each of which nobody has seen.
fn send_for(duration: Duration, url: &str, wasm: &[u8]) -> Sent {
    stand_back();
    let started = Instant::now();
    let mut sent = Sent::default();
    while sent.count == 0 || started.elapsed() < duration {
        let another = bombs::variant(wasm, sent.count as u64);
        let begun = Instant::now();
        sent.answer = send(url, &another).unwrap_or_else(|error| format!("no answer: {error}"));
        sent.slowest = sent.slowest.max(begun.elapsed());
        sent.count += 1;
    }
    sent
}

/// Sends in pieces: a system call that copies megabytes would hold up the light calls, too, which are
/// made on the same core.
fn send(url: &str, wasm: &[u8]) -> io::Result<String> {
    const PIECE: usize = 64 << 10;
    const PAUSE: Duration = Duration::from_micros(50);
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "POST /v1/modules HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/wasm\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        wasm.len()
    )?;
    for piece in wasm.chunks(PIECE) {
        stream.write_all(piece)?;
        thread::sleep(PAUSE);
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(status_and_code(&answer))
}

/// A status, and a problem's code if the answer is one.
fn status_and_code(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).unwrap_or("no status");
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Option<Value> = serde_json::from_str(body).ok();
    match problem.as_ref().and_then(|problem| problem["code"].as_str()) {
        Some(code) => format!("{status} `{code}`"),
        None => status.to_owned(),
    }
}
