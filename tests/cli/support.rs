//! What the tests are written with: a call of the binary and what is expected of it, and a server
//! that lives as long as a test needs it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take before it is taken for hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a file has a text in it.
#[track_caller]
pub(crate) fn wait_for(path: &Path, text: &str) {
    let started = Instant::now();
    while !std::fs::read_to_string(path).unwrap().contains(text) {
        assert!(started.elapsed() < PATIENCE, "{text:?} does not come");
        thread::yield_now();
    }
}

/// One call of the binary, in a directory of its own and without the caller's environment.
#[derive(Debug)]
pub(crate) struct Test {
    directory: TempDir,
    command: Command,
    stdin: Vec<u8>,
    status: i32,
    stdout: Option<String>,
    stdout_parts: Vec<String>,
    stderr_parts: Vec<String>,
}

impl Test {
    /// A call with these arguments, separated by spaces.
    pub(crate) fn new(arguments: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let command = command(directory.path(), arguments);
        Self {
            directory,
            command,
            stdin: Vec::new(),
            status: 0,
            stdout: None,
            stdout_parts: Vec::new(),
            stderr_parts: Vec::new(),
        }
    }

    /// A file in the call's directory.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    pub(crate) fn environment(mut self, variable: &str, value: &str) -> Self {
        self.command.env(variable, value);
        self
    }

    pub(crate) fn stdin(mut self, content: impl AsRef<[u8]>) -> Self {
        content.as_ref().clone_into(&mut self.stdin);
        self
    }

    /// The exit status it has to end with, instead of 0.
    pub(crate) fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// All of what it has to print.
    pub(crate) fn stdout(mut self, text: &str) -> Self {
        self.stdout = Some(text.to_owned());
        self
    }

    /// A part of what it has to print.
    pub(crate) fn stdout_has(mut self, part: &str) -> Self {
        self.stdout_parts.push(part.to_owned());
        self
    }

    /// A part of what it has to print on stderr; without one, that has to stay empty.
    pub(crate) fn stderr_has(mut self, part: &str) -> Self {
        self.stderr_parts.push(part.to_owned());
        self
    }

    /// Makes the call and returns what it printed.
    #[track_caller]
    pub(crate) fn run(mut self) -> String {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A call that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let context = format!("{:?}\nstdout: {stdout}\nstderr: {stderr}", self.command);
        assert_eq!(output.status.code(), Some(self.status), "{context}");
        assert!(self.stdout.is_none_or(|expected| stdout == expected), "{context}");
        for part in &self.stdout_parts {
            assert!(stdout.contains(part), "no {part:?} on stdout of {context}");
        }
        for part in &self.stderr_parts {
            assert!(stderr.contains(part), "no {part:?} on stderr of {context}");
        }
        assert!(stderr.is_empty() || !self.stderr_parts.is_empty(), "{context}");
        stdout
    }
}

fn command(directory: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasm-exec-api"));
    command.args(arguments.split_whitespace());
    command.current_dir(directory).env_clear().env("HOME", directory);
    command
}

/// A server that has said it is ready. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// The line it printed.
    pub(crate) line: String,
}

impl Server {
    /// Starts a server in a directory, and waits for its line.
    #[track_caller]
    pub(crate) fn start(directory: &Path, arguments: &str) -> Self {
        Self::ready(Self::spawn(directory, arguments)).expect("the server starts")
    }

    /// The same, with its log in a file.
    #[track_caller]
    pub(crate) fn start_logging(directory: &Path, arguments: &str, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let child = command(directory, arguments).stdout(Stdio::piped()).stderr(log).spawn();
        Self::ready(child.unwrap()).expect("the server starts")
    }

    /// Starts a server that may end instead: `None` if it does.
    pub(crate) fn try_start(directory: &Path, arguments: &str) -> Option<Self> {
        Self::ready(Self::spawn(directory, arguments))
    }

    /// Starts a server and does not wait for it.
    pub(crate) fn spawn(directory: &Path, arguments: &str) -> Child {
        command(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until a server says that it is ready; `None` if it ends instead.
    pub(crate) fn ready(mut child: Child) -> Option<Self> {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Self { child, line };
        server.line.ends_with('\n').then_some(server)
    }

    /// Where it listens first: `127.0.0.1:4000`.
    pub(crate) fn address(&self) -> &str {
        let url = self.line.split_once("://").unwrap().1;
        url.split([' ', ',']).next().unwrap()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address())
    }

    /// The answer to a request without a body.
    pub(crate) fn get(&self, path: &str) -> String {
        self.answer(&format!("GET {path}"), "", "")
    }

    /// The same with an API key.
    pub(crate) fn get_with_key(&self, path: &str, key: &str) -> String {
        self.answer(&format!("GET {path}"), &format!("authorization: Bearer {key}\r\n"), "")
    }

    /// The answer to a request that registers a module in the text format.
    pub(crate) fn put(&self, path: &str, wat: &str) -> String {
        let head = format!("content-type: text/wat\r\ncontent-length: {}\r\n", wat.len());
        self.answer(&format!("PUT {path}"), &head, wat)
    }

    /// The answer to a request with a body, such as `POST /register`, and lines of its head.
    pub(crate) fn answer(&self, request: &str, head: &str, body: &str) -> String {
        let mut stream = self.connect().unwrap();
        let host = self.address();
        let line = format!("{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        write!(stream, "{line}{head}\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a crash does, and waits until it has.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that ended by itself needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
