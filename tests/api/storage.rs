//! A disk that fails: full, or with content that is not what was written.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Client;
use serde_json::json;
use tempfile::TempDir;

use crate::support::guests::answering;
use crate::support::request::Request;
use crate::support::response::Response;
use crate::support::server::Server;

/// A module that exports `answer`, with data of `size` bytes.
fn module_of(size: usize, fill: &str) -> String {
    let data = fill.repeat(size / fill.len());
    format!(
        r#"(module (memory 64) (data "{data}")
            (func (export "answer") (result i32) (i32.const 42)))"#
    )
}

/// The server's binary, which may write only files up to a size: the same error as of a full disk,
/// for one process and without being root.
#[derive(Debug)]
struct Cramped {
    process: Child,
    address: SocketAddr,
    client: Client,
}

impl Cramped {
    fn start(directory: &Path) -> Self {
        // In blocks of 512 bytes, or 1024 where the shell is older. Whoever is not killed by the
        // signal gets an error.
        let script = r#"trap "" XFSZ && ulimit -f 8192 && exec "$0" "$@""#;
        let mut process = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_wasm-exec-api")])
            .args(["--listen", "127.0.0.1:0", "--data-directory"])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_once("http://").expect("it says where it listens").1;
        let address = address.split([' ', ',', ';']).next().unwrap().trim_end_matches('/');
        let address = address.parse().unwrap();
        Self { process, address, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> Request {
        Request::new(self.client.request(method, format!("http://{}{path}", self.address)))
    }

    fn put(&self, path: &str) -> Request {
        self.request(reqwest::Method::PUT, path)
    }

    fn post(&self, path: &str) -> Request {
        self.request(reqwest::Method::POST, path)
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Registers on a full disk, and gives the answer.
pub(crate) async fn registering_on_a_full_disk() -> Response {
    let directory = TempDir::new().unwrap();
    let server = Cramped::start(directory.path());
    server.put("/v1/modules/small").wat(answering(7)).await.created();
    let mut refused = None;
    for number in 0..64 {
        // Each is different, so that none is stored already.
        let wat = module_of(1 << 20, &format!("{number:08}"));
        let response = server.put(&format!("/v1/modules/m{number}")).wat(wat).await;
        if response.status != 201 {
            refused = Some((number, response));
            break;
        }
    }
    let (number, refused) = refused.expect("64 MiB do not fit");
    // What was there is there, what was refused is not, and the server goes on.
    let call = server.post("/v1/modules/small/functions/answer").await;
    call.ok(json!({ "results": [7] }));
    let path = format!("/v1/modules/m{number}/functions/answer");
    server.post(&path).await.problem(404, "unknown-module");
    server.request(reqwest::Method::GET, "/readyz").await.has_status(200);
    refused
}

#[tokio::test]
async fn a_full_disk_refuses_registrations_and_loses_nothing() {
    let refused = registering_on_a_full_disk().await;
    let problem = refused.problem(507, "storage-full");
    // What the system said is for the log.
    assert!(!problem.detail().contains("os error"), "{}", problem.detail());
}

/// Reads a module whose bytes were changed on disk, and gives the answer.
pub(crate) async fn reading_damaged_content() -> Response {
    const MARK: &str = "a mark that is found again in the file";
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    server.put("/v1/modules/m").wat(module_of(100_000, MARK)).await.created();
    server.put("/v1/modules/other").wat(answering(1)).await.created();
    server.stop().await;
    let path = directory.path().join("registry.redb");
    let mut content = fs::read(&path).unwrap();
    let marks: Vec<usize> = content
        .windows(MARK.len())
        .enumerate()
        .filter_map(|(at, window)| (window == MARK.as_bytes()).then_some(at))
        .collect();
    assert!(marks.len() > 1000, "{}", marks.len());
    for at in marks {
        content[at] ^= 1;
    }
    fs::write(&path, content).unwrap();

    let server = Server::on(directory.path()).await;
    server.get("/v1/modules/other/wasm").await.has_status(200);
    server.get("/v1/modules/m/wasm").await
}

#[tokio::test]
async fn damaged_content_is_never_given_out_and_its_details_neither() {
    let problem = reading_damaged_content().await.problem(500, "internal");
    assert_eq!(problem.detail(), "internal error");
    let members: Vec<_> = problem.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["code", "detail", "status", "title", "type"]);
}
