//! Ten times as many callers as a server can serve at its best.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Options;
use crate::attack::Peaks;
use crate::client::Client;
use crate::guests::path;
use crate::report::{milliseconds, percentile, row};
use crate::target::{SERVER_CORE, Target};
use crate::usage::processor_time;

const NAME: &str = "ten times overload";

/// What a call is to cost, in CPU time.
const COST: Duration = Duration::from_millis(5);

/// Numbers of callers that are tried to find the peak.
const CALLERS: [usize; 6] = [1, 4, 16, 64, 128, 256];

/// How long callers are at work before anything is counted: that thousands connect in one moment is
/// no part of what the server does while they stay.
const WARM_UP: Duration = Duration::from_secs(1);

/// How far below the best still counts as the peak: of the numbers of callers that reach it, the
/// largest is multiplied by ten.
const NEARLY: f64 = 0.95;

/// Everything is as before when so many calls in a row take at most twice what they took before.
const CALM: usize = 10;

/// How long is waited for that.
const PATIENCE: Duration = Duration::from_secs(30);

/// Offers the load, and one row each for the peak, the overload and what comes after it.
pub(crate) fn measure(options: &Options, peaks: &mut Peaks) {
    if !options.wants(NAME) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    peaks.attack("overload", SERVER_CORE, |server| {
        let load = Load::calibrated(server);
        let alone = percentile(&load.times_alone(), 0.5);
        let duration = Duration::from_secs(options.seconds);
        let tried =
            CALLERS.map(|callers| (callers, runtime.block_on(load.offer(callers, duration))));
        let peak = tried.iter().map(|(_, offered)| offered.good_per_second).fold(0.0, f64::max);
        let of_processor = |offered: &Offered| offered.good_per_second / offered.processor_share;
        let of_peak = tried.iter().find(|(_, offered)| offered.good_per_second >= peak);
        let peak_of_processor = of_peak.map_or(0.0, |(_, offered)| of_processor(offered));
        let at_peak = tried.iter().filter(|(_, offered)| offered.good_per_second >= NEARLY * peak);
        let callers = 10 * at_peak.map(|(callers, _)| *callers).max().unwrap_or(1);
        let what = format!("peak of calls that take {}", milliseconds(alone));
        row(&what, &format!("{peak:.0} calls/s by {} callers", callers / 10), "–");

        let offered = runtime.block_on(load.offer(callers, duration));
        let calm = load.time_until_calm(alone);
        let measured = format!(
            "{:.2} of the peak, {:.2} by the processor time that it had; {}",
            offered.good_per_second / peak,
            of_processor(&offered) / peak_of_processor,
            offered.told()
        );
        let goal = "≥ 0.9; only 200, 429 and 503, refusals with Retry-After";
        row(&format!("{NAME}: {callers} callers"), &measured, goal);
        let calm = calm.map_or_else(|| format!("not within {PATIENCE:?}"), milliseconds);
        row("back to normal after the overload", &calm, "≤ 1000 ms");
    });
}

/// Calls of a known cost.
struct Load {
    url: String,
    body: String,
    /// The server's process.
    process: u32,
}

/// What callers got.
#[derive(Debug, Default)]
struct Offered {
    good_per_second: f64,
    /// How much of a core the server had. Whatever else runs on its core takes the rest.
    processor_share: f64,
    statuses: BTreeMap<u16, usize>,
    /// Refusals that do not say when to come back.
    unadvised: usize,
    /// Connections that broke or were refused.
    broken: usize,
}

impl Load {
    /// Finds out how often the guest has to go round to take as long as a call is to cost.
    fn calibrated(server: &Target) -> Self {
        const TIMES: i32 = 1_000_000;
        let load = |times: i32| Self {
            url: server.url.clone(),
            body: serde_json::json!({ "params": [times] }).to_string(),
            process: server.process(),
        };
        // The least there is, since the machine may do other things too.
        let took = load(TIMES).times_alone()[0];
        load((f64::from(TIMES) * COST.as_secs_f64() / took.as_secs_f64()) as i32)
    }

    /// How long calls take while there are no others, sorted.
    fn times_alone(&self) -> Vec<Duration> {
        const CALLS: usize = 51;
        let mut client = Client::connect(&self.url);
        let mut times: Vec<_> = (0..CALLS).map(|_| self.call(&mut client)).collect();
        times.sort_unstable();
        times
    }

    fn call(&self, client: &mut Client) -> Duration {
        // A refusal just after an overload takes less time than a call, but it is no good sign.
        client.post(&path("spin"), &self.body).unwrap_or(PATIENCE)
    }

    /// How long after now calls take as long as they did alone.
    fn time_until_calm(&self, alone: Duration) -> Option<Duration> {
        let started = Instant::now();
        let mut since = None;
        let mut calm = 0;
        let mut client = Client::connect(&self.url);
        while started.elapsed() < PATIENCE {
            let begun = started.elapsed();
            if self.call(&mut client) <= 2 * alone {
                calm += 1;
                since.get_or_insert(begun);
            } else {
                (calm, since) = (0, None);
            }
            if calm == CALM {
                return since;
            }
        }
        None
    }

    /// So many callers for so long: each asks again as soon as it is answered, or when a refusal
    /// says.
    async fn offer(&self, callers: usize, duration: Duration) -> Offered {
        let from = Instant::now() + WARM_UP;
        let until = tokio::time::Instant::from_std(from + duration);
        let process = self.process;
        let before = tokio::spawn(async move {
            tokio::time::sleep_until(from.into()).await;
            processor_time(process)
        });
        let mut asking = JoinSet::new();
        for _ in 0..callers {
            let (url, body) = (self.url.clone(), Bytes::from(self.body.clone()));
            asking.spawn(async move {
                let mut seen = Offered::default();
                // What is under way at the end is given up on, as its caller would.
                let _ = tokio::time::timeout_at(until, ask(&url, body, from, &mut seen)).await;
                seen
            });
        }
        let mut all = Offered::default();
        while let Some(seen) = asking.join_next().await {
            all.add(seen.expect("it does not panic"));
        }
        let had = processor_time(process) - before.await.expect("it does not panic");
        all.processor_share = had.as_secs_f64() / duration.as_secs_f64();
        let good = all.statuses.get(&200).copied().unwrap_or_default();
        all.good_per_second = good as f64 / duration.as_secs_f64();
        all
    }
}

impl Offered {
    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.unadvised += other.unadvised;
        self.broken += other.broken;
    }

    fn told(&self) -> String {
        let statuses: Vec<_> =
            self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        format!(
            "{}; {:.2} of the core; without Retry-After: {}; broken connections: {}",
            statuses.join(", "),
            self.processor_share,
            self.unadvised,
            self.broken
        )
    }
}

/// One caller, for ever. What is answered before a moment is not counted.
async fn ask(url: &str, body: Bytes, from: Instant, seen: &mut Offered) {
    /// Before a new connection in place of one that broke.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        if let Some(mut sender) = connect(url).await {
            while let Ok((status, wait)) = call(&mut sender, url, body.clone()).await {
                let counted = usize::from(Instant::now() >= from);
                *seen.statuses.entry(status.as_u16()).or_default() += counted;
                let refused = matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                );
                seen.unadvised += usize::from(refused && wait.is_none());
                tokio::time::sleep(wait.unwrap_or_default()).await;
            }
        }
        seen.broken += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connect(url: &str) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    // It ends with its sender, and its error is the sender's.
    tokio::spawn(connection);
    Some(sender)
}

/// Calls once: the status, and how long to wait if the answer says so.
async fn call(
    sender: &mut SendRequest<Full<Bytes>>,
    url: &str,
    body: Bytes,
) -> hyper::Result<(StatusCode, Option<Duration>)> {
    let request = Request::post(path("spin"))
        .header(header::HOST, url.trim_start_matches("http://"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("it is a request");
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    body.collect().await?;
    let wait = head.headers.get(header::RETRY_AFTER);
    let seconds = wait.and_then(|value| value.to_str().ok()?.parse().ok());
    Ok((head.status, seconds.map(Duration::from_secs)))
}
