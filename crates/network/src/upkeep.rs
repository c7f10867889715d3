//! What a node does by itself: it passes news on, compares what it knows with others, has copies made
//! where some are missing, and lets its own names not expire.

use std::future::pending;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use wasm_exec_registry::Row;

use crate::core::repair::Action;
use crate::core::sync::{Answer, Round};
use crate::protocol::{MAX_RECORDS, Request, Response};
use crate::rows;
use crate::shared::{News, Queues, Shared, now};

/// How often what is due is looked for when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How often records are looked at for those that expire.
const REFRESHING: Duration = Duration::from_secs(600);

/// How often the addresses of peers are written at most.
const REMEMBERING: Duration = Duration::from_secs(60);

/// How many rows share a transaction.
const ROWS: usize = 512;

/// How many peers are told at once.
const TOLD_AT_ONCE: usize = 64;

/// Starts all that; it ends when the set is dropped.
pub(crate) fn start(shared: &Arc<Shared>, queues: Queues) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tell(shared.clone(), queues.news));
    tasks.spawn(write(shared.clone(), queues.rows));
    tasks.spawn(tend(shared.clone()));
    tasks.spawn(refresh(shared.clone()));
    tasks.spawn(remember(shared.clone()));
    tasks
}

/// Passes records on to all peers.
async fn tell(shared: Arc<Shared>, mut queue: mpsc::Receiver<News>) {
    let mut news = Vec::new();
    while queue.recv_many(&mut news, MAX_RECORDS).await > 0 {
        let news = std::mem::take(&mut news);
        let Some(node) = shared.node() else { continue };
        let tellings = shared.live().into_iter().filter_map(|peer| {
            let of_others = news.iter().filter(|news| news.from != Some(peer));
            let records: Vec<_> = of_others.map(|news| news.record.clone()).collect();
            (!records.is_empty()).then(|| node.ask(peer, Request::Announce(records)))
        });
        futures_util::stream::iter(tellings)
            .for_each_concurrent(TOLD_AT_ONCE, async |telling| {
                if let Err(error) = telling.await {
                    tracing::debug!(%error, "a peer was not told");
                }
            })
            .await;
    }
}

/// Writes rows that nobody waits for.
async fn write(shared: Arc<Shared>, mut queue: mpsc::Receiver<Row>) {
    let mut rows = Vec::new();
    while queue.recv_many(&mut rows, ROWS).await > 0 {
        if let Err(error) = shared.library.local().write(std::mem::take(&mut rows)).await {
            tracing::warn!(%error, "what peers said is not on the disk");
        }
    }
}

/// Compares records and has copies made, as the core says.
async fn tend(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = FuturesUnordered::new();
    let mut actions = FuturesUnordered::new();
    loop {
        let (peers, planned) = due(&shared);
        rounds.extend(peers.into_iter().map(|peer| compare(&shared, peer)));
        actions.extend(planned.into_iter().map(|action| act(&shared, action)));
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.changed.notified() => {}
            () = ended(&mut rounds) => {}
            () = ended(&mut actions) => {}
        }
    }
}

/// With whom to compare records now, and what to do about copies.
fn due(shared: &Shared) -> (Vec<PeerId>, Vec<Action>) {
    let (now, mut random) = (shared.elapsed(), rand::rng());
    let mut knowledge = shared.knowledge();
    let schedule = &mut knowledge.schedule;
    let peers = iter::from_fn(|| schedule.begin(now, &mut random)).collect();
    (peers, knowledge.repair.plan(now, &mut rand::rng()))
}

/// Waits until one of those has ended; for ever if there are none.
async fn ended<F: Future<Output = ()>>(futures: &mut FuturesUnordered<F>) {
    if futures.next().await.is_none() {
        pending::<()>().await;
    }
}

/// Learns what a peer knows.
async fn compare(shared: &Shared, peer: PeerId) {
    let complete = ask_all(shared, peer).await;
    let mut knowledge = shared.knowledge();
    knowledge.schedule.ended(&peer);
    if complete && knowledge.repair.live().contains(&peer) {
        knowledge.compared.insert(peer);
    }
}

/// Whether the peer answered to the end.
async fn ask_all(shared: &Shared, peer: PeerId) -> bool {
    let Some(node) = shared.node() else { return false };
    let mut round = {
        let mut knowledge = shared.knowledge();
        let knowledge = &mut *knowledge;
        Round::new(knowledge.fingerprints.summary(&knowledge.index))
    };
    while let Some(ask) = round.ask() {
        let answer = match node.ask(peer, ask.into()).await {
            Ok(Response::Summary(fingerprints)) => Answer::Summary(fingerprints),
            Ok(Response::Parts(parts)) => Answer::Parts(parts),
            Ok(Response::Records(records)) => {
                shared.hear_all(&records, peer).await;
                Answer::Found
            }
            refused => {
                tracing::debug!(%peer, ?refused, "records were not compared");
                return false;
            }
        };
        let index = &shared.knowledge().index;
        if let Err(error) = round.answered(answer, index, &mut rand::rng()) {
            tracing::debug!(%peer, %error, "a peer compares what it should not");
            return false;
        }
    }
    true
}

async fn act(shared: &Shared, action: Action) {
    match action {
        Action::AskHolds { peer, keys } => {
            let answered = match shared.node() {
                Some(node) => node.ask(peer, Request::Holds(keys)).await.ok(),
                None => None,
            };
            let now = shared.elapsed();
            let repair = &mut shared.knowledge().repair;
            match answered {
                Some(Response::Held(held)) => repair.told(now, &peer, &held),
                _ => repair.not_told(now, &peer, &mut rand::rng()),
            }
        }
        Action::Store { peer, key } => match shared.record(&key) {
            Some(record) => {
                shared.ask_to_store(peer, &record).await;
            }
            None => shared.knowledge().repair.dropped(&key),
        },
        Action::Release { key } => {
            if let Some(record) = shared.record(&key) {
                shared.let_go(&record, Vec::new()).await;
            }
        }
    }
}

/// Issues own records anew before they expire, and forgets others' that have.
async fn refresh(shared: Arc<Shared>) {
    let mut ticks = interval(REFRESHING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.refresh_own().await;
        let expired = {
            let mut knowledge = shared.knowledge();
            let expired = knowledge.index.expire(now());
            expired.iter().for_each(|record| knowledge.fingerprints.changed(&record.key()));
            expired
        };
        for record in &expired {
            shared.let_go(record, vec![rows::no_record(&record.key())]).await;
        }
        if !expired.is_empty() {
            shared.meanings_changed();
        }
    }
}

/// Writes down where peers are, so that a restart finds them: the first ones at once, later changes
/// together.
async fn remember(shared: Arc<Shared>) {
    loop {
        shared.peers_changed.notified().await;
        let Some(node) = shared.node() else { continue };
        let peers = node.peers();
        let reachable = peers.iter().filter(|peer| !peer.addresses.is_empty() && !peer.relayed);
        let reachable: Vec<_> = reachable.map(|peer| (peer.id, peer.addresses.clone())).collect();
        if reachable.is_empty() {
            continue;
        }
        if let Err(error) = rows::remember_peers(shared.library.local(), &reachable).await {
            tracing::warn!(%error, "where peers are is not on the disk");
        }
        sleep(REMEMBERING).await;
    }
}
