//! A client of one connection that adds as little as possible to what it measures.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// An open connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    host: String,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(url: &str) -> Self {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, host, answer: Vec::new() }
    }

    /// Sends a request and waits for the whole answer, which has to be a success.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<Duration> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let started = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        self.read_answer()?;
        let took = started.elapsed();
        if self.answer.starts_with(b"HTTP/1.1 200") {
            return Ok(took);
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.answer).into_owned()))
    }

    fn read_answer(&mut self) -> io::Result<()> {
        self.answer.clear();
        let mut buffer = [0; 16 << 10];
        loop {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&buffer[..read]);
            if self.is_complete() {
                return Ok(());
            }
        }
    }

    fn is_complete(&self) -> bool {
        let text = String::from_utf8_lossy(&self.answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        length.is_some_and(|length: usize| body.len() >= length)
    }
}

/// The value below which a share of the sorted durations lies.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
