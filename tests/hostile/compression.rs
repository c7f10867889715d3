//! Compressed bodies that stand for far more than they are, or never get anywhere.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::json;
use std::future::IntoFuture;
use tokio::task::JoinSet;

use crate::victim::{LIGHT, Victim, size};

/// The most that a body may have, decompressed, in these tests.
const MAXIMUM: usize = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

async fn victim() -> Victim {
    Victim::with(|setup| {
        setup.server.request_bytes = MAXIMUM as u64;
        setup.server.bodies_bytes = 8 * MAXIMUM as u64;
    })
    .await
}

#[tokio::test]
async fn bombs_are_refused_however_many_there_are() {
    let victim = victim().await;
    let spaces = vec![b' '; size(64, 1024) << 20];
    let bombs = [("gzip", gzip(&spaces)), ("zstd", zstd(&spaces))];
    let mut requests = JoinSet::new();
    for number in 0..size(32, 256) {
        let (coding, bomb) = &bombs[number % 2];
        assert!(bomb.len() < MAXIMUM, "{coding}: {}", bomb.len());
        let request = victim.post(LIGHT).header("content-encoding", coding);
        requests.spawn(request.json_text(bomb.clone()).into_future());
    }
    victim.answers_others().await;
    for response in requests.join_all().await {
        match response.status.as_u16() {
            // As many as there is room for are expanded at once.
            503 => drop(response.problem(503, "overloaded")),
            _ => drop(response.problem(413, "too-large").has(json!({ "maximum": MAXIMUM }))),
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn a_bomb_in_a_bomb_is_bytes() {
    let victim = victim().await;
    let inner = gzip(&vec![b' '; 16 << 20]);
    for (coding, body) in [("gzip", gzip(&inner)), ("zstd", zstd(&inner))] {
        let request = victim.post(LIGHT).header("content-encoding", coding);
        request.json_text(body.clone()).await.problem(400, "invalid-request");
        // More than one coding is none that is known.
        let request = victim.post(LIGHT).header("content-encoding", &format!("gzip, {coding}"));
        request.json_text(body).await.problem(415, "unsupported-media-type");
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn streams_that_get_nowhere() {
    let victim = victim().await;
    let empty = gzip(b"");
    // A header of zstd's whose window is of petabytes, and one that announces as much content.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0, 0];
    let content = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &[0xff; 8], &[1, 0, 0]].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18][..], &0_u32.to_le_bytes()].concat();
    for (what, coding, body) in [
        ("members without content", "gzip", empty.repeat(size(5_000, 50_000))),
        ("a header alone", "gzip", empty[..10].to_vec()),
        (
            "a name without end",
            "gzip",
            [&empty[..3], &[8], &empty[4..10], &vec![b'a'; MAXIMUM - 10]].concat(),
        ),
        ("noise", "gzip", [&empty[..10], &vec![0x55; 10_000]].concat()),
        ("a window of petabytes", "zstd", window.to_vec()),
        ("content of petabytes", "zstd", content),
        ("frames without content", "zstd", skippable.repeat(size(10_000, 100_000))),
        ("nothing", "gzip", Vec::new()),
        ("nothing", "zstd", Vec::new()),
    ] {
        let request = victim.post(LIGHT).header("content-encoding", coding);
        let response = request.json_text(body).await;
        assert!(response.status.is_client_error(), "{what}: {response:?}");
        victim.answers_others().await;
    }
    victim.is_unharmed().await;
}
