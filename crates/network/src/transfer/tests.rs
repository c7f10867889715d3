//! Fetches from providers that are honest, and from those that are not.

mod support;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use self::support::{Network, Tamper, blob, item, run};
use super::*;
use crate::contents::{Contents, ContentsId, Item, Kind};
use crate::pace::Pace;

const WHOLE: usize = range::RANGE_BYTES as usize;

#[tokio::test]
async fn an_item_comes_from_an_honest_provider() {
    for size in [1, 20_000, WHOLE, 3 * WHOLE + 5] {
        let bytes = blob(size);
        let mut network = Network::new();
        let provider = network.honest(&[&bytes]);
        let fetched = network.fetcher().item(&item(&bytes), &[provider]).await.unwrap();
        assert!(fetched == bytes);
        assert!(network.misbehaved().is_empty());
    }
}

#[tokio::test]
async fn several_providers_share_the_work() {
    let bytes = blob(24 * WHOLE);
    let mut network = Network::new();
    let providers = [(); 3].map(|()| network.honest(&[&bytes]));
    let fetched = network.fetcher().item(&item(&bytes), &providers).await.unwrap();
    assert!(fetched == bytes);
    for provider in providers {
        assert!(network.sent_by(provider) >= WHOLE as u64, "each sent something");
    }
    let sent: u64 = providers.iter().map(|provider| network.sent_by(*provider)).sum();
    assert!(sent < 30 * WHOLE as u64, "{sent}");
}

#[tokio::test]
async fn who_does_not_have_it_is_passed_over() {
    let bytes = blob(3 * WHOLE);
    let mut network = Network::new();
    let without = [(); 5].map(|()| network.honest(&[]));
    let with = network.honest(&[&bytes]);
    let providers = [without.as_slice(), &[with]].concat();
    let fetcher = network.fetcher();
    assert!(fetcher.item(&item(&bytes), &providers).await.unwrap() == bytes);
    let error = fetcher.item(&item(&bytes), &without).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
    let error = fetcher.item(&item(&bytes), &[]).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
    assert!(network.misbehaved().is_empty());
}

#[tokio::test]
async fn streams_are_used_again() {
    let blobs = [blob(10), blob(20), blob(3 * WHOLE)];
    let mut network = Network::new();
    let provider = network.honest(&blobs.each_ref().map(Vec::as_slice));
    let fetcher = network.fetcher();
    for bytes in &blobs {
        assert!(fetcher.item(&item(bytes), &[provider]).await.unwrap() == *bytes);
    }
    assert_eq!(network.streams(), 2, "the large one takes a second");
}

#[tokio::test]
async fn what_is_served_is_read_and_hashed_once_if_it_fits() {
    let bytes = blob(6 * WHOLE);
    for (cache_bytes, loads) in [(64 << 20, 1..=1), (1 << 20, 2..=6)] {
        let mut network = Network::new();
        network.serve_limits.cache_bytes = cache_bytes;
        let provider = network.honest(&[&bytes]);
        assert!(network.fetcher().item(&item(&bytes), &[provider]).await.unwrap() == bytes);
        // Those who ask while it is being read share what is read.
        assert!(loads.contains(&network.loads_of(provider)), "{cache_bytes}");
    }
}

#[tokio::test]
async fn a_stream_that_ended_meanwhile_is_opened_again() {
    let bytes = blob(9 * WHOLE);
    let mut network = Network::new();
    network.serve_limits.requests = 2;
    let provider = network.honest(&[&bytes]);
    assert!(network.fetcher().item(&item(&bytes), &[provider]).await.unwrap() == bytes);
    assert!(network.streams() >= 5);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_reason_to_give_up() {
    let bytes = blob(8 * WHOLE);
    let mut network = Network::new();
    let unsteady = network.tampered(&[&bytes], Tamper::Cut, 5 * WHOLE / 2);
    assert!(network.fetcher().item(&item(&bytes), &[unsteady]).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_fetch_that_was_broken_off_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = blob(8 * WHOLE);
    let mut network = Network::in_directory(directory.path());
    let broken = network.tampered(&[&bytes], Tamper::Death, 5 * WHOLE);
    let error = network.fetcher().item(&item(&bytes), &[broken]).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)), "{error}");

    let mut network = Network::in_directory(directory.path());
    let honest = network.honest(&[&bytes]);
    assert!(network.fetcher().item(&item(&bytes), &[honest]).await.unwrap() == bytes);
    assert!(network.sent_by(honest) < 6 * WHOLE as u64, "three ranges were there");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_fetch_that_is_dropped_stops_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = blob(4 * WHOLE);
    let item = item(&bytes);
    let mut network = Network::in_directory(directory.path());
    // Each of two streams is silent in the middle of its second range.
    let silent = [network.tampered(&[&bytes], Tamper::Silence, 3 * WHOLE / 2)];
    let fetcher = network.fetcher();
    let mut fetching = Box::pin(fetcher.item(&item, &silent));
    while network.sent_by(silent[0]) < 3 * WHOLE as u64 {
        let wait = tokio::time::timeout(Duration::from_millis(10), &mut fetching).await;
        assert!(wait.is_err(), "{wait:?}");
    }
    drop(fetching);
    network.all_streams_closed().await;

    let honest = network.honest(&[&bytes]);
    assert!(network.fetcher().item(&item, &[honest]).await.unwrap() == bytes);
    assert!(network.sent_by(honest) < 3 * WHOLE as u64, "two ranges were there");
}

#[tokio::test]
async fn who_is_slow_is_overtaken() {
    let bytes = blob(6 * WHOLE);
    let mut network = Network::new();
    let slow = network.tampered(&[&bytes], Tamper::Slowness, 1000);
    let honest = network.honest(&[&bytes]);
    assert!(network.fetcher().item(&item(&bytes), &[slow, honest]).await.unwrap() == bytes);
    assert!(network.sent_by(slow) < WHOLE as u64);
    assert!(network.misbehaved().is_empty());
}

#[tokio::test]
async fn who_is_silent_is_passed_over() {
    for at in [0, 3, 5_000] {
        let bytes = blob(2 * WHOLE);
        let mut network = Network::new();
        let silent = network.tampered(&[&bytes], Tamper::Silence, at);
        let honest = network.honest(&[&bytes]);
        assert!(network.fetcher().item(&item(&bytes), &[silent, honest]).await.unwrap() == bytes);

        network.timing.stall = Duration::from_millis(100);
        let error = network.fetcher().item(&item(&bytes), &[silent]).await.unwrap_err();
        assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
        assert!(network.misbehaved().is_empty());
    }
}

#[tokio::test]
async fn who_is_dishonest_is_told_of_and_not_asked_again() {
    let bytes = blob(5 * WHOLE);
    for (tamper, at, fault) in [
        (Tamper::Flip, 0, Fault::Malformed),
        (Tamper::Flip, 4, Fault::WrongLength),
        (Tamper::Flip, 100, Fault::WrongBytes),
        (Tamper::Flip, WHOLE - 9000, Fault::WrongBytes),
        (Tamper::Endless, 1, Fault::WrongLength),
        (Tamper::Endless, 10, Fault::WrongBytes),
    ] {
        let mut network = Network::new();
        network.timing.patience = Duration::from_secs(60);
        let liar = network.tampered(&[&bytes], tamper, at);
        let honest = network.honest(&[&bytes]);
        let fetcher = network.fetcher();
        assert!(fetcher.item(&item(&bytes), &[liar, honest]).await.unwrap() == bytes);
        assert_eq!(network.misbehaved(), [(liar, fault)], "{tamper:?} at {at}");
        let streams = network.streams();
        let error = fetcher.item(&item(&bytes), &[liar]).await.unwrap_err();
        assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
        assert_eq!(network.streams(), streams);
    }
}

#[tokio::test]
async fn what_follows_a_response_is_not_taken() {
    let bytes = blob(WHOLE);
    let item = item(&bytes);
    let response = message::Head::BYTES + range::Range::nth(item.size, 0).encoded_bytes(item.size);
    let mut network = Network::new();
    let endless = network.tampered(&[&bytes], Tamper::Endless, response);
    let fetcher = network.fetcher();
    assert!(fetcher.item(&item, &[endless]).await.unwrap() == bytes);
    assert!(network.misbehaved().is_empty());
    // The zeros that come instead of the next response are a head, and say that nothing is there.
    let error = fetcher.item(&item, &[endless]).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_list_that_lies_is_not_the_providers_fault() {
    let bytes = blob(2 * WHOLE);
    let other = blob(2 * WHOLE + 1);
    let mut network = Network::new();
    let provider = network.honest(&[&bytes, &other]);
    let fetcher = network.fetcher();
    let honest = item(&bytes);
    for lie in [
        Item { size: honest.size + 1, ..honest },
        Item { size: 1, ..honest },
        Item { blake3: blake3::hash(b"another"), ..honest },
        Item { kind: Kind::Manifest, ..honest },
    ] {
        let error = fetcher.item(&lie, &[provider]).await.unwrap_err();
        assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
    }
    assert!(fetcher.item(&honest, &[provider]).await.unwrap() == bytes);
    assert!(network.misbehaved().is_empty());
}

#[tokio::test]
async fn the_sha256_is_what_counts() {
    let bytes = blob(2 * WHOLE);
    let lie = Item { sha256: wasm_exec_registry::Digest::of(b"another"), ..item(&bytes) };
    let mut network = Network::new();
    // It has these bytes under the digest of others.
    let provider = network.liar_with(lie.sha256, &bytes);
    let error = network.fetcher().item(&lie, &[provider]).await.unwrap_err();
    assert!(matches!(error, FetchError::WrongDigest(digest) if digest == lie.sha256), "{error}");
}

#[tokio::test]
async fn contents_come_whole_or_not_at_all() {
    let manifest = wasm_exec_registry::Manifest {
        links: [].into(),
        wasm: wasm_exec_registry::Digest::of(b"wasm"),
    };
    let contents = Contents::of([(&manifest, b"wasm".as_slice())]).unwrap().canonical();
    let stated = ContentsId {
        digest: wasm_exec_registry::Digest::of(contents.as_bytes()),
        size: contents.len() as u32,
    };
    let module = manifest.digest();
    let mut network = Network::new();
    let without = network.honest(&[]);
    let other = network.with_contents(module, "{\"items\":[]}");
    let large = network.with_contents(module, &" ".repeat(crate::contents::MAX_CONTENTS_BYTES + 1));
    let with = network.with_contents(module, &contents);
    let fetcher = network.fetcher();
    let providers = [without, other, large, with];
    let fetched = fetcher.contents(module, Some(stated), &providers).await.unwrap();
    assert!(fetched == contents.as_bytes());
    assert!(fetcher.contents(module, None, &[with]).await.unwrap() == contents.as_bytes());
    let wrong = ContentsId { size: stated.size - 1, ..stated };
    let error = fetcher.contents(module, Some(wrong), &providers).await.unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
    assert!(network.misbehaved().is_empty());
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream() {
    let bytes = blob(100);
    let network = Network::new();
    for request in [&[0][..], &[1, 9], &[3, 1, 2, 3], &[255; 256]] {
        let ended = network.say(&[&bytes], request).await;
        assert!(matches!(ended, Err(ServeError::Invalid)), "{ended:?}");
    }
    let ended = network.say(&[&bytes], &[33, 1, 0]).await;
    assert!(matches!(ended, Err(ServeError::Io(_))), "{ended:?}");
    assert!(network.say(&[&bytes], &[]).await.is_ok());
}

#[tokio::test]
async fn a_response_that_is_not_taken_is_given_up() {
    let bytes = blob(2 * WHOLE);
    let mut network = Network::new();
    network.serve_limits.response = Duration::from_millis(50);
    let request = message::Request::Range {
        item: item(&bytes),
        range: range::Range::nth(bytes.len() as u64, 0),
    };
    let ended = network.say_and_wait(&[&bytes], &request.to_bytes()).await;
    assert!(matches!(ended, Err(ServeError::Stalled)), "{ended:?}");

    network.serve_limits.idle = Duration::from_millis(50);
    assert!(network.say_and_wait(&[&bytes], &[]).await.is_ok(), "nothing was asked");
}

/// A provider answers as often as the peer may ask, on all its streams together, and then not yet.
#[tokio::test]
async fn whoever_asks_faster_than_its_pace_waits() {
    let bytes = blob(100);
    let mut network = Network::new();
    network.pace = Pace::new(0, 3, Instant::now());
    let request = message::Request::Range {
        item: item(&bytes),
        range: range::Range::nth(bytes.len() as u64, 0),
    };
    let requests = [request.to_bytes(), request.to_bytes()].concat();
    let blobs = [&bytes[..]];
    assert!(network.say(&blobs, &requests).await.is_ok());
    // Two more are one too many.
    let asking = network.say(&blobs, &requests);
    assert!(tokio::time::timeout(Duration::from_millis(50), asking).await.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_flipped_byte_anywhere_is_refused(size in 1..100_000_usize, at: prop::sample::Index) {
        run(async {
            let bytes = blob(size);
            let item = item(&bytes);
            let response =
                message::Head::BYTES + range::Range::nth(item.size, 0).encoded_bytes(item.size);
            let mut network = Network::new();
            let liar = network.tampered(&[&bytes], Tamper::Flip, at.index(response));
            let error = network.fetcher().item(&item, &[liar]).await.unwrap_err();
            assert!(matches!(error, FetchError::Unavailable(_)), "{error}");
            assert_eq!(network.misbehaved().len(), 1);
        });
    }

    #[test]
    fn a_cut_anywhere_is_gone_on_from(cut in 0..3 * WHOLE) {
        run(async {
            let directory = tempfile::tempdir().unwrap();
            let bytes = blob(2 * WHOLE + 99);
            let mut network = Network::in_directory(directory.path());
            let broken = network.tampered(&[&bytes], Tamper::Death, cut);
            let honest = network.honest(&[&bytes]);
            let _ = network.fetcher().item(&item(&bytes), &[broken]).await;
            let fetched = network.fetcher().item(&item(&bytes), &[broken, honest]).await.unwrap();
            assert!(fetched == bytes);
            assert!(network.misbehaved().is_empty());
        });
    }
}
