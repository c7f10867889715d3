//! TLS: what is spoken in it, what is not, and when the certificate changes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::connection::Connection;
use crate::support::eventually;
use crate::support::guests::DOUBLE;
use crate::support::response::Response;
use crate::support::server::Server;
use crate::support::tls::Certificate;

/// Longer than any test: what is closed is closed for something else.
const NEVER: Duration = Duration::from_secs(3600);

fn call() -> String {
    json!({ "wat": DOUBLE, "function": "double", "params": [21] }).to_string()
}

/// A request of HTTP/1.1 with this head besides what it needs, and this body.
fn http1(line: &str, head: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{head}content-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn http1_is_spoken_by_agreement_and_by_default() {
    let certificate = Certificate::new();
    let server = certificate.server().await;
    for alpn in [&[][..], &["http/1.1"], &["unheard-of", "http/1.1"]] {
        for version in [&TLS12, &TLS13] {
            let stream = certificate.connect_by(&server, alpn, &[version]).await;
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            let mut connection = Connection::over(stream);
            // Twice, since a connection is kept.
            for _ in 0..2 {
                let head = "content-type: application/json\r\n";
                connection.send(http1("POST /v1/call", head, &call())).await;
                connection.response().await.ok(json!({ "results": [42] }));
            }
        }
    }
}

#[tokio::test]
async fn http2_is_spoken_by_agreement() {
    let certificate = Certificate::new();
    let server = certificate.server().await;
    let stream = certificate.connect(&server, &["http/1.1", "h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server prefers it");
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let (mut sender, connection) =
        handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post("https://localhost/v1/call")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(call())))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let response = Response { status: head.status, headers: head.headers, body };
    response.ok(json!({ "results": [42] }));
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let certificate = Certificate::new();
    let server = certificate.server().await;
    let body = format!("{}{}", DOUBLE, " ".repeat(1 << 20));
    let mut connection = Connection::over(certificate.connect(&server, &[]).await);
    connection.send(http1("PUT /v1/modules/utils", "content-type: text/wat\r\n", &body)).await;
    connection.response().await.created();
    connection.send(http1("GET /openapi.json", "", "")).await;
    let document = connection.response().await;
    assert!(document.body.len() > 16 << 10, "it is of several records");
    assert!(serde_json::from_slice::<serde_json::Value>(&document.body).is_ok());
}

#[tokio::test]
async fn pages_of_the_own_origin_come_over_tls() {
    let certificate = Certificate::new();
    let server = certificate.server().await;
    let mut connection = Connection::over(certificate.connect(&server, &[]).await);
    connection.send(http1("GET /", "origin: https://localhost\r\n", "")).await;
    connection.response().await.has_status(200);
    connection.send(http1("GET /", "origin: http://localhost\r\n", "")).await;
    connection.response().await.problem(403, "forbidden");
}

#[tokio::test]
async fn without_tls_nothing_is_answered() {
    let certificate = Certificate::new();
    let server = certificate.server().await;
    for bytes in [http1("GET /", "", "").as_bytes(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0"] {
        let mut connection = server.connect().await;
        connection.send(bytes).await;
        connection.finish().await;
        assert!(connection.next_response().await.is_none());
    }
    assert_serves(&certificate, &server).await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_closed_as_a_head_is() {
    let certificate = Certificate::new();
    let server = certificate
        .server_with(|setup| {
            setup.server.head_timeout = Duration::from_millis(100);
            setup.server.idle_timeout = NEVER;
        })
        .await;
    let mut idle = Connection::over(certificate.connect(&server, &[]).await);
    // Nothing, a record's head, and the beginning of what a client says first.
    for bytes in
        [&b""[..], b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    {
        let mut connection = server.connect().await;
        connection.send(bytes).await;
        assert!(connection.next_response().await.is_none());
    }
    // After its handshake, a client may take its time.
    idle.send(http1("GET /healthz", "", "")).await;
    idle.response().await.has_status(200);
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_handshakes() {
    let certificate = Certificate::new();
    let mut server = certificate
        .server_with(|setup| {
            setup.server.head_timeout = NEVER;
            setup.server.idle_timeout = NEVER;
            setup.server.drain = NEVER;
        })
        .await;
    let mut stalled = server.connect().await;
    stalled.send(b"\x16\x03\x01").await;
    let _idle = certificate.connect(&server, &[]).await;
    server.shut_down();
    assert!(stalled.next_response().await.is_none());
    server.ended().await;
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections() {
    let mut certificate = Certificate::new();
    let server = certificate.server().await;
    let old = certificate.connect(&server, &[]).await;
    assert!(certificate.is_of(&old));
    certificate.renew();
    eventually("the new certificate is used", async || {
        let stream = certificate.connect(&server, &[]).await;
        certificate.is_of(&stream).then_some(())
    })
    .await;
    let mut old = Connection::over(old);
    old.send(http1("GET /healthz", "", "")).await;
    old.response().await.has_status(200);
}

async fn assert_serves(certificate: &Certificate, server: &Server) {
    let mut connection = Connection::over(certificate.connect(server, &[]).await);
    connection.send(http1("GET /healthz", "", "")).await;
    connection.response().await.has_status(200);
}
