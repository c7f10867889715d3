//! Requests whose end is in doubt: what a proxy and a server could read differently, so that one
//! sees two requests where the other sees one (RFC 9112, section 11.2).
//!
//! Each is refused and its connection closed, or read as exactly one request.

use crate::support::connection::Connection;
use crate::support::guests::DOUBLE;
use crate::support::server::Server;

/// What is hidden in bodies, for a server that loses count.
const SMUGGLED: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What is asked last, to find out whether the connection goes on; its answer is `{"timeout_ms":…`.
const LAST: &str = "GET /v1/limits HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The parameters of a call that succeeds, and the same as chunks.
const BODY: &str = r#"{"params":[2]}"#;
const CHUNKED: &str = "e\r\n{\"params\":[2]}\r\n0\r\n\r\n";

async fn server() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server
}

/// A call with these further header lines, each with its end.
fn call(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/modules/utils/functions/double HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// A request of this first line.
fn request(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// The statuses of all that a connection answers to some bytes, and whether it goes on afterwards.
async fn statuses(server: &Server, bytes: &[u8]) -> (Vec<u16>, bool) {
    let mut connection = server.connect().await;
    connection.try_send(bytes).await;
    statuses_of(&mut connection).await
}

async fn statuses_of(connection: &mut Connection) -> (Vec<u16>, bool) {
    let mut statuses = Vec::new();
    while let Some(response) = connection.next_response().await {
        if response.text().starts_with(r#"{"timeout_ms""#) {
            return (statuses, true);
        }
        if statuses.is_empty() {
            connection.try_send(LAST).await;
        }
        statuses.push(response.status.as_u16());
    }
    (statuses, false)
}

/// The server takes these bytes for no request: at most it says so, and it closes.
async fn refuses(server: &Server, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let shown = shown(bytes);
    let (statuses, goes_on) = statuses(server, bytes).await;
    assert!(!goes_on, "the connection goes on: {shown}");
    assert!(statuses.len() <= 1, "{statuses:?} to {shown}");
    assert!(statuses.iter().all(|status| (400..500).contains(status)), "{statuses:?} to {shown}");
}

/// The server reads exactly one request, and answers it so.
async fn reads_once(server: &Server, bytes: impl AsRef<[u8]>, status: u16) {
    let bytes = bytes.as_ref();
    let (statuses, _) = statuses(server, bytes).await;
    assert_eq!(statuses, [status], "{}", shown(bytes));
}

/// The beginning of what was sent.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

#[tokio::test]
async fn chunks_win_over_a_length_and_the_connection_ends() {
    let server = server().await;
    let chunked = format!("{CHUNKED}{SMUGGLED}");
    for headers in [
        "Content-Length: 14\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 14\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n".to_owned(),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: CHUNKED\r\ncontent-length: {}\r\n", chunked.len()),
    ] {
        let (statuses, goes_on) = statuses(&server, &call(&headers, &chunked)).await;
        assert_eq!(statuses, [200], "{headers}");
        assert!(!goes_on, "{headers}");
    }
}

#[tokio::test]
async fn an_encoding_that_does_not_end_in_chunks_is_refused() {
    let server = server().await;
    for headers in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: x chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: ,\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, \r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\nContent-Length: 14\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 14\r\n",
        "Transfer-Encoding: chunk\r\n ed\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding: chunked\r\r\n",
        "Transfer-Encoding: ch\u{fc}nked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
    ] {
        refuses(&server, call(headers, &format!("{CHUNKED}{SMUGGLED}"))).await;
    }
    let old = "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    refuses(&server, format!("{old}{CHUNKED}{SMUGGLED}")).await;
}

#[tokio::test]
async fn an_encoding_that_ends_in_chunks_is_read_as_chunks() {
    let server = server().await;
    for headers in [
        "Transfer-Encoding:chunked\r\n",
        "Transfer-Encoding:\tchunked \r\n",
        "tRANSFER-eNCODING: cHUNKED\r\n",
        // The LF alone ends a line (RFC 9112, section 2.2).
        "X: y\nTransfer-Encoding: chunked\r\n",
    ] {
        let bytes = call(headers, CHUNKED);
        let (statuses, goes_on) = statuses(&server, &bytes).await;
        assert_eq!((statuses, goes_on), (vec![200], true), "{}", shown(&bytes));
    }
}

#[tokio::test]
async fn a_length_is_digits_and_there_is_one() {
    let server = server().await;
    for length in [
        "+14",
        "-14",
        "-1",
        "0xe",
        "0e",
        "1e1",
        "14.0",
        "1 4",
        "14, 14",
        "14,15",
        "14;",
        "\"14\"",
        "",
        ",",
        "\u{661}\u{664}",
        "99999999999999999999",
        "18446744073709551615",
        "18446744073709551630",
        "14\r\nContent-Length: 15",
        "0\r\nContent-Length: 14",
        "14\r\nContent-Length: x",
        "14\r\n 0",
        "14\0",
        "14\r0",
    ] {
        let headers = format!("Content-Length: {length}\r\n");
        refuses(&server, call(&headers, &format!("{BODY}{SMUGGLED}"))).await;
    }
    for headers in
        ["Content-Length : 14\r\n", "Content-Length\t: 14\r\n", "\tContent-Length: 14\r\n"]
    {
        refuses(&server, call(headers, &format!("{BODY}{SMUGGLED}"))).await;
    }
    for length in ["14", "0014", " 14\t", "14\r\nContent-Length: 14"] {
        let bytes = call(&format!("Content-Length: {length}\r\n"), BODY);
        assert_eq!(statuses(&server, &bytes).await, (vec![200], true), "{length}");
    }
}

#[tokio::test]
async fn lines_of_a_head_have_one_reading() {
    let server = server().await;
    for headers in [
        "X: y\r\n folded\r\n",
        "X: y\r\n\tfolded\r\n",
        "X : y\r\n",
        "X\0: y\r\n",
        "X: y\0z\r\n",
        "X: y\rz\r\n",
        "X: y\x7fz\r\n",
        "X\r\n",
        ": y\r\n",
        "X Y: z\r\n",
        "X(Y): z\r\n",
        "\u{fc}: z\r\n",
        "\r: z\r\n",
    ] {
        let headers = format!("{headers}Content-Length: 14\r\n");
        refuses(&server, call(&headers, &format!("{BODY}{SMUGGLED}"))).await;
    }
}

#[tokio::test]
async fn a_chunk_has_one_size_and_one_end() {
    let server = server().await;
    let bodies = [
        "10000000000000000\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "0xe\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "+e\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "-e\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        " e\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "e x\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "\r\ne\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "e\n{\"params\":[2]}\r\n0\r\n\r\n",
        "e\r{\"params\":[2]}\r\n0\r\n\r\n",
        "e;a\n{\"params\":[2]}\r\n0\r\n\r\n",
        "e;a\rb\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "e\r\n{\"params\":[2]}0\r\n\r\n",
        "e\r\n{\"params\":[2]}\n0\r\n\r\n",
        "e\r\n{\"params\":[2]}xx0\r\n\r\n",
        "d\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        // The last chunk has no end, so what follows are trailers, and no good ones.
        "e\r\n{\"params\":[2]}\r\n0\r\n",
        "e\r\n{\"params\":[2]}\r\n0\n\n",
    ];
    for body in bodies {
        refuses(&server, call("Transfer-Encoding: chunked\r\n", &format!("{body}{SMUGGLED}")))
            .await;
    }
    let extension = format!("e;{}\r\n{BODY}\r\n0\r\n\r\n", "a".repeat(20_000));
    refuses(&server, call("Transfer-Encoding: chunked\r\n", &extension)).await;
    let trailers = format!("e\r\n{BODY}\r\n0\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    refuses(&server, call("Transfer-Encoding: chunked\r\n", &trailers)).await;
}

#[tokio::test]
async fn trailers_end_at_an_empty_line_between_crlfs() {
    let server = server().await;
    // To a reader that takes a LF alone for the end of a line, `z` would begin another request.
    let body = format!("{BODY}\r\n0\r\nX: y\n\r\nz\r\n{SMUGGLED}");
    let bytes = call("Transfer-Encoding: chunked\r\n", &format!("e\r\n{body}"));
    reads_once(&server, bytes, 200).await;
}

#[tokio::test]
async fn what_a_chunk_may_have_besides_its_size_means_nothing() {
    let server = server().await;
    for body in [
        "E\r\n{\"params\":[2]}\r\n0\r\n\r\n",
        "000000000000000000000e\r\n{\"params\":[2]}\r\n000\r\n\r\n",
        "e;name=value;other\r\n{\"params\":[2]}\r\n0;last\r\n\r\n",
        "7\r\n{\"param\r\n7\r\ns\":[2]}\r\n0\r\n\r\n",
        // Trailers do not become headers.
        "e\r\n{\"params\":[2]}\r\n0\r\nContent-Length: 100\r\nTransfer-Encoding: x\r\n\r\n",
        "e\r\n{\"params\":[2]}\r\n0\r\nHost: evil.example\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let bytes = call("Transfer-Encoding: chunked\r\n", body);
        assert_eq!(statuses(&server, &bytes).await, (vec![200], true), "{body}");
    }
}

#[tokio::test]
async fn a_first_line_has_three_parts_and_single_spaces() {
    let server = server().await;
    for line in [
        "GET  /healthz HTTP/1.1",
        "GET /healthz  HTTP/1.1",
        "GET\t/healthz HTTP/1.1",
        "GET /healthz\tHTTP/1.1",
        " GET /healthz HTTP/1.1",
        "GET /healthz HTTP/1.1 ",
        "GET /health z HTTP/1.1",
        "GET /healthz",
        "GET",
        "GET /healthz HTTP/1.2",
        "GET /healthz HTTP/1.10",
        "GET /healthz HTTP/1",
        "GET /healthz HTTP/2.0",
        "GET /healthz HTTP/0.9",
        "GET /healthz http/1.1",
        "GET /healthz XTTP/1.1",
        "GET /healthz\0 HTTP/1.1",
        "GET /healthz\r HTTP/1.1",
        "GET /healthz\x01 HTTP/1.1",
        "G\0T /healthz HTTP/1.1",
        "(GET) /healthz HTTP/1.1",
        "GET, /healthz HTTP/1.1",
        "G\u{c9}T /healthz HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http://[::1 HTTP/1.1",
        "GET ? HTTP/1.1",
        "\0",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}",
    ] {
        let mut bytes = request(line);
        bytes.extend_from_slice(SMUGGLED.as_bytes());
        refuses(&server, bytes).await;
    }
    // Methods are case-sensitive, and any word is one.
    for line in ["get /healthz HTTP/1.1", "GETS /healthz HTTP/1.1", "SEARCH /healthz HTTP/1.1"] {
        reads_once(&server, request(line), 405).await;
    }
    // A client that does not know what ended its last request may send an empty line first.
    reads_once(&server, format!("\r\n{SMUGGLED}"), 200).await;
}

#[tokio::test]
async fn a_target_says_whom_a_request_is_for() {
    let server = server().await;
    let to = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\n{host}\r\n").into_bytes();
    for (target, host, status) in [
        ("/healthz", "Host: localhost\r\n", 200),
        ("/healthz", "Host: evil.example\r\n", 403),
        ("/healthz", "", 400),
        ("/healthz", "Host:\r\n", 403),
        ("/healthz", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("/healthz", "Host: localhost\r\nHost: evil.example\r\n", 400),
        ("/healthz", "Host: localhost, evil.example\r\n", 403),
        ("/healthz", "Host: evil.example@localhost\r\n", 403),
        // An absolute target counts, and `Host` does not (RFC 9112, section 3.2.2).
        ("http://localhost/healthz", "Host: evil.example\r\n", 200),
        ("http://evil.example/healthz", "Host: localhost\r\n", 403),
        ("http://localhost/healthz", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("http://evil.example@localhost/healthz", "Host: localhost\r\n", 403),
        ("http://localhost@evil.example/healthz", "Host: localhost\r\n", 403),
        ("http://localhost:80:80/healthz", "Host: localhost\r\n", 400),
        ("//evil.example/healthz", "Host: localhost\r\n", 404),
        ("/healthz/../healthz", "Host: localhost\r\n", 404),
        ("/healthz%00", "Host: localhost\r\n", 404),
    ] {
        reads_once(&server, to(target, host), status).await;
    }
    let old = "GET /healthz HTTP/1.0\r\n\r\n";
    reads_once(&server, old, 400).await;
    reads_once(&server, "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404).await;
    reads_once(&server, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404).await;
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_no_request() {
    let server = server().await;
    let length = SMUGGLED.len();
    for (line, status) in [
        ("GET /healthz HTTP/1.1", 200),
        ("GET /v1/modules HTTP/1.1", 200),
        ("POST /nothing HTTP/1.1", 404),
        ("POST /healthz HTTP/1.1", 405),
        ("DELETE /v1/modules/nobody HTTP/1.1", 404),
        ("OPTIONS /healthz HTTP/1.1", 405),
    ] {
        for host in ["localhost", "evil.example"] {
            let status = if host == "localhost" { status } else { 403 };
            let whole =
                format!("{line}\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
            reads_once(&server, whole, status).await;
            let chunked = format!(
                "{line}\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
            );
            reads_once(&server, chunked, status).await;
        }
    }
}

#[tokio::test]
async fn a_head_has_bounded_lines_and_bytes() {
    let server = server().await;
    let head = |headers: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    refuses(&server, head(&format!("X: {}\r\n", "y".repeat(1 << 20)))).await;
    refuses(&server, head(&format!("{}: y\r\n", "x".repeat(1 << 20)))).await;
    refuses(&server, head(&"X: y\r\n".repeat(10_000))).await;
    refuses(&server, head(&"X: y\r\n".repeat(200))).await;
    refuses(&server, request(&format!("GET /{} HTTP/1.1", "x".repeat(1 << 17)))).await;
    refuses(&server, request(&format!("{} / HTTP/1.1", "X".repeat(1 << 20)))).await;
    refuses(&server, "x".repeat(1 << 20)).await;
    refuses(&server, "\r\n".repeat(1 << 19)).await;
    reads_once(&server, head(&"X: y\r\n".repeat(50)), 200).await;
}

#[tokio::test]
async fn only_the_whole_preface_begins_http2() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let server = server().await;
    for bytes in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "pri * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("\r\n{PREFACE}"),
    ] {
        refuses(&server, format!("{bytes}{SMUGGLED}")).await;
    }
    // In HTTP/1 it would be a method like any other.
    reads_once(&server, "PRI /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 405).await;
    // What looks like the preface at first is told apart, however it comes.
    let mut connection = server.connect().await;
    for byte in call("Content-Length: 14\r\n", BODY) {
        connection.send([byte]).await;
    }
    assert_eq!(statuses_of(&mut connection).await, (vec![200], true));
}

#[tokio::test]
async fn nobody_is_upgraded() {
    let server = server().await;
    for headers in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Upgrade: TLS/1.0\r\n",
    ] {
        let bytes = call(&format!("{headers}Content-Length: 14\r\n"), BODY);
        assert_eq!(statuses(&server, &bytes).await, (vec![200], true), "{headers}");
    }
    let second = call(
        "Upgrade: h2c\r\nContent-Length: 14\r\n",
        &format!("{BODY}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    );
    let (statuses, goes_on) = statuses(&server, &second).await;
    assert_eq!(statuses[0], 200);
    assert!(!goes_on, "what follows is no request of HTTP/1");
}
