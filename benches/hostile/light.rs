//! Honest callers with short calls, and how long they wait.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::guests::path;
use crate::report::{milliseconds, percentile};

/// Between two calls of one caller: so that callers are light, and are not held back for long by
/// one slow answer while others would have been asked for.
const PAUSE: Duration = Duration::from_millis(1);

/// Stands for an answer that did not come.
const NEVER: Duration = Duration::from_secs(3600);

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    /// A call that takes microseconds, on one connection.
    Call,
    /// The same, each on a new connection.
    CallAnew,
    /// `/healthz`, on one connection.
    Health,
}

/// How long each answer took, and how many did not come or were refusals.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    sorted: Vec<Duration>,
    pub(crate) failed: usize,
    /// Why, and how often.
    reasons: BTreeMap<String, usize>,
}

impl Answers {
    pub(crate) fn p50(&self) -> Duration {
        self.percentile(0.5)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.percentile(0.99)
    }

    pub(crate) fn slowest(&self) -> Duration {
        self.percentile(1.0)
    }

    /// An hour where nothing was answered.
    fn percentile(&self, share: f64) -> Duration {
        if self.sorted.is_empty() { NEVER } else { percentile(&self.sorted, share) }
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// What happened, in one phrase.
    pub(crate) fn told(&self) -> String {
        if self.sorted.is_empty() {
            return format!("none answered, {}", self.failures());
        }
        let (p50, p99) = (milliseconds(self.p50()), milliseconds(self.p99()));
        let slowest = milliseconds(self.slowest());
        let (count, failed) = (self.len(), self.failures());
        format!("p50 {p50}, p99 {p99}, slowest {slowest} ({count} answered, {failed})")
    }

    fn fail(&mut self, error: &io::Error) {
        /// How much of a reason is told: of an answer the status and a little more.
        const CHARACTERS: usize = 60;
        self.failed += 1;
        let text = error.to_string();
        let reason = text.chars().take(CHARACTERS).filter(|c| !c.is_control()).collect();
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// How many failed, and why.
    fn failures(&self) -> String {
        let reasons: Vec<_> =
            self.reasons.iter().map(|(reason, count)| format!("{count} × {reason}")).collect();
        match reasons.is_empty() {
            true => format!("{} failed", self.failed),
            false => format!("{} failed: {}", self.failed, reasons.join("; ")),
        }
    }
}

/// A caller that asks until it is told to stop.
#[derive(Debug)]
pub(crate) struct Caller {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Answers>,
}

impl Caller {
    pub(crate) fn start(url: &str, ask: Ask) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, stopped) = (url.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || ask_until(&url, ask, &stopped));
        Self { stop, thread }
    }

    pub(crate) fn finish(self) -> Answers {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// What a caller sees in so many seconds.
pub(crate) fn ask_for(url: &str, ask: Ask, seconds: u64) -> Answers {
    let caller = Caller::start(url, ask);
    thread::sleep(Duration::from_secs(seconds));
    caller.finish()
}

fn ask_until(url: &str, ask: Ask, stopped: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    let mut client = None;
    while !stopped.load(Ordering::Relaxed) {
        let kept = client.take().filter(|_| !matches!(ask, Ask::CallAnew));
        let begun = Instant::now();
        match ask_with(kept, url, ask) {
            Ok(asked) => {
                // From before connecting, which is part of what is waited for.
                answers.sorted.push(begun.elapsed());
                client = Some(asked);
            }
            Err(error) => answers.fail(&error),
        }
        thread::sleep(PAUSE);
    }
    answers.sorted.sort_unstable();
    answers
}

/// Asks once, on a connection that was kept or a new one, and gives the connection back.
fn ask_with(kept: Option<Client>, url: &str, ask: Ask) -> io::Result<Client> {
    let mut client = kept.map_or_else(|| Client::try_connect(url), Ok)?;
    ask_once(&mut client, ask)?;
    Ok(client)
}

/// An error unless the answer is a success.
fn ask_once(client: &mut Client, ask: Ask) -> io::Result<()> {
    match ask {
        Ask::Call | Ask::CallAnew => {
            client.post(&path("double"), r#"{"params":[2]}"#)?;
        }
        Ask::Health => {
            let (answer, _) = client.ask("GET", "/healthz", "text/plain", b"")?;
            if !answer.starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other(String::from_utf8_lossy(answer).into_owned()));
            }
        }
    }
    Ok(())
}
