//! One worker: its process and the pipes to it.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use crate::compiler::protocol::{Answer, AnswerHeader, JobHeader, Key, Malformed};

/// Jobs of up to this many bytes are written in one piece, so that the worker wakes up once. Also
/// how much room an answer gets at first: more is made for what has arrived, not for what is said.
const ONE_PIECE: usize = 64 << 10;

/// Of what a worker printed, so many bytes from its end are kept for the log.
const PRINTED: usize = 4 << 10;

/// A pipe holds no more than this, unless somebody made it larger.
const PIPE: u64 = 64 << 10;

/// A worker's process. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn new(child: Child) -> Self {
        Self(child)
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    fn kill(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.0.kill();
    }

    /// Kills the process if it has not ended, waits for its end, and says how it was. Blocks.
    pub(super) fn end(mut self) -> io::Result<Ended> {
        self.kill();
        let status = self.0.wait()?;
        let mut printed = Vec::new();
        if let Some(stderr) = &mut self.0.stderr {
            // Its other end is closed, so this ends.
            stderr.take(PIPE).read_to_end(&mut printed)?;
        }
        let end = &printed[printed.len().saturating_sub(PRINTED)..];
        Ok(Ended { status, printed: String::from_utf8_lossy(end).into_owned() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// How a worker ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The last of what it printed on stderr.
    pub(super) printed: String,
}

impl Ended {
    /// Whether the kernel ended it because it took too much processor time.
    pub(super) fn by_cpu_limit(&self) -> bool {
        self.status.signal() == Some(Signal::XCPU.as_raw())
    }

    /// Whether it ended itself because it got no more memory: what Rust prints before it aborts.
    pub(super) fn out_of_memory(&self) -> bool {
        self.status.signal() == Some(Signal::ABORT.as_raw())
            && self.printed.contains("memory allocation of ")
    }

    /// Whether somebody else ended it: by a signal that neither a limit nor a crash sends.
    pub(super) fn by_others(&self) -> bool {
        let outside = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
        self.status.signal().is_some_and(|signal| outside.map(Signal::as_raw).contains(&signal))
    }

    /// What is known about it, for the log.
    pub(super) fn report(&self, broken: &Broken) -> String {
        let Self { status, printed } = self;
        format!("{broken}; {status}; {printed:?}")
    }
}

/// A worker that is ready. Dropping it kills and reaps its process.
#[derive(Debug)]
pub(super) struct Worker {
    process: Process,
    jobs: pipe::Sender,
    answers: pipe::Receiver,
    key: Key,
    /// The most bytes that native code can have.
    maximum: u64,
    /// How many modules it was given.
    modules: u64,
}

/// A worker's answer did not come, or was none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the pipe broke: {0}")]
    Pipe(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

impl Worker {
    /// Takes over a process that has said its hello. `maximum` is the most bytes that native code
    /// can have.
    ///
    /// # Errors
    ///
    /// When the process has no pipes, or the runtime is shutting down.
    pub(super) fn new(mut process: Process, key: Key, maximum: u64) -> io::Result<Self> {
        let child = process.child();
        let missing = || io::Error::other("a worker has no pipes");
        let jobs = child.stdin.take().ok_or_else(missing)?;
        let answers = child.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            jobs: pipe::Sender::from_owned_fd(jobs.into())?,
            answers: pipe::Receiver::from_owned_fd(answers.into())?,
            process,
            key,
            maximum,
            modules: 0,
        })
    }

    /// Has a module compiled. After an error, or if the future is dropped before its end, the worker
    /// cannot be used again.
    pub(super) async fn run(&mut self, job: JobHeader, wasm: &[u8]) -> Result<Answer, Broken> {
        let number = self.modules;
        self.modules += 1;
        let header = job.encode();
        let (first, rest) = wasm.split_at(wasm.len().min(ONE_PIECE - header.len()));
        self.jobs.write_all(&[&header, first].concat()).await?;
        self.jobs.write_all(rest).await?;
        self.answer(number).await
    }

    async fn answer(&mut self, number: u64) -> Result<Answer, Broken> {
        let mut header = [0; AnswerHeader::BYTES];
        self.answers.read_exact(&mut header).await?;
        let header = AnswerHeader::decode(&header, self.maximum)?;
        let mut hasher = header.hasher(&self.key, number);
        let mut content = Vec::with_capacity(header.length.min(ONE_PIECE));
        let mut coming = (&mut self.answers).take(header.length as u64);
        while content.len() < header.length {
            let before = content.len();
            if coming.read_buf(&mut content).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            // Piece by piece, so that a large answer does not hold up the thread.
            hasher.update(&content[before..]);
        }
        Ok(header.answer(&hasher, content)?)
    }

    /// How many modules it was given so far.
    pub(super) fn modules(&self) -> u64 {
        self.modules
    }

    /// Its process's id.
    #[cfg(test)]
    pub(super) fn process_id(&mut self) -> u32 {
        self.process.child().id()
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.child().try_wait(), Ok(None))
    }

    /// Kills the process without waiting for its end.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// As [`Process::end`].
    pub(super) fn end(self) -> io::Result<Ended> {
        self.process.end()
    }
}
