//! Floods and broken frames: each ends its connection or is bounded, and the server goes on
//! answering others.

mod frames;

use serde_json::json;

use crate::support::eventually;
use crate::support::guests::{DOUBLE, UNRULY};
use crate::support::server::Server;
use frames::{
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, HEADERS, PADDED, PING, PRIORITY, PROTOCOL_ERROR,
    PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, backs_up,
    frame, get, literal, request, send, settings,
};

const CANCEL: u32 = 8;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

const CALL: &str = "/v1/modules/utils/functions/double";

async fn server() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server
}

/// Others are answered as if nothing had happened.
async fn answers_others(server: &Server) {
    server.get("/healthz").await.has_status(200);
    server.post(CALL).json(json!({ "params": [2] })).await.ok(json!({ "results": [4] }));
}

/// The streams that a client opens, in order.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// The block of a request whose body is JSON.
fn json_to(path: &str) -> Vec<u8> {
    [request("POST", path), literal("content-type", "application/json")].concat()
}

/// A request that has a body, and the body.
fn post(stream: u32, path: &str, body: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &json_to(path));
    [head, frame(DATA, END_STREAM, stream, body.as_bytes())].concat()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once() {
    let server = server().await;
    let frames = streams(20_000).map(|stream| [get(stream, "/healthz"), reset(stream)].concat());
    send(&server, frames).await.is_bounded_by(&[ENHANCE_YOUR_CALM]);
    answers_others(&server).await;
    let headers_only = streams(20_000).map(|stream| {
        let head = frame(HEADERS, END_HEADERS, stream, &request("POST", CALL));
        [head, reset(stream)].concat()
    });
    send(&server, headers_only).await.is_bounded_by(&[ENHANCE_YOUR_CALM]);
    answers_others(&server).await;
}

#[tokio::test]
async fn guests_whose_requests_are_taken_back_end() {
    let server = Server::with(|setup| {
        setup.engine.concurrent_calls = 2;
        setup.engine.queued_calls = 0;
        setup.limits.timeout_ms.maximum = 3_600_000;
    })
    .await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    let path = "/v1/modules/unruly/functions/loop";
    let body = json!({ "limits": { "timeout_ms": 3_600_000 } }).to_string();
    let frames = streams(1000).map(|stream| [post(stream, path, &body), reset(stream)].concat());
    send(&server, frames).await.is_bounded_by(&[ENHANCE_YOUR_CALM]);
    eventually("no guest is left", async || {
        let call = server.post(CALL).json(json!({ "params": [2] })).await;
        (call.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_head_that_goes_on_for_ever() {
    let server = server().await;
    let first = || frame(HEADERS, END_STREAM, 1, &request("GET", "/healthz"));
    let header = literal("x", &"y".repeat(100));
    for block in [Vec::new(), header.clone(), header.repeat(100)] {
        let more = frame(CONTINUATION, 0, 1, &block);
        let frames = std::iter::once(first()).chain((0..100_000).map(|_| more.clone()));
        send(&server, frames).await.is_closed_for(&[
            ENHANCE_YOUR_CALM,
            COMPRESSION_ERROR,
            PROTOCOL_ERROR,
        ]);
    }
    answers_others(&server).await;
}

#[tokio::test]
async fn settings_and_pings_without_end() {
    let server = server().await;
    let setting = settings(&[(4, 65_535)]);
    let ping = frame(PING, 0, 0, b"anybody?");
    for bytes in [&setting, &ping] {
        let frames = (0..1000).map(|_| bytes.repeat(100));
        send(&server, frames).await.is_bounded_by(&[ENHANCE_YOUR_CALM]);
        assert!(backs_up(&server, bytes).await, "answers that nobody reads pile up");
        answers_others(&server).await;
    }
    // Acknowledgements of nothing are not to be answered.
    let nothing = frame(PING, ACK, 0, b"anybody?");
    send(&server, (0..1000).map(|_| nothing.repeat(100))).await.is_bounded_by(&[ENHANCE_YOUR_CALM]);
    let nothing = frame(SETTINGS, ACK, 0, b"");
    send(&server, [nothing.repeat(100)]).await.is_bounded_by(&[PROTOCOL_ERROR]);
    answers_others(&server).await;
}

#[tokio::test]
async fn frames_that_mean_little() {
    let server = server().await;
    let depends = |on: u32| frame(PRIORITY, 0, 3, &[&on.to_be_bytes()[..], &[0]].concat());
    let unknown = frame(0xfa, 0xff, 0, &[0; 100]);
    for bytes in [depends(1), unknown] {
        let ending = send(&server, (0..1000).map(|_| bytes.repeat(100))).await;
        ending.is_bounded_by(&[ENHANCE_YOUR_CALM]);
    }
    answers_others(&server).await;
}

#[tokio::test]
async fn windows_that_overflow() {
    let server = server().await;
    let widen = |stream: u32, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    send(&server, [widen(0, LARGEST_WINDOW)]).await.is_closed_for(&[FLOW_CONTROL_ERROR]);
    send(&server, [widen(0, 0)]).await.is_closed_for(&[PROTOCOL_ERROR]);
    send(&server, [widen(1, 1)]).await.is_closed_for(&[PROTOCOL_ERROR]);
    let open = frame(HEADERS, END_HEADERS, 1, &json_to(CALL));
    let ending = send(&server, [open, widen(1, LARGEST_WINDOW)]).await;
    if !ending.closed {
        assert_eq!(ending.resets.get(&1), Some(&FLOW_CONTROL_ERROR), "{ending:?}");
    }
    ending.is_bounded_by(&[FLOW_CONTROL_ERROR]);
    answers_others(&server).await;
}

#[tokio::test]
async fn answers_that_nobody_makes_room_for() {
    let server = server().await;
    // No window at all, so that every answer waits.
    let narrow = settings(&[(4, 0)]);
    let frames =
        std::iter::once(narrow).chain(streams(2000).map(|stream| get(stream, "/openapi.json")));
    let ending = send(&server, frames).await;
    ending.is_bounded_by(&[ENHANCE_YOUR_CALM, PROTOCOL_ERROR]);
    assert!(ending.answered.len() <= 256, "{}", ending.answered.len());
    answers_others(&server).await;
}

#[tokio::test]
async fn settings_that_cannot_be() {
    let server = server().await;
    for (id, value, reason) in [
        (2, 2, PROTOCOL_ERROR),
        (4, 1 << 31, FLOW_CONTROL_ERROR),
        (5, 1, PROTOCOL_ERROR),
        (5, 1 << 24, PROTOCOL_ERROR),
    ] {
        send(&server, [settings(&[(id, value)])]).await.is_closed_for(&[reason, PROTOCOL_ERROR]);
    }
    let cut = frame(SETTINGS, 0, 0, &[0; 5]);
    send(&server, [cut]).await.is_closed_for(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
    send(&server, [frame(SETTINGS, 0, 1, &[])]).await.is_closed_for(&[PROTOCOL_ERROR]);
    answers_others(&server).await;
}

#[tokio::test]
async fn header_tables_stay_small() {
    let server = server().await;
    // A client's table of any size is no reason to fill one: its use is the sender's choice.
    let large = settings(&[(1, u32::MAX)]);
    let frames = std::iter::once(large).chain(streams(200).map(|stream| get(stream, "/healthz")));
    send(&server, frames).await.is_bounded_by(&[ENHANCE_YOUR_CALM]);
    // The server's own has 4,096 bytes, and no block may say otherwise (RFC 7541, section 4.2).
    let enlarge = [&[0x3f, 0xe1, 0xff, 0xff, 0x07][..], &request("GET", "/healthz")].concat();
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &enlarge);
    send(&server, [head]).await.is_closed_for(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
    let missing = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0xff, 0x7f]);
    send(&server, [missing]).await.is_closed_for(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
    answers_others(&server).await;
}

#[tokio::test]
async fn a_small_block_that_stands_for_a_large_head() {
    let server = server().await;
    // A header of 4,000 bytes goes into the table, then 16,000 references to it follow.
    let mut block = request("GET", "/healthz");
    block.extend([0x40, 1, b'x', 0x7f]);
    block.extend([0xa1, 0x1e]);
    block.extend([b'y'; 4000]);
    block.extend([0xbe; 12_000]);
    let frames = streams(100).map(|stream| {
        let (first, rest) = block.split_at(16_000);
        let head = frame(HEADERS, END_STREAM, stream, first);
        [head, frame(CONTINUATION, END_HEADERS, stream, rest)].concat()
    });
    send(&server, frames).await.is_bounded_by(&[
        ENHANCE_YOUR_CALM,
        COMPRESSION_ERROR,
        PROTOCOL_ERROR,
    ]);
    answers_others(&server).await;
}

#[tokio::test]
async fn bodies_in_crumbs() {
    let server = server().await;
    let open = || frame(HEADERS, END_HEADERS, 1, &json_to(CALL));
    let padded = [&[255, b' '][..], &[0; 255]].concat();
    for crumb in [
        frame(DATA, 0, 1, b" "),
        frame(DATA, 0, 1, b""),
        frame(DATA, PADDED, 1, &padded),
        frame(DATA, PADDED, 1, &[0]),
    ] {
        // As many as the window of a megabyte takes.
        let count = (1 << 20) / (crumb.len() - 9).max(10);
        let frames = std::iter::once(open()).chain((0..count).map(|_| crumb.clone()));
        send(&server, frames).await.is_bounded_by(&[ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR]);
        answers_others(&server).await;
    }
    let end = frame(DATA, END_STREAM, 1, b"");
    let head = frame(HEADERS, END_HEADERS, 1, &json_to(CALL));
    let body = br#"{"params":[2]}"#.iter().map(|byte| frame(DATA, 0, 1, &[*byte]));
    let whole = send(&server, std::iter::once(head).chain(body).chain([end])).await;
    assert!(!whole.closed, "an honest client may send bytes one by one: {whole:?}");
}

#[tokio::test]
async fn more_than_a_window_holds() {
    let server = server().await;
    let open = frame(HEADERS, END_HEADERS, 1, &request("POST", "/nothing"));
    let frames = std::iter::once(open).chain((0..1000).map(|_| frame(DATA, 0, 1, &[b' '; 16_384])));
    send(&server, frames).await.is_bounded_by(&[
        FLOW_CONTROL_ERROR,
        STREAM_CLOSED,
        ENHANCE_YOUR_CALM,
    ]);
    let long = frame(DATA, 0, 1, &[0; 16_385]);
    send(&server, [long]).await.is_closed_for(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
    answers_others(&server).await;
}

#[tokio::test]
async fn streams_that_are_not_the_next() {
    let server = server().await;
    let ask = |stream: u32| get(stream, "/healthz");
    for frames in [
        vec![ask(1), ask(1)],
        vec![ask(5), ask(3)],
        vec![ask(2)],
        vec![ask(0)],
        vec![frame(DATA, 0, 1, b"x")],
        vec![frame(DATA, 0, 0, b"x")],
        vec![reset(1)],
        vec![reset(0)],
        vec![frame(CONTINUATION, END_HEADERS, 1, b"")],
        vec![frame(HEADERS, 0, 1, b""), ask(3)],
        vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])],
    ] {
        send(&server, frames).await.is_closed_for(&[PROTOCOL_ERROR, STREAM_CLOSED]);
    }
    answers_others(&server).await;
}

#[tokio::test]
async fn more_streams_than_a_connection_may_have() {
    let server = server().await;
    // Their bodies never come, so they stay open.
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &json_to(CALL));
    let ending = send(&server, streams(1000).map(open)).await;
    ending.is_bounded_by(&[ENHANCE_YOUR_CALM, PROTOCOL_ERROR]);
    if !ending.closed {
        // How many resets are sent before the last answer is left to the server.
        let refused = |reason: &u32| *reason == REFUSED_STREAM;
        assert!(ending.resets.values().any(refused), "{:?}", ending.resets);
    }
    answers_others(&server).await;
}

#[tokio::test]
async fn heads_that_would_be_something_else_in_http1() {
    let server = server().await;
    let with = |name: &str, value: &str| {
        let mut block = request("GET", "/healthz");
        block.extend(literal(name, value));
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
    };
    for (name, value) in [
        ("connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("Upper", "case"),
        ("x", "y\r\nhost: evil.example"),
        ("x", "y\0"),
        ("x\r\ny", "z"),
        ("x:", "y"),
        ("", "y"),
        (":path", "/metrics"),
        (":unknown", "y"),
        (":status", "200"),
        ("content-length", "5"),
        ("content-length", "+0"),
    ] {
        let ending = send(&server, [with(name, value)]).await;
        assert!(ending.answered.is_empty(), "{name:?}: {value:?}: {ending:?}");
        ending.is_bounded_by(&[PROTOCOL_ERROR, COMPRESSION_ERROR]);
    }
    let block = [json_to(CALL), literal("content-length", "3")].concat();
    let head = frame(HEADERS, END_HEADERS, 1, &block);
    let body = frame(DATA, END_STREAM, 1, br#"{"params":[2]}"#);
    let ending = send(&server, [head, body]).await;
    ending.is_bounded_by(&[PROTOCOL_ERROR]);
    assert!(ending.closed || ending.resets.contains_key(&1), "{ending:?}");
    answers_others(&server).await;
}
