//! Heads that are long, and headers whose values are lists without end.

use serde_json::json;

use crate::victim::{LIGHT, Victim, size};

/// More than a head may have, in bytes.
const MORE_THAN_A_HEAD: usize = 1 << 20;

#[tokio::test]
async fn heads_have_an_end() {
    let victim = Victim::start().await;
    let many: String = (0..10_000).map(|number| format!("x-{number}: y\r\n")).collect();
    for head in [
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n",
            "a".repeat(MORE_THAN_A_HEAD)
        ),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(MORE_THAN_A_HEAD)),
        format!(
            "GET /v1/modules?{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "a=b&".repeat(MORE_THAN_A_HEAD / 4)
        ),
        format!("{} /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "A".repeat(MORE_THAN_A_HEAD)),
        "\r\n".repeat(MORE_THAN_A_HEAD),
        "x: y\r\n".repeat(MORE_THAN_A_HEAD / 6),
    ] {
        for _ in 0..size(2, 100) {
            let mut connection = victim.connect().await;
            connection.try_send(&head).await;
            if let Some(response) = connection.next_response().await {
                assert!(response.status.is_client_error(), "{response:?}");
                assert!(connection.next_response().await.is_none(), "the connection goes on");
            }
        }
        victim.answers_others().await;
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn lists_in_headers_take_no_time() {
    let victim = Victim::start().await;
    let list = |item: &str| item.repeat(20_000 / item.len());
    for (name, value) in [
        ("accept", list("a/b;q=0.1,")),
        ("accept", list("*,")),
        ("accept", list(";q=")),
        ("range", format!("bytes={}", list("0-,"))),
        ("range", "bytes=0-18446744073709551615".to_owned()),
        ("if-none-match", list("\"a\",")),
        ("if-none-match", list("W/\"")),
        ("if-range", list("\"")),
        ("accept-encoding", list("gzip,")),
        ("connection", list("close,")),
        ("x-forwarded-for", list("127.0.0.1,")),
        ("authorization", format!("Bearer {}", list("w"))),
        ("authorization", list("Basic ")),
        ("origin", format!("http://{}", list("a."))),
        ("x-request-id", list("id")),
        ("access-control-request-headers", list("a,")),
        ("cookie", list("a=b;")),
    ] {
        for path in ["/v1/modules/utils/wasm", "/v1/modules", "/healthz"] {
            let response = victim.get(path).header(name, &value).await;
            assert!(response.status.as_u16() < 500, "{name}: {path}: {response:?}");
            // What is echoed is bounded.
            let echoed: usize = response.headers.values().map(|value| value.len()).sum();
            assert!(echoed < 2_000, "{name}: {response:?}");
        }
    }
    for (name, value) in [
        ("content-type", list("application/json;")),
        ("content-type", format!("application/json; {}", list("a=b;"))),
        ("content-encoding", list("gzip,")),
        ("content-encoding", list("identity,")),
        ("expect", list("100-continue,")),
    ] {
        let response = victim.post(LIGHT).header(name, &value).body("{\"params\":[2]}").await;
        assert!(response.status.as_u16() < 500, "{name}: {response:?}");
        assert!(response.body.len() < 10_000, "{name}: {}", response.body.len());
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn queries_have_an_end() {
    let victim = Victim::start().await;
    let links = "link=a=utils&".repeat(3_000);
    victim
        .post(&format!("/v1/modules?{links}"))
        .wat("(module)")
        .await
        .problem(400, "invalid-request");
    for query in [
        "limit=".to_owned() + &"9".repeat(10_000),
        "limit=-1".to_owned(),
        "limit=0x10".to_owned(),
        "unnamed=TRUE".to_owned(),
        "prefix=%ff".to_owned(),
        "limit=1&limit=1".to_owned(),
        "%00=%00".to_owned(),
        "=".repeat(10_000),
    ] {
        victim.get(&format!("/v1/modules?{query}")).await.problem(400, "invalid-request");
    }
    for query in ["&&&&", "prefix=%00", "prefix=%f0%9f%a6%80", "cursor=%2f..%2f"] {
        let response = victim.get(&format!("/v1/modules?{query}")).await;
        assert!(response.status.as_u16() < 500, "{query}: {response:?}");
    }
    victim.get("/v1/modules?limit=1000").await.ok(json!({ "next_cursor": null }));
    victim.is_unharmed().await;
}
