//! Many calls at once: endless ones do not hold up others, and too many are refused.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use wasm_exec_server::ClientLimits;

use crate::support::eventually;
use crate::support::guests::{DOUBLE, DOUBLE_HEX, UNRULY, adding};
use crate::support::response::Response;
use crate::support::server::{Server, Setup};

/// Longer than any test waits, in milliseconds: what ends earlier was ended.
const AN_HOUR: u64 = 3_600_000;

const LIGHT: &str = "/v1/modules/utils/functions/double";

/// A server that lets so many calls run, and none wait.
async fn with_places(places: usize) -> Server {
    with(|setup| {
        setup.engine.concurrent_calls = places;
        setup.engine.queued_calls = 0;
    })
    .await
}

async fn with(change: impl FnOnce(&mut Setup)) -> Server {
    let server = Server::with(|setup| {
        setup.limits.timeout_ms.maximum = AN_HOUR;
        change(setup);
    })
    .await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    server
}

/// Begins a call that does not end by itself for as long as the test takes.
fn begin_loop(server: &Server) -> JoinHandle<Response> {
    let body = json!({ "limits": { "timeout_ms": AN_HOUR } });
    let call = server.post("/v1/modules/unruly/functions/loop").json(body);
    tokio::spawn(async move {
        loop {
            // Refused while a light call has the place.
            let response = call.again().await;
            if response.status != 503 {
                return response;
            }
        }
    })
}

async fn light(server: &Server) -> Response {
    server.post(LIGHT).json(json!({ "params": [2] })).await
}

/// Waits until every place is taken.
async fn until_full(server: &Server) {
    eventually("every place is taken", async || (light(server).await.status == 503).then_some(()))
        .await;
}

async fn until_free(server: &Server) {
    eventually("a place is free", async || (light(server).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn endless_calls_on_every_core_do_not_hold_up_the_others() {
    let loops = 4 * std::thread::available_parallelism().map_or(2, usize::from);
    let server = with_places(loops).await;
    let mut running: Vec<_> = (0..loops).map(|_| begin_loop(&server)).collect();
    until_full(&server).await;
    // All of them spin now.
    for _ in 0..20 {
        server.get("/healthz").await.has_status(200);
        server.get("/v1/modules/utils").await.ok(json!({ "name": "utils" }));
    }
    server.put("/v1/modules/again").wat(DOUBLE).await.created();
    // One goes away, and in its place light calls run beside the others.
    running.pop().expect("there are some").abort();
    until_free(&server).await;
    for _ in 0..100 {
        light(&server).await.ok(json!({ "results": [4] }));
    }
    let body = json!({ "wasm_hex": DOUBLE_HEX, "function_name": "double", "params": [2] });
    server.post("/").json(body).await.answers(json!([{ "I32": 4 }]));
    assert!(running.iter().all(|call| !call.is_finished()), "the others still spin");
}

#[tokio::test]
async fn endless_calls_end_by_their_own_timeouts_however_many_there_are() {
    let server = with_places(16).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let call = server.post("/v1/modules/unruly/functions/loop");
        calls.spawn(call.json(json!({ "limits": { "timeout_ms": 100 } })).into_future());
    }
    for response in calls.join_all().await {
        response.problem(422, "timeout");
    }
    light(&server).await.ok(json!({ "results": [4] }));
}

/// Asks for more than there is room for, and gives the answer.
pub(crate) async fn calling_when_every_place_is_taken() -> Response {
    let server = with_places(1).await;
    let running = begin_loop(&server);
    until_full(&server).await;
    let refused = light(&server).await;
    assert!(!running.is_finished());
    refused
}

#[tokio::test]
async fn a_call_too_many_is_refused_and_may_come_back() {
    let refused = calling_when_every_place_is_taken().await;
    refused.problem(503, "overloaded").may_come_again().has_not("usage");
}

#[tokio::test]
async fn a_call_that_waits_for_a_place_gets_it() {
    let server = with(|setup| {
        setup.engine.concurrent_calls = 1;
        setup.engine.queued_calls = 64;
    })
    .await;
    let mut calls = JoinSet::new();
    for number in 0..32 {
        let call = server.post(LIGHT).json(json!({ "params": [number] }));
        calls.spawn(async move { (number, call.await) });
        let call = server.post("/v1/modules/unruly/functions/loop");
        let call = call.json(json!({ "limits": { "timeout_ms": 5 } })).into_future();
        calls.spawn(async move { (-1, call.await) });
    }
    for (number, response) in calls.join_all().await {
        if number < 0 {
            response.problem(422, "timeout");
        } else {
            response.ok(json!({ "results": [2 * number] }));
        }
    }
}

#[tokio::test]
async fn a_dropped_request_ends_its_guest() {
    let server = with_places(1).await;
    for _ in 0..5 {
        let running = begin_loop(&server);
        until_full(&server).await;
        running.abort();
        until_free(&server).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_ends_its_guest() {
    let server = with_places(1).await;
    for fuel in [Value::Null, json!(1u64 << 50)] {
        let body = json!({ "limits": { "timeout_ms": AN_HOUR, "fuel": fuel } }).to_string();
        let request = format!(
            "POST /v1/modules/unruly/functions/loop HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let light = async || {
            let body = json!({ "params": [2], "limits": { "fuel": fuel.as_u64().map(|_| 1000) } });
            server.post(LIGHT).json(body).await.status
        };
        let connection = eventually("the guest runs", async || {
            let mut connection = server.connect().await;
            connection.send(&request).await;
            (light().await == 503).then_some(connection)
        })
        .await;
        drop(connection);
        eventually("the guest is gone", async || (light().await == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn too_many_compilations_are_refused() {
    let server = with(|setup| {
        setup.engine.concurrent_compilations = 1;
        setup.engine.queued_compilations = 0;
    })
    .await;
    let mut calls = JoinSet::new();
    for number in 0..32 {
        let body = json!({ "wat": adding(20_000, number), "function": "f", "params": [1] });
        let call = server.post("/v1/call").json(body);
        calls.spawn(async move { (number, call.await) });
    }
    let mut refused = 0;
    for (number, response) in calls.join_all().await {
        if response.status == 503 {
            response.problem(503, "overloaded").may_come_again();
            refused += 1;
        } else {
            response.ok(json!({ "results": [20_000 + number] }));
        }
    }
    assert!((1..=31).contains(&refused), "{refused} of 32 were refused");
    light(&server).await.ok(json!({ "results": [4] }));
}

#[tokio::test]
async fn a_connection_too_many_takes_the_place_of_an_idle_one() {
    let server = Server::with(|setup| setup.server.connections = 2).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut idle = server.connect().await;
    idle.send(get("/healthz")).await;
    idle.response().await.has_status(200);
    let mut busy = server.connect().await;
    let body = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
    let begin = format!(
        "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    busy.send(&begin).await;
    busy.response().await.has_status(100);
    let mut third = server.connect().await;
    assert!(idle.next_response().await.is_none(), "it made room");
    third.send(&begin).await;
    third.response().await.has_status(100);
    let mut fourth = server.connect().await;
    assert!(fourth.next_response().await.is_none(), "requests run on all others");
    busy.send(&body).await;
    busy.response().await.ok(json!({ "results": [4] }));
    busy.send(get("/metrics")).await;
    let metrics = busy.response().await;
    let line = "wasm_exec_refused_connections_total 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_and_silence_end_a_connection() {
    let server = Server::with(|setup| {
        setup.server.head_timeout = Duration::from_millis(100);
        setup.server.idle_timeout = Duration::from_secs(2);
    })
    .await;
    let mut slow = server.connect().await;
    slow.send("GET /healthz HTTP/1.1\r\nHost: ").await;
    let mut silent = server.connect().await;
    let mut kept = server.connect().await;
    kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    kept.response().await.has_status(200);
    for connection in [&mut slow, &mut silent, &mut kept] {
        assert!(connection.next_response().await.is_none(), "it is closed");
    }
}

/// A server that binds clients on this machine, too.
async fn with_client_limits(change: impl FnOnce(&mut ClientLimits)) -> Server {
    Server::with(|setup| {
        setup.server.client.loopback = true;
        change(&mut setup.server.client);
    })
    .await
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let server = with_client_limits(|client| client.requests_per_second = 1).await;
    let limited = eventually("it is too much", async || {
        let response = server.get("/v1/limits").await;
        (response.status == 429).then_some(response)
    })
    .await;
    limited.has_header("retry-after", "1").problem(429, "rate-limited");
    for path in ["/healthz", "/readyz", "/metrics"] {
        server.get(path).await.has_status(200);
    }
    // The client's bucket fills again.
    eventually("it may ask again", async || {
        (server.get("/v1/limits").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_has_a_bounded_number_of_requests_and_connections() {
    let server = with_client_limits(|client| {
        client.requests = 1;
        client.connections = 2;
    })
    .await;
    let body = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
    let mut running = server.connect().await;
    running
        .send(format!(
            "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        ))
        .await;
    running.response().await.has_status(100);
    let get = "GET /v1/limits HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut second = server.connect().await;
    second.send(get).await;
    second.response().await.problem(429, "rate-limited");
    let mut third = server.connect().await;
    assert!(third.next_response().await.is_none(), "it is closed");
    let mut other = server.connect_as_other().await;
    other.send(get).await;
    other.response().await.has_status(200);
    running.send(&body).await;
    running.response().await.ok(json!({ "results": [4] }));
    second.send(get).await;
    second.response().await.has_status(200);
}
