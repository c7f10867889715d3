//! Requests' bodies, on every route that reads one: each is answered, and what is refused is a
//! problem of a known code.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use wasm_exec_server::Code;

use crate::service::ADDRESS;

/// Methods, paths and content types of requests that have a body.
const ROUTES: [(&str, &str, &str); 10] = [
    ("POST", "/", "application/json"),
    ("POST", "/register", "application/json"),
    ("POST", "/execute", "application/json"),
    ("POST", "/v1/call", "application/json"),
    ("POST", "/v1/modules/utils/functions/double", "application/json"),
    ("POST", "/v1/modules", "application/json"),
    ("PUT", "/v1/modules/fuzzed", "application/json"),
    ("POST", "/v1/modules", "application/wasm"),
    ("PUT", "/v1/modules/fuzzed", "text/wat"),
    ("POST", "/v1/modules?link=utils=utils", "application/wasm"),
];

thread_local! {
    static CONNECTION: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
}

/// The first byte chooses the route, the others are the body.
pub(crate) fn check(data: &[u8]) {
    let Some((route, body)) = data.split_first() else { return };
    let (method, path, content_type) = ROUTES[usize::from(*route) % ROUTES.len()];
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let (status, answer) = CONNECTION.with_borrow_mut(|connection| {
        if connection.is_none() {
            let stream = TcpStream::connect(*ADDRESS).expect("the server listens");
            stream.set_nodelay(true).expect("it is a socket");
            *connection = Some(BufReader::new(stream));
        }
        let answer = exchange(connection.as_mut().expect("it was just made"), &request);
        answer.expect("the server answers and keeps the connection")
    });
    check_answer(status, &answer);
}

fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    connection.get_mut().write_all(request)?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        if name == "content-length" {
            length = value.parse().map_err(io::Error::other)?;
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer)?;
    Ok((status, answer))
}

/// A success, or a problem whose code has this status. Nothing is the server's own fault.
fn check_answer(status: u16, answer: &[u8]) {
    if (200..300).contains(&status) {
        return;
    }
    let problem: Value = serde_json::from_slice(answer).expect("a problem is JSON");
    let code = problem["code"].as_str().and_then(Code::parse).expect("its code is known");
    assert_eq!(code.status().as_u16(), status, "{problem}");
    assert_ne!(code, Code::Internal, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
}
