//! Which requests are simple.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{Either, Full};

use crate::routes::Hot;
use crate::serve::RequestBody;

/// The most headers that a simple request has.
const HEADERS: usize = 32;

/// The request that was read, if it is a simple one: a call over HTTP/1.1, read to its end and not
/// beyond, that says nothing of the connection but to keep it. Its headers are put into `headers`, which
/// are empty.
pub(super) fn simple(read: &Bytes, mut headers: HeaderMap) -> Option<(Parts, RequestBody)> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS];
    let mut head = httparse::Request::new(&mut []);
    let parsed = head.parse_with_uninit_headers(read, &mut fields).ok()?;
    let httparse::Status::Complete(length) = parsed else { return None };
    let (Some("POST"), Some(target), Some(1)) = (head.method, head.path, head.version) else {
        return None;
    };
    // A target in absolute form names a host of its own.
    if !target.starts_with('/') {
        return None;
    }
    let body = read.slice(length..);
    collect(read, head.headers, body.len(), &mut headers)?;
    let uri = Uri::from_maybe_shared(read.slice_ref(target.as_bytes())).ok()?;
    Hot::of(&Method::POST, uri.path())?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = uri;
    head.headers = headers;
    Some((head, Either::Left(Full::new(body))))
}

/// Collects the headers of a simple request whose body has so many bytes, without those that say how it
/// came: they are dealt with here.
fn collect(
    read: &Bytes,
    fields: &[httparse::Header<'_>],
    body: usize,
    headers: &mut HeaderMap,
) -> Option<()> {
    let mut has_length = false;
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name {
            header::CONNECTION if field.value.eq_ignore_ascii_case(b"keep-alive") => {}
            header::CONTENT_LENGTH if is_length(field.value, body) && !has_length => {
                has_length = true;
            }
            header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::EXPECT
            | header::UPGRADE => return None,
            name => {
                let value = HeaderValue::from_maybe_shared(read.slice_ref(field.value)).ok()?;
                headers.append(name, value);
            }
        }
    }
    has_length.then_some(())
}

/// Whether a `Content-Length` is this, written in digits only.
fn is_length(value: &[u8], length: usize) -> bool {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(value).ok().filter(|_| digits);
    value.and_then(|digits| digits.parse().ok()) == Some(length)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn read(text: &str) -> Option<(Parts, RequestBody)> {
        simple(&Bytes::copy_from_slice(text.as_bytes()), HeaderMap::new())
    }

    #[tokio::test]
    async fn a_call_that_is_there_whole_is_simple() {
        let text = "POST /execute HTTP/1.1\r\nhost: localhost\r\nX-Twice: 1\r\nContent-LENGTH: 2\r\n\
                    Connection: Keep-Alive\r\nx-twice: \u{e9}\r\n\r\n{}";
        let (head, body) = read(text).unwrap();
        assert_eq!((&head.method, head.uri.path()), (&Method::POST, "/execute"));
        let headers: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(_, &[u8]); 3] =
            [("host", b"localhost"), ("x-twice", b"1"), ("x-twice", "\u{e9}".as_bytes())];
        assert_eq!(headers, expected);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "{}");
    }

    #[test]
    fn what_is_not_plainly_simple_is_left_to_hyper() {
        let call = |line: &str, headers: &str, body: &str| {
            read(&format!("{line}\r\nHost: localhost\r\n{headers}\r\n{body}")).is_some()
        };
        let line = "POST /execute HTTP/1.1";
        let length = "Content-Length: 2\r\n";
        assert!(call(line, length, "{}"));
        for line in [
            "GET /execute HTTP/1.1",
            "post /execute HTTP/1.1",
            "POST /execute HTTP/1.0",
            "POST  /execute HTTP/1.1",
            "POST http://localhost/execute HTTP/1.1",
            "POST /register HTTP/1.1",
            "POST /v1/modules/a/functions/f/batch HTTP/1.1",
            "POST * HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            assert!(!call(line, length, "{}"), "{line}");
        }
        let many = "x: y\r\n".repeat(HEADERS);
        for headers in [
            "",
            "Content-Length: 1\r\n",
            "Content-Length: 3\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length: \r\n",
            "Content-Length: 36893488147419103234\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length : 2\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "Content-Length: 2\r\nConnection: close\r\n",
            "Content-Length: 2\r\nConnection: keep-alive, x-y\r\n",
            "Content-Length: 2\r\nUpgrade: h2c\r\n",
            "Content-Length: 2\r\nx y: z\r\n",
            &format!("{length}{many}"),
        ] {
            assert!(!call(line, headers, "{}"), "{headers}");
        }
        for (headers, body) in [(length, "{"), (length, "{}P"), ("Content-Length: 0\r\n", "{}")] {
            assert!(!call(line, headers, body), "{headers}{body}");
        }
        let whole = format!("{line}\r\nHost: localhost\r\n{length}\r\n{{}}");
        assert!((0..whole.len()).all(|end| read(&whole[..end]).is_none()));
    }
}
