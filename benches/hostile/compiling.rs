//! Modules that cost a compiler much, one after the other, and light calls meanwhile.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::attack::Peaks;
use crate::client::Client;
use crate::light::{Ask, Caller, ask_for};
use crate::report::row;
use crate::target::SERVER_CORE;
use crate::{Options, bombs};

const NAME: &str = "compile bomb";

/// What became of one module.
struct Sent {
    name: &'static str,
    bytes: usize,
    answer: String,
    took: Duration,
}

/// Registers each bomb while light calls run. One row a bomb, then the light calls.
pub(crate) fn measure(options: &Options, peaks: &mut Peaks) {
    let bombs: Vec<_> = bombs::all()
        .into_iter()
        .filter(|(name, _)| options.wants(&format!("{NAME}: {name}")))
        .collect();
    if bombs.is_empty() {
        return;
    }
    peaks.attack("compile bombs", SERVER_CORE, |server| {
        let idle = ask_for(&server.url, Ask::Call, options.seconds);
        for (name, wasm) in bombs {
            let light = Caller::start(&server.url, Ask::Call);
            let sent = send(&server.url, name, &wasm);
            let during = light.finish();
            let ratio = during.p99().as_secs_f64() / idle.p99().as_secs_f64();
            let what = format!("{NAME}: {} ({} bytes)", sent.name, sent.bytes);
            let measured = format!(
                "{} after {:.2} s; light calls' p99 {ratio:.2} × idle, {} failed",
                sent.answer,
                sent.took.as_secs_f64(),
                during.failed
            );
            row(&what, &measured, "an answer; p99 ≤ 3 × idle");
        }
        row("light calls before the compile bombs", &idle.told(), "–");
    });
}

fn send(url: &str, name: &'static str, wasm: &[u8]) -> Sent {
    let started = Instant::now();
    let answered = Client::try_connect(url).and_then(|mut client| {
        let (answer, _) = client.ask("POST", "/v1/modules", "application/wasm", wasm)?;
        Ok(status_and_code(answer))
    });
    let answer = answered.unwrap_or_else(|error| format!("no answer: {error}"));
    Sent { name, bytes: wasm.len(), answer, took: started.elapsed() }
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
