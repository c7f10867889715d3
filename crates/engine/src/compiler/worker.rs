//! A compile worker: reads modules from stdin and writes native code to stdout, confined.

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Resource, getrlimit};

use super::confinement::{Before, limit_cpu};
use super::in_process::InProcess;
use super::protocol::{Answer, Hello, JobHeader, Malformed, Setup};
use crate::config::{EngineConfig, Profile};
use crate::module;

/// A module without anything in it but an empty function.
const SMALLEST: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";

/// What a worker may take of the processor until it is ready, in seconds.
const START_CPU: u64 = 10;

/// Answers of up to this many bytes are written in one piece, so that the engine wakes up once.
const ONE_PIECE: usize = 64 << 10;

/// Why a compile worker ended before its engine had no more for it.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Stdin cannot be read or stdout not be written.
    #[error("cannot talk to the engine: a compile worker is started by one, not by hand")]
    Io(#[source] io::Error),
    /// What came on stdin is not from an engine of this version.
    #[error("a compile worker is started by an engine, not by hand: {0}")]
    Protocol(String),
    /// The process cannot confine itself.
    #[error("cannot confine the process")]
    Confinement(#[source] io::Error),
    /// Wasmtime does not start, or cannot compile even the smallest module.
    #[error("cannot start Wasmtime")]
    Wasmtime(#[source] wasmtime::Error),
}

impl From<Malformed> for WorkerError {
    fn from(malformed: Malformed) -> Self {
        Self::Protocol(malformed.to_string())
    }
}

/// Makes this process a compile worker: what [`WorkerCommand`](crate::WorkerCommand) starts. It
/// confines itself for good, then compiles what comes on stdin until that ends.
///
/// The process must have made no threads, and its stdin and stdout must be nobody else's.
///
/// # Errors
///
/// When it was not started by an engine, or cannot confine itself.
pub fn run_compile_worker() -> Result<(), WorkerError> {
    let mut frame = [0; Setup::BYTES];
    Stdin.read_exact(&mut frame).map_err(WorkerError::Io)?;
    let setup = Setup::decode(&frame)?;
    let cpu_maximum = getrlimit(Resource::Cpu).maximum;
    let (compiler, hello) = start(&setup, cpu_maximum)?;
    Stdout.write_all(&hello.encode(&setup.key)).map_err(WorkerError::Io)?;
    let mut number = 0;
    while let Some((job, wasm)) = next_job()? {
        limit_cpu(job.cpu_seconds, cpu_maximum).map_err(WorkerError::Confinement)?;
        let answer = compile(&compiler, job.profile, &wasm);
        drop(wasm);
        send(&answer.header(&setup.key, number), answer.content()).map_err(WorkerError::Io)?;
        number += 1;
    }
    Ok(())
}

/// Makes all that compiling needs and confines the process around it.
fn start(setup: &Setup, cpu_maximum: Option<u64>) -> Result<(InProcess, Hello), WorkerError> {
    let config = EngineConfig {
        stack_bytes: usize::try_from(setup.stack_bytes).unwrap_or(usize::MAX),
        concurrent_compilations: setup.threads as usize,
        ..EngineConfig::default()
    };
    let limit_cpu = || limit_cpu(START_CPU, cpu_maximum).map_err(WorkerError::Confinement);
    // Reading the clock for the first time takes system calls that are not allowed later.
    limit_cpu()?;
    let before = Before::threads(setup.parent).map_err(WorkerError::Confinement)?;
    let compiler = InProcess::new(&config);
    compiler.prepare().map_err(WorkerError::Wasmtime)?;
    let confinement = before.finish(setup.memory_bytes).map_err(WorkerError::Confinement)?;
    // Shows that nothing was taken away that is needed, and makes the first module as quick as the
    // others.
    limit_cpu()?;
    for profile in [Profile::Fast, Profile::Metered] {
        compiler.compile(profile, SMALLEST).map_err(WorkerError::Wasmtime)?;
    }
    let engines = compiler.engines(Profile::Fast).map_err(WorkerError::Wasmtime)?;
    let compatibility = module::compatibility(&engines.serial);
    Ok((compiler, Hello { layers: confinement.to_bits(), compatibility }))
}

/// The next module; `None` when there will be none.
fn next_job() -> Result<Option<(JobHeader, Vec<u8>)>, WorkerError> {
    let mut frame = [0; JobHeader::BYTES];
    let first = Stdin.read(&mut frame).map_err(WorkerError::Io)?;
    if first == 0 {
        return Ok(None);
    }
    Stdin.read_exact(&mut frame[first..]).map_err(WorkerError::Io)?;
    let job = JobHeader::decode(&frame)?;
    let mut wasm = vec![0; usize::try_from(job.length).unwrap_or(usize::MAX)];
    Stdin.read_exact(&mut wasm).map_err(WorkerError::Io)?;
    Ok(Some((job, wasm)))
}

fn compile(compiler: &InProcess, profile: Profile, wasm: &[u8]) -> Answer {
    // Some valid modules panic the compiler. The engine replaces the worker after that.
    match catch_unwind(AssertUnwindSafe(|| compiler.compile(profile, wasm))) {
        Ok(Ok(code)) => Answer::Compiled(code),
        Ok(Err(error)) if error.is::<wasmtime::OutOfMemory>() => Answer::OutOfMemory,
        Ok(Err(error)) => Answer::Refused(Answer::message(format!("{error:#}"))),
        Err(panic) => panicked(&*panic),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Answer {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    match message {
        // What the allocator of the compiler's register allocation says.
        "out of memory" => Answer::OutOfMemory,
        message => Answer::Panicked(Answer::message(message.to_owned())),
    }
}

fn send(header: &[u8], content: &[u8]) -> io::Result<()> {
    let (first, rest) = content.split_at(content.len().min(ONE_PIECE - header.len()));
    Stdout.write_all(&[header, first].concat())?;
    Stdout.write_all(rest)
}

/// Stdin without a buffer: what is read is for one reader, who knows how much there is.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// Stdout without a buffer, since it is written in large pieces.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_become_answers() {
        let compiler = InProcess::new(&EngineConfig::default());
        let compiled = compile(&compiler, Profile::Fast, SMALLEST);
        assert!(matches!(compiled, Answer::Compiled(code) if !code.is_empty()));
        assert!(matches!(compile(&compiler, Profile::Metered, b"\0asm"), Answer::Refused(_)));
    }

    #[test]
    fn panics_become_answers() {
        let payload = |text: &'static str| panicked(&text);
        assert_eq!(payload("out of memory"), Answer::OutOfMemory);
        assert_eq!(payload("a bug"), Answer::Panicked("a bug".to_owned()));
        assert_eq!(panicked(&"a bug".to_owned()), Answer::Panicked("a bug".to_owned()));
        assert_eq!(panicked(&1), Answer::Panicked("no message".to_owned()));
    }
}
