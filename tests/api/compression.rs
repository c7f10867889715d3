//! Compressed request bodies: gzip and zstd, never expanded past the limit.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::json;

use crate::support::guests::DOUBLE;
use crate::support::server::Server;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn call() -> Vec<u8> {
    json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string().into_bytes()
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let server = Server::start().await;
    for (coding, body) in [
        ("gzip", gzip(&call())),
        ("GZip", gzip(&call())),
        ("x-gzip", gzip(&call())),
        ("zstd", zstd(&call())),
        ("identity", call()),
        // Several members one after the other are one gzip file.
        ("gzip", [gzip(&call()[..10]), gzip(&call()[10..])].concat()),
    ] {
        let request = server.post("/v1/call").header("content-encoding", coding);
        request.json_text(body).await.ok(json!({ "results": [4] }));
    }
    let put = server.put("/v1/modules/utils").header("content-encoding", "gzip");
    put.wat(gzip(DOUBLE.as_bytes())).await.created();
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused() {
    let server = Server::start().await;
    let truncated = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 6);
        bytes
    };
    let mut damaged = gzip(&call());
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    for (coding, body) in [
        ("gzip", call()),
        ("gzip", zstd(&call())),
        ("gzip", truncated(gzip(&call()))),
        ("gzip", damaged),
        ("zstd", call()),
        ("zstd", gzip(&call())),
        ("zstd", truncated(zstd(&call()))),
    ] {
        let request = server.post("/v1/call").header("content-encoding", coding);
        let problem = request.json_text(body).await.problem(400, "invalid-request");
        problem.says(&[coding]);
    }
}

#[tokio::test]
async fn other_codings_are_refused_with_those_that_are_known() {
    let server = Server::start().await;
    for coding in ["br", "deflate", "compress", "gzip, gzip"] {
        let request = server.post("/v1/call").header("content-encoding", coding);
        let problem = request.json_text(call()).await.problem(415, "unsupported-media-type");
        problem.says(&[coding]).has_header("accept-encoding", "gzip, zstd");
    }
    let request = server.post("/v1/call").header("content-encoding", "gzip");
    let twice = request.header("content-encoding", "gzip").json_text(gzip(&gzip(&call()))).await;
    twice.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn a_bomb_is_refused_at_the_limit() {
    const MAXIMUM: usize = 1 << 20;
    let server = Server::with(|setup| setup.server.request_bytes = MAXIMUM as u64).await;
    let spaces = |size: usize| {
        let mut body = call();
        body.resize(size, b' ');
        body
    };
    for (coding, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
        let request = |size: usize| {
            let body = compress(&spaces(size));
            assert!(body.len() < MAXIMUM / 10, "{coding} compresses {size} to {}", body.len());
            server.post("/v1/call").header("content-encoding", coding).json_text(body)
        };
        request(MAXIMUM).await.ok(json!({ "results": [4] }));
        for size in [MAXIMUM + 1, 64 * MAXIMUM] {
            let problem = request(size).await.problem(413, "too-large");
            problem.has(json!({ "maximum": MAXIMUM }));
        }
    }
}
