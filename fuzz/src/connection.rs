//! Requests to the server, one after the other over one connection of each thread.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::service::ADDRESS;

/// A request with a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

/// What the server answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

thread_local! {
    static CONNECTION: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
}

/// Makes a request. It panics when that is not answered, or the connection not kept.
pub(crate) fn send(request: Request<'_>) -> Answer {
    let Request { method, path, content_type, body } = request;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    CONNECTION.with_borrow_mut(|connection| {
        let connection = connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(*ADDRESS).expect("the server listens");
            stream.set_nodelay(true).expect("it is a socket");
            BufReader::new(stream)
        });
        exchange(connection, &request).expect("the server answers and keeps the connection")
    })
}

fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> io::Result<Answer> {
    connection.get_mut().write_all(request)?;
    let line = read_line(connection)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let line = read_line(connection)?;
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    match is_chunked {
        true => while read_chunk(connection, &mut body)? {},
        false => read_exactly(connection, length, &mut body)?,
    }
    Ok(Answer { status, body })
}

/// A line without its end.
fn read_line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Whether there was one that was not the last.
fn read_chunk(connection: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<bool> {
    let length = read_line(connection)?;
    let length = usize::from_str_radix(&length, 16).map_err(io::Error::other)?;
    read_exactly(connection, length, body)?;
    let end = read_line(connection)?;
    if end.is_empty() { Ok(length > 0) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn read_exactly(
    connection: &mut BufReader<TcpStream>,
    length: usize,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    let start = body.len();
    body.resize(start + length, 0);
    connection.read_exact(&mut body[start..])
}
