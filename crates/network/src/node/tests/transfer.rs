//! Transfer streams.

use std::time::Instant;

use libp2p::PeerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::support::{address, config, eventually, on_loopback, pair, start};
use crate::node::{Node, NodeConfig, OpenError, PeerBounds};

/// Sends so many bytes on a stream of its own, and returns how many the other side counted.
async fn send(from: &Node, to: &Node, bytes: usize) -> u64 {
    let mut stream = from.open(to.peer_id()).await.unwrap().compat();
    let piece = vec![7; 256 << 10];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(piece.len());
        stream.write_all(&piece[..now]).await.unwrap();
        left -= now;
    }
    stream.shutdown().await.unwrap();
    stream.read_u64().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_go_through() {
    const BYTES: usize = 50 << 20;
    for (what, config) in [
        ("memory", config as fn() -> NodeConfig),
        ("TCP", || on_loopback("/ip4/127.0.0.1/tcp/0")),
        ("QUIC", || on_loopback("/ip4/127.0.0.1/udp/0/quic-v1")),
    ] {
        let [one, other] = pair(config(), config()).await;
        let start = Instant::now();
        assert_eq!(send(&one, &other, BYTES).await, BYTES as u64);
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {:.0} MB/s", BYTES as f64 / seconds / 1e6);
        eventually("they are counted", || one.status().sent_bytes > BYTES as u64).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_opened_to_whoever_can_be_dialled() {
    let [one, other] = pair(config(), config()).await;
    assert_eq!(send(&other, &one, 1000).await, 1000);
    assert_eq!(one.open(PeerId::random()).await.err(), Some(OpenError::Unreachable));

    let found = start(NodeConfig { peers: vec![address(&one)], ..config() }).await;
    eventually("they have met", || found.peers().contains(&one.peer_id())).await;
    assert_eq!(send(&found, &one, 10).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_bound_are_dropped_and_places_come_free_again() {
    let bounds = PeerBounds { streams_at_once: 2, ..PeerBounds::default() };
    let [one, other] = pair(NodeConfig { bounds, ..config() }, config()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = other.open(one.peer_id()).await.unwrap().compat();
        stream.write_all(b"a byte or two").await.unwrap();
        stream.flush().await.unwrap();
        held.push(stream);
    }
    let mut refused = other.open(one.peer_id()).await.unwrap().compat();
    let _ = refused.write_all(b"more").await;
    let _ = refused.shutdown().await;
    let mut answer = Vec::new();
    let _ = refused.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    eventually("it is counted", || one.status().refusals.streams == 1).await;

    for mut stream in held {
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_u64().await.unwrap(), 13);
    }
    assert_eq!(send(&other, &one, 10).await, 10);
}
