//! Many bytes in one request, and in one answer, with as little work as possible on this side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How much is read at a time, in bytes: what is read stays in the core's cache, and is thrown away.
const READ: usize = 256 << 10;

/// A connection on which the same bytes go to a path, and come from there.
#[derive(Debug)]
pub(crate) struct Transfer {
    stream: TcpStream,
    host: String,
    path: String,
    bytes: Vec<u8>,
    buffer: Vec<u8>,
}

impl Transfer {
    /// # Panics
    ///
    /// When nothing listens there.
    pub(crate) fn connect(url: &str, path: &str, size: usize) -> Self {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).expect("it listens");
        stream.set_nodelay(true).expect("it is a socket");
        let bytes = (0..size).map(|index| (index % 251) as u8).collect();
        Self { stream, host, path: path.to_owned(), bytes, buffer: vec![0; READ] }
    }

    /// Sends all bytes once.
    pub(crate) fn put(&mut self) {
        self.send("PUT", self.bytes.len());
        self.stream.write_all(&self.bytes).expect("the target reads");
        let (length, _) = self.head(204);
        assert_eq!(length, None, "204 has no content");
    }

    /// Gigabytes a second that go to the path.
    pub(crate) fn put_for(&mut self, seconds: u64) -> f64 {
        self.rate(seconds, Self::put)
    }

    /// Gigabytes a second that come from the path.
    pub(crate) fn get_for(&mut self, seconds: u64) -> f64 {
        self.rate(seconds, |this| this.get(|_| {}))
    }

    /// Sees that what comes is what went.
    pub(crate) fn check(&mut self) {
        let mut all = Vec::with_capacity(self.bytes.len());
        self.get(|bytes| all.extend_from_slice(bytes));
        assert!(all == self.bytes, "other bytes came back");
    }

    fn get(&mut self, mut take: impl FnMut(&[u8])) {
        self.send("GET", 0);
        let (length, rest) = self.head(200);
        assert_eq!(length, Some(self.bytes.len()), "as many come as went");
        let mut left = self.bytes.len() - rest.len();
        take(&rest);
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).expect("the target writes");
            assert!(read > 0, "the answer breaks off");
            take(&self.buffer[..read]);
            left -= read;
        }
    }

    fn rate(&mut self, seconds: u64, mut transfer: impl FnMut(&mut Self)) -> f64 {
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(seconds) {
            transfer(self);
            count += 1;
        }
        (count * self.bytes.len()) as f64 / started.elapsed().as_secs_f64() / 1e9
    }

    /// Sends a request's head.
    fn send(&mut self, method: &str, length: usize) {
        let Self { path, host, .. } = self;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).expect("the target reads");
    }

    /// Reads an answer's head: the length of its content, and what came of that already.
    fn head(&mut self, status: u16) -> (Option<usize>, Vec<u8>) {
        let mut answer = Vec::new();
        let end = loop {
            let read = self.stream.read(&mut self.buffer).expect("the target writes");
            assert!(read > 0, "the answer breaks off");
            answer.extend_from_slice(&self.buffer[..read]);
            if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "the target failed: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map(|length| length.trim().parse().expect("it is a number"));
        (length, answer.split_off(end + 4))
    }
}
