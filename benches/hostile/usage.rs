//! What a server and its child processes hold, as Linux tells it under `/proc`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::attack::stand_back;

/// Between two looks of a [`Watch`].
const INTERVAL: Duration = Duration::from_millis(100);

/// A server and its children at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident memory, in bytes; pages that processes share are counted for each.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Processes besides the server.
    pub(crate) children: u64,
}

impl Usage {
    /// What a process and all below it hold now. Those that end meanwhile count as nothing.
    pub(crate) fn of(process: u32) -> Self {
        let processes = with_children(process);
        let mut usage = Self { children: processes.len() as u64 - 1, ..Self::default() };
        for process in processes {
            let status = status(process);
            usage.resident += field(&status, "VmRSS:") << 10;
            usage.threads += field(&status, "Threads:");
            usage.descriptors += entries(&format!("/proc/{process}/fd")).len() as u64;
        }
        usage
    }
}

/// [`Usage::resident`] alone: to count thousands of descriptors takes milliseconds.
fn resident(process: u32) -> u64 {
    with_children(process).into_iter().map(|process| field(&status(process), "VmRSS:") << 10).sum()
}

/// How much processor time a process has had, its children not included.
pub(crate) fn processor_time(process: u32) -> Duration {
    /// The unit of the figures, which is the same on all architectures.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name before the last bracket can have spaces; the state is the first field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

fn status(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default()
}

/// A field's number in `/proc/…/status`.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The names in a directory, none if it is gone.
fn entries(path: &str) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The processes that any of a process's threads started and that still run.
fn children(process: u32) -> Vec<u32> {
    let threads = format!("/proc/{process}/task");
    let of_thread = |thread: &String| {
        let children = fs::read_to_string(format!("{threads}/{thread}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()
    };
    entries(&threads).iter().flat_map(of_thread).collect()
}

/// A process and all below it.
fn with_children(process: u32) -> Vec<u32> {
    let mut processes = vec![process];
    let mut looked_at = 0;
    while let Some(&process) = processes.get(looked_at) {
        processes.extend(children(process));
        looked_at += 1;
    }
    processes
}

/// Looks again and again, and remembers the most memory there was.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    pub(crate) fn start(process: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            stand_back();
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                peak = peak.max(resident(process));
                thread::sleep(INTERVAL);
            }
            peak
        });
        Self { stop, thread }
    }

    /// The most resident memory that was seen, in bytes.
    pub(crate) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}
