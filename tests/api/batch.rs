//! `POST /v1/modules/{module}/functions/{function}/batch`.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use crate::support::batch::{Version, begin, begin_with_key};
use crate::support::eventually;
use crate::support::guests::{DOUBLE, DOUBLE_DIGEST, TRIPLE, UNRULY};
use crate::support::keyring::Keyring;
use crate::support::request::Request;
use crate::support::response::{Response, assert_contains};
use crate::support::server::{Server, Setup};

const DOUBLES: &str = "/v1/modules/utils/functions/double/batch";
const LOOPS: &str = "/v1/modules/unruly/functions/loop/batch";

/// More than sockets and servers hold of answers, in lines.
const MANY: u64 = 200_000;

async fn server() -> Server {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut Setup)) -> Server {
    let server = Server::with(change).await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    server.put("/v1/modules/unruly").wat(UNRULY).await.created();
    server
}

fn batch(server: &Server, path: &str, lines: impl Into<Vec<u8>>) -> Request {
    server.post(path).content("application/x-ndjson", lines.into())
}

/// The answers of a batch that was read whole; each has its line's number.
#[track_caller]
fn answers(response: Response) -> Vec<Value> {
    let response = response.has_status(200).has_header("content-type", "application/x-ndjson");
    let answers: Vec<Value> = response
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["line"], number, "{answer}");
    }
    answers
}

/// Answers with these members.
#[track_caller]
fn are(actual: &[Value], expected: &[Value]) {
    assert_eq!(actual.len(), expected.len(), "{actual:?}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert_contains(actual, expected);
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// So many lines, each with its number as parameter.
fn numbers(count: u64) -> String {
    (0..count).map(|number| format!("[{number}]\n")).collect()
}

#[track_caller]
fn are_doubles(answers: &[Value], count: u64) {
    assert_eq!(answers.len() as u64, count);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["results"], json!([2 * number]), "{answer}");
    }
}

/// Waits until no batch runs.
async fn until_ended(server: &Server) {
    eventually("no batch runs", async || {
        let metrics = server.get("/metrics").await;
        metrics.text().contains("\nwasm_exec_batches 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_line_is_answered_as_a_single_call_is() {
    let server = server().await;
    let lines = "[2]\n{\"params\":[3]}\r\n\t[ 4 ] \n{\"params\":[5],\"limits\":{\"fuel\":1000}}";
    let answered = answers(batch(&server, DOUBLES, lines).await);
    are(
        &answered,
        &[
            json!({ "outcome": "ok", "results": [4], "module": DOUBLE_DIGEST }),
            json!({ "outcome": "ok", "results": [6], "usage": { "fuel": null } }),
            json!({ "outcome": "ok", "results": [8] }),
            json!({ "outcome": "ok", "results": [10], "usage": { "memory_bytes": 0 } }),
        ],
    );
    assert!(answered[3]["usage"]["fuel"].is_u64(), "{}", answered[3]);
    let single = server.post("/v1/modules/utils/functions/double").json(json!({ "params": [2] }));
    let single = single.await.ok(json!({}));
    let members = |answer: &Value| {
        answer
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "line")
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(members(&answered[0]), members(&single));
}

#[tokio::test]
async fn a_batch_of_nothing_is_answered_by_nothing() {
    let server = server().await;
    assert_eq!(answers(batch(&server, DOUBLES, "").await), [Value::Null; 0]);
    assert_eq!(answers(batch(&server, DOUBLES, "[1]\n").await).len(), 1);
}

#[tokio::test]
async fn a_line_that_cannot_be_read_concerns_no_other() {
    let server = server().await;
    let nested = format!("{{\"params\":{}}}", "[".repeat(100_000));
    let broken: [&[u8]; 14] = [
        b"",
        b"   ",
        b"\r",
        b"[",
        b"[2",
        b"[2] [3]",
        b"2",
        b"null",
        b"{\"parms\":[2]}",
        b"{\"params\":[2],\"params\":[3]}",
        b"{\"params\":[\"\xff\"]}",
        b"[\"\xe9\"]",
        b"[\"\0\"]",
        nested.as_bytes(),
    ];
    let mut lines = Vec::new();
    for line in broken {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\n[1]\n");
    }
    let answered = answers(batch(&server, DOUBLES, lines).await);
    assert_eq!(answered.len(), 2 * broken.len());
    for pair in answered.chunks(2) {
        assert_contains(&pair[0], &json!({ "outcome": "invalid-request", "status": 400 }));
        assert_contains(&pair[0], &json!({ "type": "/problems/invalid-request" }));
        assert!(pair[0]["detail"].as_str().unwrap().contains("JSON"), "{}", pair[0]);
        assert_contains(&pair[1], &json!({ "outcome": "ok", "results": [2] }));
    }
    let lines = "[]\n[1,2]\n[\"a\"]\n[4294967296]\n{\"limits\":{\"timeout_ms\":60001}}\n[1]";
    let refused = json!({ "outcome": "invalid-params", "status": 422, "code": "invalid-params" });
    let too_high = json!({ "outcome": "limit-too-high", "limit": "timeout_ms" });
    let ok = json!({ "outcome": "ok" });
    let expected = [refused.clone(), refused.clone(), refused.clone(), refused, too_high, ok];
    are(&answers(batch(&server, DOUBLES, lines).await), &expected);
}

#[tokio::test]
async fn what_concerns_all_lines_is_an_ordinary_problem() {
    let server = server().await;
    let path =
        |module: &str, function: &str| format!("/v1/modules/{module}/functions/{function}/batch");
    let unknown = batch(&server, &path("nobody", "f"), "[1]").await.problem(404, "unknown-module");
    unknown.has(json!({ "outcome": "unknown-module" })).has_not("line");
    let unknown = batch(&server, &path("utils", "f"), "[1]").await;
    unknown.problem(404, "unknown-function").has(json!({ "exports": ["double"] }));
    batch(&server, &path("utils", "%ff"), "[1]").await.problem(400, "invalid-request");
    for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
        let refused = server.post(DOUBLES).content(content_type, "[1]").await;
        let refused = refused.problem(415, "unsupported-media-type");
        refused.says(&["application/x-ndjson", content_type]);
    }
    server.post(DOUBLES).body("[1]").await.problem(415, "unsupported-media-type");
    for content_type in ["application/x-ndjson; charset=utf-8", "application/jsonl"] {
        let answered = server.post(DOUBLES).content(content_type, "[0]").await;
        are_doubles(&answers(answered), 1);
    }
    let other = batch(&server, DOUBLES, "[1]").header("accept", "text/html").await;
    other.problem(406, "not-acceptable");
    let coded = batch(&server, DOUBLES, "[1]").header("content-encoding", "br").await;
    coded.problem(415, "unsupported-media-type");
    server.get(DOUBLES).await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn ten_thousand_lines_come_back_in_order_however_they_are_cut() {
    let server = server().await;
    are_doubles(&answers(batch(&server, DOUBLES, numbers(10_000)).await), 10_000);
    // HTTP/2 takes only so many frames of less than 256 bytes that nobody has read yet.
    for (version, size) in [(Version::Http1, 7), (Version::Http2, 257)] {
        let (lines, mut answers) = begin(&server, version, DOUBLES).await;
        let sending = tokio::spawn(async move {
            for piece in numbers(2_000).as_bytes().chunks(size) {
                lines.send(piece).await;
            }
        });
        are_doubles(&answers.rest().await, 2_000);
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn a_line_is_answered_before_the_next_is_sent() {
    let server = server().await;
    for version in [Version::Http1, Version::Http2] {
        let (lines, mut answers) = begin(&server, version, DOUBLES).await;
        for number in 0..100 {
            lines.send(format!("[{number}]\n")).await;
            let answer = answers.next().await.expect("the batch goes on");
            assert_contains(&answer, &json!({ "results": [2 * number], "line": number }));
        }
        // What has no end yet is no line.
        lines.send("[10").await;
        lines.send("0]").await;
        drop(lines);
        assert_contains(&answers.next().await.unwrap(), &json!({ "results": [200], "line": 100 }));
        assert_eq!(answers.next().await, None);
    }
}

#[tokio::test]
async fn lines_end_as_calls_do() {
    let server = server().await;
    let run = async |function: &str, lines: &str| {
        let path = format!("/v1/modules/unruly/functions/{function}/batch");
        answers(batch(&server, &path, lines).await)
    };
    let trap = json!({ "outcome": "trap", "status": 422, "trap": { "kind": "unreachable" } });
    are(&run("trap", "[]\n[]").await, &[trap.clone(), trap]);
    let overflow = json!({ "outcome": "stack-overflow" });
    are(&run("recurse", "{}\n[]").await, &[overflow.clone(), overflow]);
    let limited = "{\"limits\":{\"timeout_ms\":20}}\n{\"limits\":{\"fuel\":1000}}\n";
    let ends = [json!({ "outcome": "timeout" }), json!({ "outcome": "fuel-exhausted" })];
    are(&run("loop", limited).await, &ends);
    let grown = "[1]\n{\"params\":[1],\"limits\":{\"memory_bytes\":65536}}\n[1]";
    let refused = json!({ "results": [-1], "usage": { "growth_refused": true } });
    are(
        &run("grow", grown).await,
        &[json!({ "results": [1] }), refused, json!({ "results": [1] })],
    );
    let small = "{\"params\":[1],\"limits\":{\"output_bytes\":2}}\n[1]";
    are(
        &run("grow", small).await,
        &[json!({ "outcome": "output-limit" }), json!({ "results": [1] })],
    );
}

#[tokio::test]
async fn each_line_has_an_instance_of_its_own() {
    let server = server().await;
    let counter = r#"(module (global $n (mut i32) (i32.const 0)) (func (export "next") (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"#;
    server.put("/v1/modules/counter").wat(counter).await.created();
    let path = "/v1/modules/counter/functions/next/batch";
    let answered = answers(batch(&server, path, "[]\n".repeat(1000)).await);
    assert_eq!(answered.len(), 1000);
    assert!(answered.iter().all(|answer| answer["results"] == json!([1])));
}

#[tokio::test]
async fn long_calls_run_beside_each_other_and_are_answered_in_order() {
    let server = server().await;
    let mut lines = String::new();
    for number in 0..30 {
        let timeout = if number % 3 == 0 { 60 } else { 10 };
        lines.push_str(&format!("{{\"limits\":{{\"timeout_ms\":{timeout}}}}}\n"));
    }
    let answered = answers(batch(&server, LOOPS, lines).await);
    assert_eq!(answered.len(), 30);
    for (number, answer) in answered.iter().enumerate() {
        let timeout = if number % 3 == 0 { 60 } else { 10 };
        assert_contains(answer, &json!({ "outcome": "timeout" }));
        assert!(answer["detail"].as_str().unwrap().contains(&format!(" {timeout} ms")), "{answer}");
    }
}

#[tokio::test]
async fn what_was_answered_does_not_wait_for_a_long_call() {
    let server = with(|setup| setup.limits.timeout_ms.maximum = 3_600_000).await;
    let wat = r#"(module (func (export "f") (param i32)
        (if (local.get 0) (then (loop (br 0))))))"#;
    server.put("/v1/modules/m").wat(wat).await.created();
    let path = "/v1/modules/m/functions/f/batch";
    let (lines, mut answers) = begin(&server, Version::Http1, path).await;
    let endless = "{\"params\":[1],\"limits\":{\"timeout_ms\":3600000}}\n";
    lines.send(format!("{}{endless}[0]\n", "[0]\n".repeat(100))).await;
    for number in 0..100 {
        assert_contains(&answers.next().await.unwrap(), &json!({ "line": number }));
    }
    drop((lines, answers));
    until_ended(&server).await;
}

#[tokio::test]
async fn a_line_may_be_as_long_as_a_body_and_what_is_longer_is_skipped() {
    const MAXIMUM: usize = 200_000;
    for maximum in [MAXIMUM, 1000] {
        let server = with(|setup| setup.server.request_bytes = maximum as u64).await;
        let padded = |size: usize| format!("[1{}]\n", " ".repeat(size - 3));
        let lines = [
            padded(maximum),
            padded(maximum + 1),
            "[2]\n".to_owned(),
            padded(3 * maximum),
            padded(maximum),
            "[3]\n".to_owned(),
            padded(maximum + 1).trim_end().to_owned(),
        ];
        let ok = |result: i32| json!({ "outcome": "ok", "results": [result] });
        let long = json!({ "outcome": "too-large", "status": 413, "maximum": maximum });
        let expected = [ok(2), long.clone(), ok(4), long.clone(), ok(2), ok(6), long];
        are(&answers(batch(&server, DOUBLES, lines.concat()).await), &expected);
        let (pieces, mut answers) = begin(&server, Version::Http1, DOUBLES).await;
        let sending = async {
            for piece in lines.concat().as_bytes().chunks(999) {
                pieces.send(piece).await;
            }
            drop(pieces);
        };
        let (answered, ()) = tokio::join!(answers.rest(), sending);
        are(&answered, &expected);
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_not_kept() {
    let server = with(|setup| {
        setup.server.request_bytes = 100_000;
        setup.server.bodies_bytes = 200_000;
    })
    .await;
    let (lines, mut answers) = begin(&server, Version::Http1, DOUBLES).await;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        lines.send(&piece).await;
    }
    assert_contains(&answers.next().await.unwrap(), &json!({ "outcome": "too-large", "line": 0 }));
    lines.send("\n[1]\n").await;
    assert_contains(&answers.next().await.unwrap(), &json!({ "results": [2], "line": 1 }));
    drop(lines);
    assert_eq!(answers.next().await, None);
}

#[tokio::test]
async fn a_long_line_for_which_there_is_no_room_concerns_no_other() {
    let server = with(|setup| {
        setup.server.request_bytes = 1 << 20;
        setup.server.bodies_bytes = 2 << 20;
    })
    .await;
    let long = vec![b' '; 1 << 20];
    // Whichever comes last finds no room, so this is tried until that is the one that is looked at.
    eventually("the others have taken the room", async || {
        let mut holding = Vec::new();
        for _ in 0..2 {
            let (lines, answers) = begin(&server, Version::Http1, DOUBLES).await;
            lines.send(&long).await;
            holding.push((lines, answers));
        }
        let lines = [&b"[1]\n"[..], &long[..300_000], b"[2]\n[3]\n"].concat();
        let answered = answers(batch(&server, DOUBLES, lines).await);
        let overloaded = json!({ "outcome": "overloaded", "status": 503 });
        let (ok, other) = (json!({ "results": [2] }), json!({ "results": [6] }));
        (answered[1]["outcome"] == "overloaded").then(|| {
            are(&answered, &[ok, overloaded, other]);
            assert!((1..=3).contains(&answered[1]["retry_after"].as_u64().unwrap()));
        })
    })
    .await;
}

#[tokio::test]
async fn compressed_lines_are_read_as_they_come() {
    let server = server().await;
    let text = numbers(20_000);
    for (coding, body) in [
        ("gzip", gzip(text.as_bytes())),
        ("zstd", compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)),
        ("identity", text.clone().into_bytes()),
    ] {
        let request = batch(&server, DOUBLES, body).header("content-encoding", coding);
        are_doubles(&answers(request.await), 20_000);
    }
}

#[tokio::test]
async fn what_breaks_off_is_told_in_the_last_line() {
    let server = server().await;
    let compressed = gzip(numbers(20_000).as_bytes());
    let half = compressed[..compressed.len() / 2].to_vec();
    let answered = answers(batch(&server, DOUBLES, half).header("content-encoding", "gzip").await);
    let (last, others) = answered.split_last().unwrap();
    are_doubles(others, others.len() as u64);
    assert_contains(last, &json!({ "outcome": "invalid-request" }));
    assert!(last["detail"].as_str().unwrap().contains("gzip"), "{last}");
    let broken = batch(&server, DOUBLES, "[1]\n[2]\n").header("content-encoding", "zstd").await;
    are(&answers(broken), &[json!({ "outcome": "invalid-request" })]);
}

#[tokio::test]
async fn a_bomb_is_no_more_than_a_long_line() {
    let server = with(|setup| setup.server.request_bytes = 1 << 20).await;
    let mut text = vec![b' '; 64 << 20];
    text.extend_from_slice(b"\n[4]\n");
    for (coding, body) in
        [("gzip", gzip(&text)), ("zstd", compress_to_vec(&text[..], CompressionLevel::Fastest))]
    {
        let request = batch(&server, DOUBLES, body).header("content-encoding", coding);
        let expected = [json!({ "outcome": "too-large" }), json!({ "results": [8] })];
        are(&answers(request.await), &expected);
    }
}

#[tokio::test]
async fn whoever_leaves_ends_the_work() {
    let server = with(|setup| {
        setup.limits.timeout_ms.maximum = 3_600_000;
        setup.engine.concurrent_calls = 1;
        setup.engine.queued_calls = 0;
    })
    .await;
    let endless = "{\"limits\":{\"timeout_ms\":3600000}}\n".repeat(1000);
    for version in [Version::Http1, Version::Http2] {
        let (lines, answers) = begin(&server, version, LOOPS).await;
        lines.send(&endless).await;
        let light = || server.post("/v1/modules/unruly/functions/fine");
        eventually("the place is taken", async || (light().await.status == 503).then_some(()))
            .await;
        drop((lines, answers));
        until_ended(&server).await;
        eventually("the place is free", async || (light().await.status == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn whoever_sends_all_before_reading_is_held_up_and_gets_all_answers() {
    let server = server().await;
    for version in [Version::Http1, Version::Http2] {
        let (lines, mut answers) = begin(&server, version, DOUBLES).await;
        let sending = tokio::spawn(async move {
            for piece in numbers(MANY).as_bytes().chunks(16 << 10) {
                lines.send(piece).await;
            }
        });
        // Others are answered meanwhile.
        let call = server.post("/v1/modules/utils/functions/double").json(json!({ "params": [2] }));
        call.await.ok(json!({ "results": [4] }));
        for number in 0..MANY {
            let answer = answers.next().await.expect("the batch goes on");
            assert_eq!(answer["results"], json!([2 * number]));
        }
        assert_eq!(answers.next().await, None);
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn the_server_stops_reading_when_its_answers_are_not_taken() {
    let server = server().await;
    let (lines, mut answers) = begin(&server, Version::Http2, DOUBLES).await;
    let sending = tokio::spawn(async move {
        for piece in numbers(MANY).as_bytes().chunks(16 << 10) {
            lines.send(piece).await;
        }
    });
    let answered = async || {
        let metrics = server.get("/metrics").await;
        let count = "wasm_exec_batch_lines_total{outcome=\"ok\"} ";
        let count = metrics.text().lines().find_map(|line| line.strip_prefix(count));
        count.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    // As many requests as this takes are far more time than it would need for all lines.
    let mut before = 0;
    eventually("no more lines are run", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = answered().await;
        let stopped = now > 0 && now == before;
        before = now;
        stopped.then_some(())
    })
    .await;
    assert!(before < MANY / 2, "{before} lines were run for nobody");
    assert_eq!(answers.rest().await.len() as u64, MANY);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_batch_whose_answers_nobody_takes_ends() {
    let server = with(|setup| setup.server.idle_timeout = Duration::from_millis(300)).await;
    for version in [Version::Http1, Version::Http2] {
        let (lines, answers) = begin(&server, version, DOUBLES).await;
        let sending = tokio::spawn(async move {
            for piece in numbers(MANY).as_bytes().chunks(16 << 10) {
                lines.send(piece).await;
            }
        });
        until_ended(&server).await;
        drop(answers);
        sending.abort();
    }
}

#[tokio::test]
async fn a_batch_to_which_nothing_comes_ends() {
    let server = with(|setup| setup.server.body_timeout = Duration::from_millis(300)).await;
    for (text, answered) in [("", 0), ("[1]\n", 1), ("[1]\n[2", 1)] {
        let (lines, mut answers) = begin(&server, Version::Http1, DOUBLES).await;
        lines.send(text).await;
        for number in 0..answered {
            assert_contains(&answers.next().await.unwrap(), &json!({ "line": number }));
        }
        let late = json!({ "outcome": "request-timeout", "status": 408, "line": answered });
        assert_contains(&answers.next().await.unwrap(), &late);
        assert_eq!(answers.next().await, None);
    }
    // As long as a line runs, the client is not waited for.
    let (lines, mut answers) = begin(&server, Version::Http1, LOOPS).await;
    lines.send("{\"limits\":{\"timeout_ms\":1000}}\n").await;
    assert_contains(&answers.next().await.unwrap(), &json!({ "outcome": "timeout", "line": 0 }));
    assert_contains(&answers.next().await.unwrap(), &json!({ "outcome": "request-timeout" }));
}

#[tokio::test]
async fn a_batch_goes_on_with_the_module_that_it_began_with() {
    let server = server().await;
    let (lines, mut answers) = begin(&server, Version::Http1, DOUBLES).await;
    lines.send("[1]\n").await;
    assert_contains(&answers.next().await.unwrap(), &json!({ "results": [2] }));
    server.delete("/v1/modules/utils").await.no_content();
    lines.send("[2]\n").await;
    assert_contains(&answers.next().await.unwrap(), &json!({ "results": [4] }));
    server.put("/v1/modules/utils").wat(TRIPLE).await.created();
    lines.send("[3]\n").await;
    let answer = answers.next().await.unwrap();
    assert_contains(&answer, &json!({ "results": [6], "module": DOUBLE_DIGEST }));
}

#[tokio::test]
async fn a_batch_ends_when_the_server_shuts_down() {
    let mut server = server().await;
    let (idle, mut idles) = begin(&server, Version::Http2, DOUBLES).await;
    let (lines, mut answers) = begin(&server, Version::Http1, DOUBLES).await;
    lines.send("[1]\n[2").await;
    assert_contains(&answers.next().await.unwrap(), &json!({ "results": [2] }));
    server.shut_down();
    let ending = json!({ "outcome": "shutting-down", "status": 503, "line": 1 });
    assert_contains(&answers.next().await.unwrap(), &ending);
    assert_eq!(answers.next().await, None);
    assert_contains(&idles.next().await.unwrap(), &json!({ "outcome": "shutting-down" }));
    drop((idle, lines, idles, answers));
    server.ended().await;
}

#[tokio::test]
async fn light_calls_go_on_beside_batches_of_long_ones() {
    let server = with(|setup| {
        setup.limits.timeout_ms.maximum = 3_600_000;
        setup.engine.concurrent_calls = 4;
        setup.engine.queued_calls = 0;
    })
    .await;
    let (lines, answers) = begin(&server, Version::Http1, LOOPS).await;
    lines.send("{\"limits\":{\"timeout_ms\":3600000}}\n".repeat(1000)).await;
    // A batch has at most half of the places, so there is always one.
    for _ in 0..200 {
        let call = server.post("/v1/modules/utils/functions/double").json(json!({ "params": [2] }));
        call.await.ok(json!({ "results": [4] }));
    }
    drop((lines, answers));
}

#[tokio::test]
async fn lines_wait_for_places_that_others_have() {
    let server = with(|setup| {
        setup.limits.timeout_ms.maximum = 3_600_000;
        setup.engine.concurrent_calls = 1;
        setup.engine.queued_calls = 0;
    })
    .await;
    let body = json!({ "limits": { "timeout_ms": 3_600_000 } });
    let call = server.post("/v1/modules/unruly/functions/loop").json(body);
    let hog = tokio::spawn(call.into_future());
    eventually("the place is taken", async || {
        let metrics = server.get("/metrics").await.has_status(200);
        metrics.text().lines().any(|line| line == "wasm_exec_running_calls 1").then_some(())
    })
    .await;
    let (lines, mut answers) = begin(&server, Version::Http1, DOUBLES).await;
    lines.send("[0]\n[1]\n").await;
    drop(lines);
    hog.abort();
    are_doubles(&answers.rest().await, 2);
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends() {
    let server = server().await;
    let mut connection = server.connect().await;
    connection
        .send(format!(
            "POST {DOUBLES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
    connection.response().await.has_status(100);
    connection.send("[1]\n").await;
    connection.response().await.has_status(200);
}

#[tokio::test]
async fn lines_are_counted() {
    let server = server().await;
    let answered = answers(batch(&server, DOUBLES, "[1]\n[]\n[2]\n").await);
    assert_eq!(answered.len(), 3);
    let metrics = server.get("/metrics").await;
    for line in [
        "wasm_exec_batches 0",
        "wasm_exec_batch_lines_total{outcome=\"ok\"} 2",
        "wasm_exec_batch_lines_total{outcome=\"invalid-params\"} 1",
        "wasm_exec_requests_total{route=\"call_batch\",outcome=\"ok\"} 1",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line}: {}", metrics.text());
    }
}

#[tokio::test]
async fn each_line_counts_against_the_quota_of_its_key() {
    let mut keyring = Keyring::new();
    let admin = keyring.scoped("admin");
    let few = keyring.add("scopes = [\"call\"]\ncalls = 3\nper = \"hour\"");
    let reader = keyring.scoped("register");
    let server = keyring.server().await;
    server.put("/v1/modules/utils").key(&admin).wat(DOUBLE).await.created();
    let run = |key: &str| batch(&server, DOUBLES, "[0]\n[1]\n[2]\n[]\n[4]\n").key(key);
    let answered = answers(run(&few).await);
    let exceeded = json!({ "outcome": "quota-exceeded", "status": 429, "quota": "calls" });
    let (refused, made): (Vec<_>, Vec<_>) =
        answered.into_iter().partition(|answer| answer["outcome"] == "quota-exceeded");
    // Which lines these are is open, since several run at once; one that cannot be called counts too.
    assert_eq!((refused.len(), made.len()), (2, 3));
    assert_contains(&refused[0], &exceeded);
    assert!(refused[0]["retry_after"].as_u64().is_some_and(|seconds| seconds > 60));
    let single = server.post("/v1/modules/utils/functions/double").key(&few);
    single.json(json!({ "params": [1] })).await.problem(429, "quota-exceeded");
    are(&answers(run(&few).await)[..1], &[exceeded]);
    run(&reader).await.problem(403, "forbidden").has(json!({ "scope": "call" }));
    batch(&server, DOUBLES, "[1]").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_batch_ends_with_its_key() {
    for version in [Version::Http1, Version::Http2] {
        let mut keyring = Keyring::new();
        let revoked = keyring.scoped("admin");
        let server = keyring.server().await;
        server.put("/v1/modules/utils").key(&revoked).wat(DOUBLE).await.created();
        let (lines, mut answers) = begin_with_key(&server, version, DOUBLES, &revoked).await;
        lines.send("[1]\n").await;
        assert_contains(&answers.next().await.unwrap(), &json!({ "results": [2], "line": 0 }));
        // A change that leaves the key alone changes nothing.
        let other = keyring.scoped("call");
        let known = async |key: &str| server.get("/v1/modules").key(key).await.status == 200;
        eventually("the other key is known", async || known(&other).await.then_some(())).await;
        lines.send("[2]\n").await;
        assert_contains(&answers.next().await.unwrap(), &json!({ "results": [4], "line": 1 }));
        keyring.write("");
        eventually("the key is revoked", async || (!known(&revoked).await).then_some(())).await;
        lines.send("[3]\n[4]\n").await;
        // The last is of the line that was to come.
        let rest = answers.rest().await;
        let refused = json!({ "outcome": "unauthenticated", "status": 401 });
        are(&rest, &[refused.clone(), refused.clone(), refused]);
    }
}

#[tokio::test]
async fn lines_wait_for_the_rate_of_their_key() {
    let mut keyring = Keyring::new();
    let admin = keyring.scoped("admin");
    let slow = keyring.add("scopes = [\"call\"]\nrequests-per-second = 100\nburst = 1");
    let slower = keyring.add("scopes = [\"call\"]\nrequests-per-second = 0.001\nburst = 3");
    let server = keyring.server().await;
    server.put("/v1/modules/utils").key(&admin).wat(DOUBLE).await.created();
    are_doubles(&answers(batch(&server, DOUBLES, numbers(50)).key(&slow).await), 50);
    // The batch itself counts, and nobody waits for a quarter of an hour.
    let answered = answers(batch(&server, DOUBLES, numbers(4)).key(&slower).await);
    let outcomes: Vec<_> = answered.iter().map(|answer| answer["outcome"].as_str()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Some("ok")).count(), 2);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Some("rate-limited")).count(), 2);
}

#[tokio::test]
async fn answers_that_have_no_room_say_so_whether_their_calls_failed_or_not() {
    const READ: &str =
        r#"{"memory":{"read":[{"offset":0,"length":1000000}]},"limits":{"output_bytes":4000000}}"#;
    let server = with(|setup| setup.server.answers_bytes = 1 << 20).await;
    let wat = r#"(module (memory (export "memory") 16)
        (func (export "fails") unreachable) (func (export "returns")))"#;
    server.put("/v1/modules/remembers").wat(wat).await.created();
    for function in ["fails", "returns"] {
        let path = format!("/v1/modules/remembers/functions/{function}/batch");
        let answered = answers(batch(&server, &path, format!("{READ}\n")).await);
        are(&answered, &[json!({ "code": "overloaded", "status": 503 })]);
    }
}
