//! Records that are forged, changed, old, or of another time or network.

use bytes::Bytes;
use libp2p::identity::Keypair;

use super::support::{Evil, Honest, Serving, Wiles, content, eventually, first, forge, sign};
use crate::contents::ContentsId;
use crate::network_id::NetworkId;
use crate::node::PeerBounds;
use crate::protocol::{Receipt, Refusal, Request, Response};
use crate::record::{Content, MAX_CLOCK_SKEW, NameRecord};
use crate::shared::now;

async fn one_and_evil(wiles: Wiles) -> (Honest, Evil) {
    let honest = Honest::start(Vec::new()).await;
    let evil = Evil::start(wiles, &[&honest]).await;
    (honest, evil)
}

async fn refused(evil: &Evil, honest: &Honest, record: &Bytes, why: Refusal) {
    assert_eq!(evil.store(honest, record).await, Receipt::Refused(why));
    evil.announce(honest, vec![record.clone()]).await;
    assert_eq!(honest.status().records.known, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_signed_is_nobodys() {
    let (honest, evil) = one_and_evil(Wiles::serving(Serving::Nothing)).await;
    for owner in [honest.id(), Keypair::generate_ed25519().public().to_peer_id()] {
        let record = NameRecord { owner, ..evil.record("utils", content(b"evil")) };
        refused(&evil, &honest, &forge(&evil.keypair, &record), Refusal::Invalid).await;
    }
    honest.until_unknown("utils").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_is_seen_wherever_it_is() {
    let (honest, evil) = one_and_evil(Wiles::serving(Serving::Nothing)).await;
    let record = evil.signed("utils", content(b"evil"));
    let mut changed = Vec::new();
    for index in (0..record.len()).step_by(8) {
        let mut bytes = record.to_vec();
        bytes[index] ^= 1;
        changed.push(bytes.into());
    }
    changed.push(record.slice(..record.len() - 1));
    changed.push([&record[..], &[0]].concat().into());
    for records in changed.chunks(64) {
        evil.announce(&honest, records.to_vec()).await;
    }
    assert_eq!(honest.status().records.known, 0);
    evil.announce(&honest, vec![record]).await;
    assert_eq!(honest.status().records.known, 1);
}

/// Whoever goes on with it is not heard any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_is_counted_and_not_let_in_in_the_end() {
    let few = PeerBounds {
        requests_per_second: 1,
        request_burst: 40,
        patience: 1,
        ..PeerBounds::default()
    };
    let honest = Honest::with(Vec::new(), few).await;
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&honest]).await;
    let record = evil.record("utils", content(b"evil"));
    let forged = forge(&Keypair::generate_ed25519(), &record);
    refused(&evil, &honest, &forged, Refusal::Invalid).await;
    eventually("both are counted", async || (honest.refused("forged") == 2).then_some(())).await;
    assert_eq!(honest.refused("bans"), 0);
    eventually("it is banned", async || {
        let _ = evil.node.ask(honest.id(), Request::Announce(vec![forged.clone()])).await;
        (honest.refused("bans") == 1).then_some(())
    })
    .await;
    assert!(honest.refused("forged") > 2 && honest.refused("over_rate") > 0);
    eventually("it is gone", async || honest.status().peers.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgeries_that_were_asked_for_are_counted() {
    let keypair = Keypair::generate_ed25519();
    let forged = forge(&Keypair::generate_ed25519(), &first(&keypair, "utils", content(b"evil")));
    let answers = move |request: &Request| match request {
        Request::Find(_) => Some(Response::Records(vec![forged.clone()])),
        _ => None,
    };
    let (honest, _evil) = one_and_evil(Wiles::answering(answers)).await;
    honest.until_unknown("utils").await;
    eventually("it is counted", async || (honest.refused("forged") > 0).then_some(())).await;
}

/// What is no record is none for ever, unlike what is out of time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgeries_are_remembered_and_what_may_come_to_be_valid_is_not() {
    let (honest, evil) = one_and_evil(Wiles::serving(Serving::Nothing)).await;
    let record = evil.record("utils", content(b"evil"));
    let forged = forge(&Keypair::generate_ed25519(), &record);
    let early = NameRecord { issued_at: now() + 60 * 60, ..record.clone() };
    let early = sign(&evil.keypair, &early);
    for _ in 0..2 {
        refused(&evil, &honest, &forged, Refusal::Invalid).await;
        refused(&evil, &honest, &early, Refusal::OutOfTime).await;
    }
    assert!(honest.shared().is_forged(&forged));
    assert!(!honest.shared().is_forged(&early));
    evil.announce(&honest, vec![sign(&evil.keypair, &record)]).await;
    assert_eq!(honest.status().records.known, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_other_networks_and_times_are_refused() {
    let (honest, evil) = one_and_evil(Wiles::serving(Serving::Nothing)).await;
    let record = evil.record("utils", content(b"evil"));
    let network = NetworkId::private(&[1; 32]);
    let elsewhere = NameRecord { network, ..record.clone() };
    refused(&evil, &honest, &sign(&evil.keypair, &elsewhere), Refusal::OtherNetwork).await;
    // With some seconds to spare, for a test that is slow.
    let ahead = |by| NameRecord { issued_at: now() + by, ..record.clone() };
    let future = sign(&evil.keypair, &ahead(MAX_CLOCK_SKEW + 60));
    refused(&evil, &honest, &future, Refusal::OutOfTime).await;
    let an_hour = sign(&evil.keypair, &ahead(60 * 60));
    refused(&evil, &honest, &an_hour, Refusal::OutOfTime).await;
    let past = NameRecord { issued_at: now() - 1000, not_after: now() - 1, ..record.clone() };
    refused(&evil, &honest, &sign(&evil.keypair, &past), Refusal::OutOfTime).await;
    evil.announce(&honest, vec![sign(&evil.keypair, &ahead(MAX_CLOCK_SKEW - 60))]).await;
    assert_eq!(honest.status().records.known, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_superseded_stays_so() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&one, &two]).await;
    one.register("utils", "double").await;
    let name = one.canonical("utils");
    two.until_loads(&name, b"double").await;
    let record = |node: &Honest| {
        let knowledge = node.shared().knowledge();
        knowledge.index.of_name(&one.id(), &"utils".parse().unwrap()).cloned().unwrap()
    };
    let old = record(&one);
    one.delete("utils").await;
    two.until_unknown(&name).await;
    let tombstone = record(&one);
    for node in [&one, &two] {
        evil.announce(node, vec![old.bytes().clone()]).await;
        let receipt = evil.store(node, old.bytes()).await;
        assert_eq!(receipt, Receipt::Newer(tombstone.bytes().clone()));
        node.until_unknown(&name).await;
    }
    // Of its own names the attacker has older ones and newer ones, too.
    let older = evil.record("other", content(b"evil"));
    let newer = sign(&evil.keypair, &older.refreshed(now()).unwrap());
    evil.announce(&two, vec![newer.clone(), sign(&evil.keypair, &older)]).await;
    let receipt = evil.store(&two, &sign(&evil.keypair, &older)).await;
    assert_eq!(receipt, Receipt::Newer(newer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_never_means_another_module() {
    let (honest, evil) = one_and_evil(Wiles::serving(Serving::Nothing)).await;
    let record = evil.record("utils@1.0.0", content(b"good"));
    evil.announce(&honest, vec![sign(&evil.keypair, &record)]).await;
    let Content { module, contents, bytes } = content(b"evil");
    let other = NameRecord { module, contents, bytes, sequence: 2, ..record };
    let other = sign(&evil.keypair, &other);
    assert_eq!(evil.store(&honest, &other).await, Receipt::Refused(Refusal::Invalid));
    let name = format!("{}:utils@1.0.0", evil.id());
    assert_eq!(honest.resolve(&name).await.unwrap(), content(b"good").module);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_state_what_is_not_so_hold_nothing_and_hide_nothing() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Nothing), &[&two]).await;
    // Without a name, so that nobody else is given a copy before it is called.
    one.register("", "double").await;
    let truth = content(b"double");
    let ContentsId { digest, size } = truth.contents;
    let lies = [
        ContentsId { digest: content(b"other").contents.digest, size },
        ContentsId { digest, size: size + 1 },
        ContentsId { digest, size: 1 },
    ];
    let lies = lies.map(|contents| Content { contents, ..truth });
    let sums = [truth.bytes - 1, truth.bytes + 1, 1].map(|bytes| Content { bytes, ..truth });
    for (number, lie) in lies.into_iter().chain(sums).enumerate() {
        let record = evil.signed(&format!("lie{number}"), lie);
        assert_eq!(evil.store(&two, &record).await, Receipt::Refused(Refusal::NoContent));
    }
    assert_eq!(two.status().records.held, 0);
    let honest = evil.signed("truth", truth);
    assert_eq!(evil.store(&two, &honest).await, Receipt::Stored);
    assert_eq!(two.status().records.held, 1);
    two.until_loads(&format!("{}:truth", evil.id()), b"double").await;
}

/// Who states lies of a module that is somebody else's does not keep anybody from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_anothers_module_do_not_hide_it() {
    let [one, two] = <[Honest; 2]>::try_from(Honest::network(2).await).ok().unwrap();
    let evil = Evil::start(Wiles::serving(Serving::Silent), &[&one, &two]).await;
    let truth = content(b"double");
    let mut records = Vec::new();
    for number in 0..32 {
        let contents = ContentsId { size: 100 + number, ..truth.contents };
        let lie = Content { contents, ..truth };
        records.push(sign(&evil.keypair, &first(&evil.keypair, &format!("lie{number}"), lie)));
    }
    evil.announce(&two, records).await;
    one.register("", "double").await;
    let keypair = Keypair::generate_ed25519();
    let honest = first(&keypair, "utils", truth);
    evil.announce(&two, vec![sign(&keypair, &honest)]).await;
    let name = format!("{}:utils", honest.owner);
    two.until_loads(&name, b"double").await;
    let lies = evil.streams();
    assert!(lies <= 8, "the record that was asked for comes first: {lies} streams");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_wrong_is_told() {
    let answers = |request: &Request| match request {
        Request::Store(_) => Some(Response::Receipt(Receipt::Refused(Refusal::OutOfTime))),
        _ => None,
    };
    let (honest, _evil) = one_and_evil(Wiles::answering(answers)).await;
    assert!(honest.try_register("utils", "double").await.is_err());
    eventually("it is counted", async || (honest.refused("own_out_of_time") > 0).then_some(()))
        .await;
}
