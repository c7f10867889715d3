//! Sockets that are held open, and hardly or never used.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Options;
use crate::attack::{Peaks, stand_back};
use crate::light::{Answers, Ask, Caller};
use crate::report::row;
use crate::target::SERVER_CORE;

const NAME: &str = "light calls beside 10,000 idle and 2,000 slow sockets";

/// Sockets that say nothing.
const IDLE: usize = 10_000;

/// Sockets that say a byte now and then, or ask and do not read.
const SLOW: usize = 2_000;

/// Between two bytes of a slow socket.
const DRIP: Duration = Duration::from_secs(2);

/// Before the sockets are opened, so that others are at work, and after it, so that the server has taken
/// them all.
const SETTLE: Duration = Duration::from_secs(1);

/// How a slow socket is slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// The head of a request comes byte by byte.
    Head,
    /// The body does.
    Body,
    /// Whole requests come, and nobody reads their answers.
    Deaf,
}

const KINDS: [Slow; 3] = [Slow::Head, Slow::Body, Slow::Deaf];

/// Light calls before the sockets are opened and while they are.
pub(crate) fn measure(options: &Options, peaks: &mut Peaks) {
    if !options.wants(NAME) {
        return;
    }
    peaks.attack("idle and slow sockets", SERVER_CORE, |server| {
        let (before, anew_before) = both(&server.url, options.seconds);
        // Opened before the sockets are, as an honest caller's connection would be.
        let kept = Caller::start(&server.url, Ask::Call);
        std::thread::sleep(SETTLE);
        let anew = Caller::start(&server.url, Ask::CallAnew);
        let held = Held::open(&server.url);
        let anew_while_opening = anew.finish();
        let while_opening = kept.finish();
        let (kept, anew) = both(&server.url, options.seconds);
        row("light calls before the sockets", &before.told(), "–");
        row("light calls while the sockets are opened", &while_opening.told(), "none failed");
        let name = "the same meanwhile, each call on a new connection";
        row(name, &anew_while_opening.told(), "none failed");
        row(NAME, &compared(&kept, &before), "p99 unchanged, none failed");
        let name = "the same, each call on a new connection";
        row(name, &compared(&anew, &anew_before), "p99 unchanged, none failed");
        let measured = format!("{} of {} still open", held.still_open(), IDLE + SLOW);
        row("idle and slow sockets", &measured, "–");
    });
}

/// What light calls see on a connection that is kept and on new ones, at the same time.
fn both(url: &str, seconds: u64) -> (Answers, Answers) {
    let (kept, anew) = (Caller::start(url, Ask::Call), Caller::start(url, Ask::CallAnew));
    std::thread::sleep(Duration::from_secs(seconds));
    (kept.finish(), anew.finish())
}

fn compared(during: &Answers, before: &Answers) -> String {
    let ratio = during.p99().as_secs_f64() / before.p99().as_secs_f64();
    format!("p99 {ratio:.2} × before; {}", during.told())
}

/// The sockets, until this is dropped.
struct Held {
    runtime: Runtime,
    idle: Vec<TcpStream>,
    slow: JoinSet<io::Result<()>>,
}

impl Held {
    fn open(url: &str) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).on_thread_start(stand_back).enable_all();
        let runtime = runtime.build().expect("a runtime");
        let address = url.trim_start_matches("http://").to_owned();
        // On the thread that stands back.
        let opening = runtime.spawn(async move {
            let mut slow = JoinSet::new();
            for (number, kind) in (0..SLOW as u32).zip(KINDS.into_iter().cycle()) {
                // They take turns: all at once would be another attack, by the load's own core.
                let turn = DRIP * number / SLOW as u32;
                slow.spawn(drip(address.clone(), kind, turn));
            }
            let mut idle = Vec::new();
            for _ in 0..IDLE {
                // One that is refused is counted when it is asked how many are open.
                idle.extend(TcpStream::connect(&address).await);
            }
            tokio::time::sleep(SETTLE).await;
            (idle, slow)
        });
        let (idle, slow) = runtime.block_on(opening).expect("it does not panic");
        Self { runtime, idle, slow }
    }

    /// How many the server has not closed.
    fn still_open(mut self) -> usize {
        let _entered = self.runtime.enter();
        let open = |stream: &&TcpStream| {
            let read = stream.try_read(&mut [0; 1]);
            read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        let idle = self.idle.iter().filter(open).count();
        while self.slow.try_join_next().is_some() {}
        idle + self.slow.len()
    }
}

/// One slow socket, until the server closes it. It begins to drip after `turn`.
async fn drip(address: String, kind: Slow, turn: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect(&address).await?;
    let head = format!("POST /v1/call HTTP/1.1\r\nHost: {address}\r\n");
    match kind {
        Slow::Head => stream.write_all(head.as_bytes()).await?,
        Slow::Body => {
            let rest = "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
            stream.write_all(format!("{head}{rest}").as_bytes()).await?;
        }
        Slow::Deaf => {}
    }
    let request = format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let bytes = match kind {
        Slow::Head | Slow::Body => "x",
        Slow::Deaf => &request,
    };
    tokio::time::sleep(turn).await;
    loop {
        stream.write_all(bytes.as_bytes()).await?;
        tokio::time::sleep(DRIP).await;
    }
}
