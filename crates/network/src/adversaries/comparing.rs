//! Peers that lie about what records they know of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::support::{Evil, Honest, Wiles, eventually};
use crate::Key;
use crate::core::sync::MAX_ROUND_KEYS;
use crate::protocol::{Entry, MAX_ENTRIES, MAX_KEYS, PARTS, Refusal, Request, Response};

type Lie = fn(&Request) -> Option<Response>;

fn key(part: u8, number: usize) -> Key {
    let mut bytes = [part; Key::BYTES];
    bytes[1..9].copy_from_slice(&(number as u64).to_be_bytes());
    Key::from_bytes(bytes)
}

fn entries(part: u8, count: usize) -> Vec<Entry> {
    (0..count).map(|number| Entry { key: key(part, number), hash: Key::of(b"hash") }).collect()
}

fn pages(request: &Request, told: impl Fn(u8) -> Vec<Entry>) -> Option<Response> {
    let part_of = |from: &Key| from.as_bytes()[0];
    match request {
        Request::Pages(pages) => {
            Some(Response::Pages(pages.iter().map(|from| told(part_of(from))).collect()))
        }
        _ => None,
    }
}

fn summary(request: &Request, count: usize) -> Option<Response> {
    let lie = || Response::Summary(vec![Key::of(b"anything"); count]);
    matches!(request, Request::Summary).then(lie)
}

const LIES: [(&str, Lie); 11] = [
    ("no fingerprints", |request| summary(request, 0)),
    ("too few fingerprints", |request| summary(request, PARTS - 1)),
    ("too many fingerprints", |request| summary(request, PARTS + 1)),
    ("endless fingerprints", |request| summary(request, 200_000)),
    ("another answer", |request| matches!(request, Request::Summary).then_some(Response::Heard)),
    ("refusing", |_| Some(Response::Refused(Refusal::Failed))),
    ("unsorted", |request| pages(request, |part| entries(part, 100).into_iter().rev().collect())),
    ("twice", |request| pages(request, |part| entries(part, 1).repeat(2))),
    ("other pages", |request| pages(request, |part| entries(part.wrapping_add(1), 10))),
    ("too many entries", |request| pages(request, |part| entries(part, MAX_ENTRIES + 1))),
    ("nonsense found", |request| match request {
        Request::Find(_) => Some(Response::Records(vec![Bytes::from_static(b"nonsense"); 64])),
        request => pages(request, |part| entries(part, 1)),
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_records_teach_nothing_and_stop_nothing() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let mut liars = Vec::new();
    for (what, lie) in LIES {
        liars.push((what, Evil::start(Wiles::answering(lie), &[&one]).await));
    }
    for (what, liar) in &liars {
        eventually(what, async || (liar.asked() > 0).then_some(())).await;
    }
    assert_eq!(one.status().records.known, 0);
    two.register("utils", "double").await;
    one.until_loads("utils", b"double").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_always_more_is_asked_for_so_much_and_no_more() {
    let found = Arc::new(AtomicUsize::new(0));
    let counted = found.clone();
    let answers = move |request: &Request| match request {
        Request::Find(_) => {
            counted.fetch_add(1, Ordering::SeqCst);
            None
        }
        request => pages(request, |part| entries(part, MAX_ENTRIES)),
    };
    let honest = Honest::start(Vec::new()).await;
    let evil = Evil::start(Wiles::answering(answers), &[&honest]).await;
    eventually("it was asked for as much as may be", async || {
        (found.load(Ordering::SeqCst) == MAX_ROUND_KEYS / MAX_KEYS).then_some(())
    })
    .await;
    let compared = honest.shared().knowledge().compared.is_done(&evil.id());
    assert!(!compared, "what it did not tell is not known");
    assert_eq!(honest.status().records.known, 0);
}
