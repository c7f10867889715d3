//! Shutting down: what has begun ends, and nothing new is taken.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::connection::Connection;
use crate::support::eventually;
use crate::support::guests::{DOUBLE, UNRULY};
use crate::support::response::Response;
use crate::support::server::Server;

/// A foreign origin whose pages may use the server.
const ORIGIN: &str = "https://console.example.org";

/// Begins a call and waits until the server waits for its body.
async fn begin_call(server: &Server, body: &str) -> Connection {
    let mut connection = server.connect().await;
    connection
        .send(format!(
            "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        ))
        .await;
    connection.response().await.has_status(100);
    connection
}

/// Waits until nothing listens any more.
async fn until_closed(server: &Server) {
    eventually("nothing listens", async || {
        TcpStream::connect(server.address()).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered() {
    let mut server = Server::start().await;
    let body = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
    let mut connection = begin_call(&server, &body).await;
    server.shut_down();
    until_closed(&server).await;
    connection.send(&body).await;
    let response = connection.response().await.has_header("connection", "close");
    response.ok(json!({ "results": [4] }));
    assert!(connection.next_response().await.is_none());
    server.ended().await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let mut server = Server::start().await;
    let mut idle = server.connect().await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    idle.response().await.has_status(200);
    let mut silent = server.connect().await;
    server.shut_down();
    assert!(idle.next_response().await.is_none());
    assert!(silent.next_response().await.is_none());
    server.ended().await;
}

#[tokio::test]
async fn a_guest_that_does_not_end_is_waited_for_only_so_long() {
    let mut server = Server::with(|setup| setup.server.drain = Duration::from_millis(10)).await;
    let limits = json!({ "timeout_ms": 60_000 });
    let body = json!({ "wat": UNRULY, "function": "loop", "limits": limits }).to_string();
    let mut connection = begin_call(&server, &body).await;
    server.shut_down();
    until_closed(&server).await;
    connection.send(&body).await;
    server.ended().await;
    assert!(connection.next_response().await.is_none(), "it was cut off");
}

/// Sends a request of which the server has read a part when it begins to shut down, and gives the
/// answer.
pub(crate) async fn asking_a_server_that_shuts_down() -> Response {
    // Nothing tells from outside whether a part was read, and a connection on which nothing was is
    // closed: so this is tried until it was.
    eventually("a part of the request is read before the end", async || {
        let mut server = Server::with(|setup| setup.server.origins = vec![ORIGIN.into()]).await;
        let mut connection = server.connect().await;
        let head = format!("POST /execute HTTP/1.1\r\nHost: localhost\r\nOrigin: {ORIGIN}\r\n");
        connection.send(head).await;
        server.get("/healthz").await.has_status(200);
        server.shut_down();
        until_closed(&server).await;
        connection.try_send("Content-Length: 0\r\n\r\n").await;
        let response = connection.next_response().await?;
        assert!(connection.next_response().await.is_none(), "it is closed then");
        Some(response)
    })
    .await
}

#[tokio::test]
async fn a_request_that_comes_too_late_is_refused() {
    let refused = asking_a_server_that_shuts_down().await;
    let refused = refused.has_header("access-control-allow-origin", ORIGIN);
    refused.problem(503, "shutting-down").may_come_again();
}
