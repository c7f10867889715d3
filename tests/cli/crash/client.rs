//! A connection that is used again and again, with as little in between as can be: whoever kills
//! the server wants to know how far each request came.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take. A server that is killed closes its connections at once.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Client {
    host: String,
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Client {
    pub(super) fn connect(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { host: host.to_owned(), stream: BufReader::new(stream) })
    }

    /// Sends a request and waits for the whole answer.
    pub(super) fn send(&mut self, method: &str, path: &str, wat: &str) -> io::Result<Answer> {
        let kind = if wat.is_empty() { "" } else { "content-type: text/wat\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{kind}content-length: {}\r\n\r\n{wat}",
            self.host,
            wat.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut length = 0;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| ErrorKind::InvalidData)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer {
            status: status.ok_or(ErrorKind::InvalidData)?,
            body: String::from_utf8(body).map_err(|_| ErrorKind::InvalidData)?,
        })
    }

    /// The same, once more on a new connection if there was no answer: the server closes one on which
    /// nothing is said for long, as when this test is stopped.
    pub(super) fn ask(&mut self, method: &str, path: &str) -> io::Result<Answer> {
        self.send(method, path, "").or_else(|_| {
            *self = Self::connect(&self.host)?;
            self.send(method, path, "")
        })
    }

    /// A line of the head; one that does not end is an error.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        Ok(line.to_owned())
    }
}
