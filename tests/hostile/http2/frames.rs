//! HTTP/2 frame by frame, for what no HTTP/2 library would send (RFC 9113, RFC 7541).

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::server::Server;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags; an acknowledgement has the bit that elsewhere ends a stream.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// Reasons of `GOAWAY` and `RST_STREAM`.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What a connection begins with: the preface and settings that set nothing.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What the last `PING` carries, whose answer shows that a connection is still served.
const LAST: &[u8; 8] = b"the last";

/// Far more than the sockets' buffers hold, in bytes: who takes that much keeps it somewhere.
const MORE_THAN_BUFFERS: usize = 64 << 20;

/// A frame, whole.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame =
        u32::try_from(payload.len()).expect("a frame is small").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `SETTINGS` with these entries.
pub(crate) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let bytes = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &entries.iter().flat_map(bytes).collect::<Vec<_>>())
}

/// A header of a block, literally and without an index (RFC 7541, section 6.2.2).
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(
            u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("it is short"),
        );
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The block of a request that goes to this server.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    [
        literal(":method", method),
        literal(":scheme", "http"),
        literal(":path", path),
        literal(":authority", "localhost"),
    ]
    .concat()
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", path))
}

/// What became of a connection.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Whether the server closed it. If not, it answered a `PING` after all that was sent.
    pub(crate) closed: bool,
    /// The reason that the server gave for closing; it is lost where the client was still sending.
    pub(crate) reason: Option<u32>,
    /// Why streams were reset.
    pub(crate) resets: HashMap<u32, u32>,
    /// Streams that were answered.
    pub(crate) answered: Vec<u32>,
}

impl Ending {
    /// The server closed the connection, and if it could say why, for one of these reasons.
    #[track_caller]
    pub(crate) fn is_closed_for(&self, reasons: &[u32]) {
        assert!(self.closed, "{self:?}");
        self.is_bounded_by(reasons);
    }

    /// The server closed the connection for one of these reasons, or still serves it.
    #[track_caller]
    pub(crate) fn is_bounded_by(&self, reasons: &[u32]) {
        let known = self.reason.is_none_or(|reason| reasons.contains(&reason));
        assert!(known, "{:?} is none of {reasons:?}", self.reason);
    }
}

/// Sends frames on a new connection, reading all that comes, until the server closes it or has
/// twice answered what is sent last.
pub(crate) async fn send(server: &Server, frames: impl IntoIterator<Item = Vec<u8>>) -> Ending {
    let stream = TcpStream::connect(server.address()).await.expect("the server listens");
    let (reader, mut writer) = stream.into_split();
    let answered = Notify::new();
    let writing = async {
        let last = frame(PING, 0, 0, LAST);
        for bytes in std::iter::once(BEGINNING.to_vec()).chain(frames).chain([last.clone()]) {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // Resets that came of the frames may be sent after the first answer.
        answered.notified().await;
        // It is the reader that sees how it ends.
        let _ = writer.write_all(&last).await;
        std::future::pending().await
    };
    let whole = async {
        tokio::select! {
            ending = read(reader, &answered) => ending,
            never = writing => never,
        }
    };
    timeout(PATIENCE, whole).await.expect("the server does not go silent")
}

async fn read(mut reader: OwnedReadHalf, answered: &Notify) -> Ending {
    let mut last_ones = 0;
    let mut ending =
        Ending { closed: false, reason: None, resets: HashMap::new(), answered: Vec::new() };
    let mut head = [0; 9];
    while reader.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        if reader.read_exact(&mut payload).await.is_err() {
            break;
        }
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four"));
        match head[3] {
            PING if head[4] & ACK != 0 && payload == LAST && last_ones == 1 => return ending,
            PING if head[4] & ACK != 0 && payload == LAST => {
                last_ones += 1;
                answered.notify_one();
            }
            GOAWAY => ending.reason = Some(number(4)),
            RST_STREAM => {
                ending.resets.insert(stream, number(0));
            }
            HEADERS => ending.answered.push(stream),
            _ => {}
        }
    }
    Ending { closed: true, ..ending }
}

/// Sends a frame again and again and reads nothing of what comes, until the server closes the
/// connection or takes no more of it. Gives whether it did before much more was taken than sockets
/// hold.
pub(crate) async fn backs_up(server: &Server, bytes: &[u8]) -> bool {
    /// After so long without a byte that was taken, nothing is.
    const STALL: std::time::Duration = std::time::Duration::from_secs(2);
    let mut stream = TcpStream::connect(server.address()).await.expect("the server listens");
    stream.write_all(BEGINNING).await.expect("the server reads");
    let many = bytes.repeat(1 + (64 << 10) / bytes.len());
    let mut sent = 0;
    while sent < MORE_THAN_BUFFERS {
        match timeout(STALL, stream.write_all(&many)).await {
            Ok(Ok(())) => sent += many.len(),
            Ok(Err(_)) | Err(_) => return true,
        }
    }
    false
}
