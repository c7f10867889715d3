//! Serving: starting, refusing to start, and stopping.

use std::io::{BufRead, BufReader, Write};

use rustix::process::Signal;
use tempfile::tempdir;

use crate::support::{Server, Test};

#[test]
fn says_where_it_listens_and_serves_there() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "--port 0 --listen 127.0.0.1 -d data");
    let address = server.address();
    let (start, end) = server.line.split_once(", compilers confined by limits").unwrap();
    assert_eq!(start, format!("wasm-exec-api 0.1.0 listening on http://{address}, store data"));
    assert!(end.ends_with(&format!("; try: curl -s http://{address}/\n")), "{end}");
    assert!(!address.ends_with(":0"), "{address}");
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(directory.path().join("data/registry.redb").exists());
}

#[test]
fn listens_on_loopback_and_keeps_things_in_the_users_data_directory_by_default() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "-p 0");
    assert!(server.address().starts_with("127.0.0.1:"), "{}", server.line);
    assert!(directory.path().join(".local/share/wasm-exec-api/registry.redb").exists());
}

#[test]
fn keeps_nothing_when_told_to_store_in_memory() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "-p 0 --listen 127.0.0.1 --memory");
    assert!(server.line.contains(", store in memory, "), "{}", server.line);
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200 "));
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn two_servers_cannot_share_a_data_directory() {
    let directory = tempdir().unwrap();
    let data = directory.path().join("data");
    let flags = format!("-p 0 --listen 127.0.0.1 -d {}", data.display());
    let server = Server::start(directory.path(), &flags);
    let holder = format!("is in use by the process {}\n", server.process_id());
    Test::new(&flags)
        .status(1)
        .stdout("")
        .stderr_has("error: the data directory ")
        .stderr_has(&holder)
        .run();
}

#[test]
fn two_servers_cannot_share_a_port() {
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "-m -p 0 --listen 127.0.0.1");
    Test::new(&format!("-m --listen {}", server.address()))
        .status(1)
        .stdout("")
        .stderr_has(&format!(
            "error: cannot listen on {}: Address already in use",
            server.address()
        ))
        .run();
}

#[test]
fn listens_beyond_the_machine_only_if_that_is_meant() {
    for address in ["0.0.0.0", "[::]:0", "192.0.2.1:80"] {
        Test::new(&format!("-m -p 0 --listen 127.0.0.1 --listen {address}"))
            .status(1)
            .stdout("")
            .stderr_has("error: listening on ")
            .stderr_has("--allow-anonymous\n")
            .run();
    }
    let directory = tempdir().unwrap();
    let server = Server::start(directory.path(), "-m -p 0 --listen 0.0.0.0 --allow-anonymous");
    let port = server.address().strip_prefix("0.0.0.0:").unwrap();
    assert!(
        server.line.ends_with(&format!("curl -s http://127.0.0.1:{port}/\n")),
        "{}",
        server.line
    );
}

#[test]
fn signals_end_it_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempdir().unwrap();
        let mut server = Server::start(directory.path(), "-p 0 --listen 127.0.0.1 -d data");
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        // The data directory is free again.
        Server::start(directory.path(), "-p 0 --listen 127.0.0.1 -d data");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = tempdir().unwrap();
    let mut server = Server::start(directory.path(), "-p 0 --listen 127.0.0.1 -m");
    // A request without its body, which the server waits for once it has said so.
    let mut stream = server.connect().unwrap();
    let host = server.address();
    let head = format!(
        "POST /v1/call HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    server.signal(Signal::TERM);
    while server.connect().is_ok() {
        std::thread::yield_now();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn a_start_that_fails_says_why_in_one_line() {
    Test::new("-d file/data")
        .file("file", "")
        .status(1)
        .stdout("")
        .stderr_has("error: cannot create file/data: Not a directory")
        .run();
    Test::new("-m --memory-maximum 64GiB")
        .status(1)
        .stderr_has("error: cannot start Wasmtime: ")
        .run();
}

#[test]
fn a_damaged_registry_is_told_with_what_to_do() {
    for content in ["", "not a database", &"\0".repeat(100_000)] {
        let directory = tempdir().unwrap();
        let file = directory.path().join("registry.redb");
        std::fs::write(&file, content).unwrap();
        Test::new(&format!("-p 0 --listen 127.0.0.1 -d {}", directory.path().display()))
            .status(1)
            .stdout("")
            .stderr_has(&format!("error: cannot read the registry {}; ", file.display()))
            .stderr_has("restore it from a backup, or move it away to begin with an empty one: ")
            .run();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content, "it is left as it was");
    }
}
