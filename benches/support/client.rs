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
    /// # Panics
    ///
    /// When nothing listens there.
    pub(crate) fn connect(url: &str) -> Self {
        Self::try_connect(url).expect("it listens")
    }

    pub(crate) fn try_connect(url: &str) -> io::Result<Self> {
        let host = url.trim_start_matches("http://").to_owned();
        let stream =
            TcpStream::connect(&host).map_err(|error| while_doing("connecting", &error))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, answer: Vec::new() })
    }

    /// Sends a request and waits for the whole answer, which has to be a success.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<Duration> {
        let (answer, took) = self.ask("POST", path, "application/json", body.as_bytes())?;
        if answer.starts_with(b"HTTP/1.1 200") {
            return Ok(took);
        }
        Err(io::Error::other(String::from_utf8_lossy(answer).into_owned()))
    }

    /// Sends a request and waits for the whole answer: its head and body as they came, and how long
    /// that took.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> io::Result<(&[u8], Duration)> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let started = Instant::now();
        self.stream.write_all(&request).map_err(|error| while_doing("writing", &error))?;
        self.read_answer().map_err(|error| while_doing("reading", &error))?;
        Ok((&self.answer, started.elapsed()))
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
        let length = length.or(head.starts_with("HTTP/1.1 204").then_some(0));
        length.is_some_and(|length: usize| body.len() >= length)
    }
}

/// An error that says what was being done.
fn while_doing(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
