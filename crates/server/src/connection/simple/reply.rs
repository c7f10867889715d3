//! How the answers to simple requests begin.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime};

use http::response::Parts;
use http::{HeaderValue, header};

use crate::serve::REQUEST_ID;

/// The length of a date: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
const DATE: usize = 29;

/// Writes the head of the answer to a request of this id, whose content has this length if it is known.
/// After the `last` one the connection closes.
pub(super) fn head(
    head: &Parts,
    id: &HeaderValue,
    length: Option<u64>,
    last: bool,
    output: &mut Vec<u8>,
) {
    output.extend_from_slice(b"HTTP/1.1 ");
    output.extend_from_slice(head.status.as_str().as_bytes());
    output.push(b' ');
    let reason = head.status.canonical_reason().unwrap_or_default();
    output.extend_from_slice(reason.as_bytes());
    output.extend_from_slice(b"\r\n");
    for (name, value) in &head.headers {
        field(name.as_str(), value.as_bytes(), output);
    }
    field(REQUEST_ID.as_str(), id.as_bytes(), output);
    if let Some(length) = length {
        // Writing to memory cannot fail.
        let _ = write!(output, "{}: {length}\r\n", header::CONTENT_LENGTH);
    }
    if last {
        field(header::CONNECTION.as_str(), b"close", output);
    }
    field(header::DATE.as_str(), &date(), output);
    output.extend_from_slice(b"\r\n");
}

fn field(name: &str, value: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(name.as_bytes());
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

/// The date, which is written once a second.
fn date() -> [u8; DATE] {
    thread_local! {
        static LAST: Cell<(u64, [u8; DATE])> = const { Cell::new((u64::MAX, [b' '; DATE])) };
    }
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let (second, mut date) = LAST.get();
    if now != second {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        // It has this length for the next 7,000 years.
        let _ = write!(&mut date[..], "{}", httpdate::HttpDate::from(time));
        LAST.set((now, date));
    }
    date
}
