//! A node that is a process of its own, and what it answers.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PATIENCE, Server};

/// A node that finds no others by itself, and listens on a port that is free.
const FLAGS: &str = "-p 0 --listen 127.0.0.1 --p2p --no-mdns --p2p-listen /ip4/127.0.0.1/tcp/0";

/// How long what is not there yet is left alone.
const PAUSE: Duration = Duration::from_millis(20);

/// Doubles its parameter, and triples it: the same names, another meaning.
pub(super) const DOUBLE: &str = r#"(module (func (export "f") (param i32) (result i32)
    (i32.mul (local.get 0) (i32.const 2))))"#;
pub(super) const TRIPLE: &str = r#"(module (func (export "f") (param i32) (result i32)
    (i32.mul (local.get 0) (i32.const 3))))"#;

/// A node, and the directory it was started in.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) server: Server,
    directory: TempDir,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Waits until there is something.
#[track_caller]
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: this does not come");
        thread::sleep(PAUSE);
    }
}

impl Answer {
    /// What was answered, which has to be JSON.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer, which has to have this status.
    #[track_caller]
    pub(super) fn has_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The problem, which has to be this one.
    #[track_caller]
    pub(super) fn problem(self, status: u16, code: &str) -> Value {
        let problem = self.has_status(status).json();
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }
}

impl Node {
    /// A node of nobody's network, which keeps all in memory.
    pub(super) fn alone() -> Self {
        Self::start("-m")
    }

    /// A node that joins by these.
    pub(super) fn joining(others: &[&Self]) -> Self {
        Self::start(&format!("-m {}", peers(others)))
    }

    /// A node with these flags beside those of all.
    pub(super) fn start(flags: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    /// The same in a directory that may have files in it.
    pub(super) fn start_in(directory: TempDir, flags: &str) -> Self {
        let server = Server::start(directory.path(), &format!("{FLAGS} {flags}"));
        Self { server, directory }
    }

    /// Ends it as a crash does, and starts a node in its place.
    pub(super) fn restart(&mut self, flags: &str) {
        self.restart_as(&format!("{FLAGS} {flags}"));
    }

    /// The same with these flags alone.
    pub(super) fn restart_as(&mut self, flags: &str) {
        self.server.kill();
        self.server = Server::start(self.directory.path(), flags);
    }

    /// Ends it and starts a node in its place, whose log comes into a file.
    pub(super) fn restart_logging(&mut self, flags: &str, log: &Path) {
        self.server.kill();
        let flags = format!("{FLAGS} {flags}");
        self.server = Server::start_logging(self.directory.path(), &flags, log);
    }

    /// Where others join by it.
    pub(super) fn address(&self) -> &str {
        self.server.line.trim_end().split_once(" --peer ").expect("a node").1
    }

    pub(super) fn id(&self) -> &str {
        self.address().rsplit_once("/p2p/").unwrap().1
    }

    /// What everybody calls this node's `name`.
    pub(super) fn canonical(&self, name: &str) -> String {
        format!("{}:{name}", self.id())
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        get(&self.server, path)
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        post(&self.server, path, body)
    }

    pub(super) fn delete(&self, module: &str) -> Answer {
        answer(&self.server.answer(&format!("DELETE /v1/modules/{module}"), "", ""))
    }

    /// Registers a module under a name.
    pub(super) fn put(&self, name: &str, wat: &str) -> Answer {
        put(&self.server, name, wat)
    }

    /// The ids of those it is connected to.
    pub(super) fn peers(&self) -> Vec<String> {
        peer_ids(&self.server)
    }

    /// Waits until it is connected to these, and both sides know.
    #[track_caller]
    pub(super) fn meets(&self, others: &[&Self]) {
        let knows = |one: &Self, other: &Self| one.peers().iter().any(|id| id == other.id());
        for other in others {
            eventually("a connection", || (knows(self, other) && knows(other, self)).then_some(()));
        }
    }

    /// Waits until `f` of a module gives this for 2.
    #[track_caller]
    pub(super) fn computes(&self, module: &str, result: i32) {
        computes(&self.server, module, result);
    }

    /// Waits until a module is known to nobody that it can ask.
    #[track_caller]
    pub(super) fn forgets(&self, module: &str) {
        eventually("that a module is forgotten", || {
            (self.get(&format!("/v1/modules/{module}")).status == 404).then_some(())
        });
    }
}

/// The flags that join by these.
pub(super) fn peers(others: &[&Node]) -> String {
    others.iter().map(|other| format!("--peer {} ", other.address())).collect()
}

pub(super) fn get(server: &Server, path: &str) -> Answer {
    answer(&server.get(path))
}

pub(super) fn put(server: &Server, name: &str, wat: &str) -> Answer {
    answer(&server.put(&format!("/v1/modules/{name}"), wat))
}

/// Registers a module without a name.
pub(super) fn register(server: &Server, wat: &str) -> Answer {
    let head = format!("content-type: text/wat\r\ncontent-length: {}\r\n", wat.len());
    answer(&server.answer("POST /v1/modules", &head, wat))
}

fn post(server: &Server, path: &str, body: &str) -> Answer {
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    answer(&server.answer(&format!("POST {path}"), &head, body))
}

pub(super) fn peer_ids(server: &Server) -> Vec<String> {
    let network = get(server, "/v1/network").has_status(200).json();
    let peers = network["peers"].as_array().unwrap();
    peers.iter().map(|peer| peer["peer_id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until `f` of a module gives this for 2.
#[track_caller]
pub(super) fn computes(server: &Server, module: &str, result: i32) {
    let path = format!("/v1/modules/{module}/functions/f");
    eventually(&format!("{module}, which gives {result}"), || {
        let answer = post(server, &path, r#"{"params":[2]}"#);
        (answer.status == 200 && answer.json()["results"] == json!([result])).then_some(())
    });
}

fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, body: body.to_owned() }
}
