//! Hostile guests on all cores, and light calls beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::Options;
use crate::attack::{Peaks, all_cores};
use crate::client::Client;
use crate::guests::{HOSTILE, path};
use crate::light::{Answers, Ask, Caller};
use crate::report::{median, row};

/// How many hostile callers there are at once; the kinds of guests take turns among them.
const CALLERS: usize = 22;

/// How long each of their calls may take, in milliseconds.
const TIMEOUT_MS: u64 = 2_000;

/// How long they are at work before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

const NAME: &str = "light calls beside 22 hostile callers, all cores";
const HEALTH: &str = "`/healthz` beside 22 hostile callers, all cores";

/// Hostile callers that ask until they are dropped.
#[derive(Debug)]
pub(crate) struct Hostile {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hostile {
    pub(crate) fn start(url: &str, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = HOSTILE.iter().cycle().take(callers).map(|(name, _)| {
            let (url, path, stopped) = (url.to_owned(), path(name), Arc::clone(&stop));
            thread::spawn(move || keep_asking(&url, &path, &stopped))
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic would be in the output already.
            let _ = thread.join();
        }
    }
}

fn keep_asking(url: &str, path: &str, stopped: &AtomicBool) {
    let body = json!({ "limits": { "timeout_ms": TIMEOUT_MS } }).to_string();
    let mut client = Client::try_connect(url).ok();
    while !stopped.load(Ordering::Relaxed) {
        let asked = client.as_mut().map(|client| {
            client.ask("POST", path, "application/json", body.as_bytes()).map(|_| ())
        });
        if !matches!(asked, Some(Ok(()))) {
            client = Client::try_connect(url).ok();
        }
    }
}

/// Light calls and `/healthz` while hostile guests run on all cores.
pub(crate) fn measure(options: &Options, peaks: &mut Peaks) {
    if !options.wants(NAME) && !options.wants(HEALTH) {
        return;
    }
    let (mut calls, mut health) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        peaks.attack("hostile guests", &all_cores(), |server| {
            let hostile = Hostile::start(&server.url, CALLERS);
            thread::sleep(WARM_UP);
            let light = Caller::start(&server.url, Ask::Call);
            let healthz = Caller::start(&server.url, Ask::Health);
            thread::sleep(Duration::from_secs(options.seconds));
            calls.push(light.finish());
            health.push(healthz.finish());
            drop(hostile);
        });
    }
    row(NAME, &rounds(&calls), "p50 ≤ 1 ms, p99 ≤ 10 ms");
    row(HEALTH, &rounds(&health), "p99 ≤ 10 ms");
}

/// The medians of the rounds' percentiles, and the slowest and the failures of all.
fn rounds(rounds: &[Answers]) -> String {
    let middle = |of: fn(&Answers) -> Duration| {
        median(rounds.iter().map(|answers| of(answers).as_secs_f64() * 1e3).collect())
    };
    let slowest = rounds.iter().map(Answers::slowest).max().unwrap_or_default();
    let answered: usize = rounds.iter().map(Answers::len).sum();
    let failed: usize = rounds.iter().map(|answers| answers.failed).sum();
    format!(
        "p50 {:.3} ms, p99 {:.3} ms, slowest {:.3} ms ({answered} answered, {failed} failed)",
        middle(Answers::p50),
        middle(Answers::p99),
        slowest.as_secs_f64() * 1e3,
    )
}
