//! Clients that take their time: heads and bodies in crumbs, and nothing at all.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::connection::Connection;
use crate::victim::{LIGHT, Victim, size};

/// A server that waits for less long than it does by default.
async fn impatient() -> Victim {
    Victim::with(|setup| {
        setup.server.head_timeout = Duration::from_millis(300);
        setup.server.body_timeout = Duration::from_millis(300);
        setup.server.idle_timeout = Duration::from_millis(1000);
    })
    .await
}

fn head(length: usize) -> String {
    format!(
        "POST {LIGHT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

async fn connections(victim: &Victim, count: usize, bytes: &str) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = victim.connect().await;
        connection.send(bytes).await;
        connections.push(connection);
    }
    connections
}

#[tokio::test]
async fn what_never_comes_is_not_waited_for() {
    let victim = impatient().await;
    let count = size(50, 2_000);
    let half = head(100);
    let mut heads = connections(&victim, count, &half[..half.len() / 2]).await;
    let nothing = connections(&victim, count, "").await;
    let mut bodies = connections(&victim, count, &format!("{half}{{\"params\":")).await;
    // As large as possible, and announced only.
    let mut large = connections(&victim, count, &head(90 << 20)).await;
    victim.answers_others().await;
    for connection in bodies.iter_mut().chain(&mut large) {
        connection.response().await.problem(408, "request-timeout");
    }
    for mut connection in nothing {
        assert!(connection.next_response().await.is_none(), "it is closed");
    }
    for connection in &mut heads {
        // With a word about it or without, it is closed.
        while connection.next_response().await.is_some() {}
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn crumbs_are_no_progress() {
    let victim = impatient().await;
    // A byte at a time, for as long as somebody listens.
    for (start, crumb) in [
        (head(1_000_000), " "),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n".to_owned(), "x: y\r\n"),
        (
            format!(
                "POST {LIGHT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                 Content-Type: application/json\r\n\r\n"
            ),
            "1\r\n \r\n",
        ),
    ] {
        let mut connection = victim.connect().await;
        connection.send(&start).await;
        let answered = async {
            loop {
                connection.try_send(crumb).await;
                if timeout(Duration::from_millis(5), connection.next_response()).await.is_ok() {
                    break;
                }
            }
        };
        let answered = timeout(PATIENCE, answered);
        answered.await.expect("crumbs are not taken for ever");
    }
    victim.is_unharmed().await;
}
