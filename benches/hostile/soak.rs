//! Hours of everything at once: what a server holds must not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::attack::{Peaks, all_cores};
use crate::beside::Hostile;
use crate::client::Client;
use crate::guests::variant;
use crate::light::{Ask, Caller};
use crate::report::{mebibytes, row};
use crate::usage::Usage;

/// The only name that asks for it: it takes too long to be done along with the others.
const NAME: &str = "soak";

/// Hostile callers during all of it.
const HOSTILE_CALLERS: usize = 4;

/// Between two looks at what the server holds.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two modules that nobody has seen.
const NEW_MODULES: Duration = Duration::from_millis(20);

/// One of the numbers of a [`Usage`].
type Count = fn(&Usage) -> u64;

/// What the server held, and when.
type Samples = Vec<(Duration, Usage)>;

/// Runs the mixed load, and one row for each thing that must not grow.
pub(crate) fn measure(options: &Options, peaks: &mut Peaks) {
    if !options.names(NAME) {
        return;
    }
    peaks.attack(NAME, &all_cores(), |server| {
        let mixed = Mixed::start(&server.url);
        let hostile = Hostile::start(&server.url, HOSTILE_CALLERS);
        let light =
            [Ask::Call, Ask::CallAnew, Ask::Health].map(|ask| Caller::start(&server.url, ask));
        let samples = sample(server.process(), Duration::from_secs(60 * options.minutes));
        drop((mixed, hostile));
        for (caller, what) in light.into_iter().zip(["calls", "calls anew", "`/healthz`"]) {
            row(&format!("{NAME}: light {what}"), &caller.finish().told(), "none failed");
        }
        growth(&samples);
    });
}

fn sample(process: u32, duration: Duration) -> Samples {
    let started = Instant::now();
    let mut samples = Samples::new();
    while started.elapsed() < duration {
        samples.push((started.elapsed(), Usage::of(process)));
        thread::sleep(INTERVAL);
    }
    samples
}

/// The growth over the second half: by then, what is bounded has reached its bounds or nearly.
fn growth(samples: &Samples) {
    let second_half = &samples[samples.len() / 2..];
    let slope = |of: Count| slope_an_hour(second_half, of);
    let last = samples.last().map(|(_, usage)| *usage).unwrap_or_default();
    let resident = slope(|usage| usage.resident) / f64::from(1 << 20);
    let measured = format!("{resident:+.1} MiB an hour, {} at the end", mebibytes(last.resident));
    row(&format!("{NAME}: resident memory"), &measured, "≈ 0");
    let counts: [(&str, Count, u64); 3] = [
        ("descriptors", |usage| usage.descriptors, last.descriptors),
        ("threads", |usage| usage.threads, last.threads),
        ("child processes", |usage| usage.children, last.children),
    ];
    for (what, of, at_end) in counts {
        let measured = format!("{:+.1} an hour, {at_end} at the end", slope(of));
        row(&format!("{NAME}: {what}"), &measured, "≈ 0");
    }
}

/// The slope of the line that fits best, per hour.
fn slope_an_hour(samples: &[(Duration, Usage)], of: Count) -> f64 {
    let points = || samples.iter().map(|(at, usage)| (at.as_secs_f64() / 3600.0, of(usage) as f64));
    let count = samples.len().max(1) as f64;
    let (sum_x, sum_y) = points().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x, ys + y));
    let (middle_x, middle_y) = (sum_x / count, sum_y / count);
    let (above, below) = points().fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - middle_x) * (y - middle_y), below + (x - middle_x).powi(2))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

/// Modules that come and go: sent along, registered, described, deleted, and broken ones.
struct Mixed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mixed {
    fn start(url: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, stopped) = (url.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut client = None;
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                client = client.take().or_else(|| Client::try_connect(&url).ok());
                if client.as_mut().is_none_or(|client| come_and_go(client, number).is_err()) {
                    client = None;
                }
                thread::sleep(NEW_MODULES);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Mixed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic would be in the output already.
            let _ = thread.join();
        }
    }
}

/// One module's life; what is answered does not matter, only that something is.
fn come_and_go(client: &mut Client, number: u64) -> std::io::Result<()> {
    let sent_along = json!({ "wat": variant(2 * number), "function": "f", "params": [2] });
    let name = format!("/v1/modules/soak{}", number % 100);
    let path = format!("{name}/functions/f");
    let registered = variant(2 * number + 1);
    for (method, path, content_type, body) in [
        ("POST", "/v1/call", "application/json", sent_along.to_string()),
        ("PUT", name.as_str(), "text/wat", registered),
        ("GET", name.as_str(), "text/plain", String::new()),
        ("POST", path.as_str(), "application/json", r#"{"params":[2]}"#.to_owned()),
        ("POST", path.as_str(), "application/json", r#"{"params":["no number"]}"#.to_owned()),
        ("PUT", name.as_str(), "text/wat", "(module".to_owned()),
        ("GET", "/v1/modules?limit=1000", "text/plain", String::new()),
        ("GET", "/metrics", "text/plain", String::new()),
        ("DELETE", name.as_str(), "text/plain", String::new()),
    ] {
        client.ask(method, path, content_type, body.as_bytes())?;
    }
    Ok(())
}
