//! HTTP/2 without TLS, which clients speak that know beforehand that a server does.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::guests::{DOUBLE, UNRULY};
use crate::support::response::Response;
use crate::support::server::Server;
use crate::support::{PATIENCE, eventually};

type Sender = SendRequest<Full<Bytes>>;

/// A connection to a server that has `utils` and `unruly`.
async fn connect(server: &Server) -> Sender {
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn post(sender: &Sender, url: &str, body: serde_json::Value) -> Response {
    let request = hyper::Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answering = sender.clone().send_request(request);
    let response = timeout(PATIENCE, answering).await.expect("the server does not go silent");
    let (head, body) = response.expect("the server answers").into_parts();
    let body = body.collect().await.expect("the answer is whole").to_bytes();
    Response { status: head.status, headers: head.headers, body }
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let server = Server::start().await;
    let sender = connect(&server).await;
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let sender = sender.clone();
        calls.spawn(async move {
            let url = "http://localhost/v1/modules/utils/functions/double";
            (number, post(&sender, url, json!({ "params": [number] })).await)
        });
    }
    for (number, response) in calls.join_all().await {
        response.ok(json!({ "results": [2 * number] }));
    }
}

#[tokio::test]
async fn an_endless_call_does_not_hold_up_its_connection() {
    let server = Server::with(|setup| {
        setup.engine.concurrent_calls = 1;
        setup.engine.queued_calls = 0;
    })
    .await;
    let sender = connect(&server).await;
    let looping = sender.clone();
    let endless = tokio::spawn(async move {
        loop {
            let url = "http://localhost/v1/modules/unruly/functions/loop";
            let limits = json!({ "timeout_ms": 60_000 });
            let response = post(&looping, url, json!({ "limits": limits })).await;
            // Refused while the other call has the place.
            if response.status != 503 {
                return response;
            }
        }
    });
    eventually("the endless call runs", async || {
        let url = "http://localhost/v1/modules/unruly/functions/fine";
        (post(&sender, url, json!({})).await.status == 503).then_some(())
    })
    .await;
    for _ in 0..20 {
        let url = "http://localhost/v1/modules";
        let response = post(&sender, url, json!({ "wat": DOUBLE })).await;
        assert!(response.status.is_success(), "{response:?}");
    }
    assert!(!endless.is_finished());
}

#[tokio::test]
async fn the_authority_is_the_host() {
    let server = Server::start().await;
    let sender = connect(&server).await;
    for (host, status) in [("localhost", 200), ("127.0.0.1:4000", 200), ("rebound.example", 403)] {
        let url = format!("http://{host}/v1/modules/utils/functions/double");
        post(&sender, &url, json!({ "params": [2] })).await.has_status(status);
    }
}
