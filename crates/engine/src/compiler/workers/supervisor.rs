//! The thread that starts workers and ends those that stay idle.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::idle::{IDLE, Idle};
use super::process::{Process, Worker};
use crate::compiler::Confinement;
use crate::compiler::in_process::Engines;
use crate::compiler::protocol::{Hello, Key, Setup};
use crate::config::{EngineConfig, Profile, WorkerCommand};
use crate::{StartError, module};

/// How long a worker may take until it is ready.
const START: Duration = Duration::from_secs(10);

/// More threads than this do not make a module's compilation much faster, but each takes address
/// space.
const MAXIMUM_THREADS: usize = 16;

/// For each turn to compile, so many orders to the thread can wait: one for a worker, and one to
/// replace it.
const ORDERS_PER_TURN: usize = 2;

/// The thread, ended and joined on drop.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// `None` only while dropping.
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// A worker is needed.
    Worker(oneshot::Sender<io::Result<Worker>>),
    /// A worker is needed that was not idle before.
    FreshWorker(oneshot::Sender<io::Result<Worker>>),
    /// A worker may soon be needed.
    WarmUp,
}

/// A worker, and what it said confines it.
type Started = io::Result<(Worker, Confinement)>;

impl Supervisor {
    /// Starts the thread and waits for a first worker, which becomes idle. Workers' pipes belong to
    /// `runtime`.
    ///
    /// # Errors
    ///
    /// When the thread or the worker does not start.
    pub(super) fn start(
        starter: Starter,
        runtime: Handle,
        idle: Arc<Idle>,
        turns: usize,
    ) -> Result<(Self, Confinement), StartError> {
        let (orders, ordered) = sync_channel(turns.max(1).saturating_mul(ORDERS_PER_TURN));
        let (ready, first) = sync_channel(1);
        let supervise = move || {
            let _runtime = runtime.enter();
            let first = starter.start().map(|(worker, confinement)| {
                idle.put(worker);
                confinement
            });
            // It has room for this one, and its other end waits.
            let _ = ready.send(first);
            supervise(&starter, &idle, &ordered);
        };
        let thread = thread::Builder::new().name("compile-workers".to_owned()).spawn(supervise);
        let thread = Some(thread.map_err(StartError::Thread)?);
        let this = Self { orders: Some(orders), thread };
        let confinement = first.recv().unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok((this, confinement.map_err(StartError::Worker)?))
    }

    /// A new worker, or one that has become idle meanwhile.
    pub(super) async fn worker(&self) -> io::Result<Worker> {
        let (reply, started) = oneshot::channel();
        self.order(Order::Worker(reply))?;
        started.await.map_err(io::Error::other)?
    }

    /// A new worker.
    pub(super) async fn fresh_worker(&self) -> io::Result<Worker> {
        let (reply, started) = oneshot::channel();
        self.order(Order::FreshWorker(reply))?;
        started.await.map_err(io::Error::other)?
    }

    /// Has a worker started for whoever comes next, if none is idle.
    pub(super) fn warm_up(&self) {
        // Where so much waits already, one more would not make anybody wait less.
        let _ = self.order(Order::WarmUp);
    }

    fn order(&self, order: Order) -> io::Result<()> {
        let orders = self.orders.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        orders.try_send(order).map_err(|_| io::ErrorKind::ResourceBusy.into())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.orders.take();
        if let Some(thread) = self.thread.take() {
            // Its panic, if there was one, is in the output already.
            let _ = thread.join();
        }
    }
}

fn supervise(starter: &Starter, idle: &Idle, orders: &Receiver<Order>) {
    loop {
        match orders.recv_timeout(IDLE) {
            Ok(Order::Worker(reply)) => {
                let worker = idle.take().map_or_else(|| starter.start().map(|(it, _)| it), Ok);
                // Nobody waits any more when the runtime shuts down; the worker is dropped then.
                let _ = reply.send(worker);
            }
            Ok(Order::FreshWorker(reply)) => {
                let _ = reply.send(starter.start().map(|(it, _)| it));
            }
            Ok(Order::WarmUp) if idle.is_empty() => match starter.start() {
                Ok((worker, _)) => idle.put(worker),
                Err(error) => tracing::warn!(%error, "a compile worker does not start"),
            },
            Ok(Order::WarmUp) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        idle.end_surplus();
    }
}

/// Starts workers.
#[derive(Debug)]
pub(super) struct Starter {
    command: WorkerCommand,
    stack_bytes: u64,
    memory_bytes: u64,
    threads: u32,
    /// Of this process's engines, which load what workers compile.
    compatibility: u64,
}

impl Starter {
    /// # Errors
    ///
    /// When Wasmtime refuses the configuration.
    pub(super) fn new(config: &EngineConfig, command: WorkerCommand) -> wasmtime::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let engines = Engines::new(config, Profile::Fast)?;
        Ok(Self {
            command,
            stack_bytes: config.stack_bytes as u64,
            memory_bytes: config.compile_memory_bytes,
            threads: u32::try_from(threads.min(MAXIMUM_THREADS)).unwrap_or(1),
            compatibility: module::compatibility(&engines.serial),
        })
    }

    /// Starts a worker, and waits until it is ready.
    fn start(&self) -> Started {
        let mut process = Process::new(self.spawn()?);
        let key = Key::random().map_err(io::Error::other)?;
        let setup = Setup {
            key: key.clone(),
            parent: std::process::id(),
            threads: self.threads,
            stack_bytes: self.stack_bytes,
            memory_bytes: self.memory_bytes,
        };
        let hello = match greet(&mut process, &setup) {
            Ok(frame) => Hello::decode(&frame, &key).map_err(io::Error::other)?,
            Err(error) => {
                let ended = process.end()?;
                let (status, printed) = (ended.status, ended.printed);
                return Err(io::Error::other(format!("{error}; {status}; {printed:?}")));
            }
        };
        if hello.compatibility != self.compatibility {
            return Err(io::Error::other("a worker compiles for another engine than this one"));
        }
        let confinement = Confinement::from_bits(hello.layers);
        Ok((Worker::new(process, key, self.memory_bytes)?, confinement))
    }

    fn spawn(&self) -> io::Result<std::process::Child> {
        Command::new(&self.command.program)
            .args(&self.command.args)
            .env_clear()
            .current_dir("/")
            // Signals from a terminal are for the server, which ends its workers when it ends.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Sends the setup and waits for the hello.
fn greet(process: &mut Process, setup: &Setup) -> io::Result<[u8; Hello::BYTES]> {
    let child = process.child();
    let (Some(stdin), Some(stdout)) = (&mut child.stdin, &mut child.stdout) else {
        return Err(io::Error::other("a worker has no pipes"));
    };
    stdin.write_all(&setup.encode())?;
    let deadline = Instant::now() + START;
    let mut frame = [0; Hello::BYTES];
    let mut filled = 0;
    while filled < frame.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut stdout_ready = [PollFd::new(stdout, PollFlags::IN)];
        if poll(&mut stdout_ready, Some(&left))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not get ready"));
        }
        filled += match stdout.read(&mut frame[filled..])? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended at once")),
            read => read,
        };
    }
    Ok(frame)
}
