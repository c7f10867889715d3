//! What a node does by itself: it passes news on, compares what it knows with others, has copies made
//! where some are missing, and lets its own names not expire.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::pending;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::Key;
use crate::audits::audit;
use crate::core::repair::Action;
use crate::core::sync::{Answer, Round};
use crate::node::{REQUEST_BYTES_PER_SECOND, REQUESTS_PER_SECOND};
use crate::offers::offer;
use crate::protocol::{CopyOf, MAX_RECORDS, Request, Response};
use crate::record::Seconds;
use crate::rows;
use crate::shared::{News, Queues, Shared, now};

/// How often what is due is looked for when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How often copies are planned at most, which looks at thousands of records, while things happen.
const BETWEEN_PLANS: Duration = Duration::from_millis(200);

/// How often records are looked at for those that expire.
const REFRESHING: Duration = Duration::from_secs(600);

/// How long what has expired is remembered, and its content kept: a clock may be wrong. A week.
pub(crate) const GRACE: Seconds = 7 * 24 * 60 * 60;

/// How often the addresses of peers are written at most.
const REMEMBERING: Duration = Duration::from_secs(60);

/// How long comparing records with one peer may take.
const ROUND: Duration = Duration::from_secs(30);

/// How many rows share a transaction.
const ROWS: usize = 512;

/// How much of what a peer takes is for news: half of the bytes, and a fifth of the requests. The rest is
/// for what else it is asked.
const NEWS_BYTES_PER_SECOND: u32 = REQUEST_BYTES_PER_SECOND / 2;
const NEWS_PER_SECOND: u32 = REQUESTS_PER_SECOND / 5;

/// How many records may wait to be told to one peer.
const MAX_UNTOLD: usize = 1024;

/// Starts all that; it ends when the set is dropped.
pub(crate) fn start(shared: &Arc<Shared>, queues: Queues) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tell(shared.clone(), queues.news));
    tasks.spawn(write(shared.clone(), queues.unwritten));
    tasks.spawn(tend(shared.clone()));
    tasks.spawn(refresh(shared.clone()));
    tasks.spawn(remember(shared.clone()));
    tasks.spawn(audit(shared.clone()));
    tasks.spawn(offer(shared.clone(), queues.unoffered));
    tasks
}

/// Passes records on to all peers, to each as fast as it takes them and this node may speak to it.
async fn tell(shared: Arc<Shared>, mut queue: mpsc::Receiver<News>) {
    let mut untold = Untold::default();
    let mut telling = FuturesUnordered::new();
    let mut news = Vec::new();
    loop {
        tokio::select! {
            count = queue.recv_many(&mut news, MAX_RECORDS) => {
                if count == 0 {
                    return;
                }
                untold.add(&shared.live(), news.drain(..));
            }
            Some(peer) = telling.next() => untold.told(&peer),
        }
        for (peer, records) in untold.next() {
            let shared = &shared;
            let rest = rest_after(records.iter().map(Bytes::len).sum());
            telling.push(async move {
                if let Some(node) = shared.node()
                    && let Err(error) = node.ask(peer, Request::Announce(records)).await
                {
                    tracing::debug!(%peer, %error, "a peer was not told");
                }
                sleep(rest).await;
                peer
            });
        }
    }
}

/// How long a peer is left alone after it was told so many bytes.
fn rest_after(bytes: usize) -> Duration {
    let for_bytes = Duration::from_secs(bytes as u64) / NEWS_BYTES_PER_SECOND;
    for_bytes.max(Duration::from_secs(1) / NEWS_PER_SECOND)
}

/// What peers are still to be told.
#[derive(Debug, Default)]
struct Untold {
    records: HashMap<PeerId, VecDeque<Bytes>>,
    /// Peers that are being told something.
    busy: HashSet<PeerId>,
}

impl Untold {
    /// What finds no room is told when records are compared.
    fn add(&mut self, live: &[PeerId], news: impl Iterator<Item = News>) {
        self.records.retain(|peer, _| live.contains(peer));
        for News { record, from } in news {
            for peer in live.iter().filter(|peer| from != Some(**peer)) {
                let records = self.records.entry(*peer).or_default();
                if records.len() < MAX_UNTOLD {
                    records.push_back(record.clone());
                }
            }
        }
    }

    fn told(&mut self, peer: &PeerId) {
        self.busy.remove(peer);
    }

    /// What to tell now, and whom: those that are told nothing yet.
    fn next(&mut self) -> Vec<(PeerId, Vec<Bytes>)> {
        let mut next = Vec::new();
        for (peer, records) in &mut self.records {
            if !records.is_empty() && self.busy.insert(*peer) {
                let count = records.len().min(MAX_RECORDS);
                next.push((*peer, records.drain(..count).collect()));
            }
        }
        next
    }
}

/// Writes records that nobody waits for, as they are by then.
async fn write(shared: Arc<Shared>, mut queue: mpsc::Receiver<Key>) {
    let mut keys = Vec::new();
    while queue.recv_many(&mut keys, ROWS).await > 0 {
        let rows = {
            let index = &shared.knowledge().index;
            let row = |key| index.get(&key).map_or_else(|| rows::no_record(&key), rows::record);
            keys.drain(..).map(row).collect()
        };
        if let Err(error) = shared.library.local().write(rows).await {
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
    let mut planned_at = None;
    loop {
        shared.fetching.landed().forget_old(Instant::now());
        let (peers, planned) = due(&shared, &mut planned_at);
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
fn due(shared: &Shared, planned_at: &mut Option<Duration>) -> (Vec<PeerId>, Vec<Action>) {
    let (now, mut random) = (shared.elapsed(), rand::rng());
    let mut knowledge = shared.knowledge();
    let schedule = &mut knowledge.schedule;
    let peers = iter::from_fn(|| schedule.begin(now, &mut random)).collect();
    let planned = match planned_at {
        Some(at) if now < *at + BETWEEN_PLANS => Vec::new(),
        _ => {
            *planned_at = Some(now);
            knowledge.repair.plan(now, &mut rand::rng())
        }
    };
    (peers, planned)
}

/// Waits until one of those has ended; for ever if there are none.
async fn ended<F: Future<Output = ()>>(futures: &mut FuturesUnordered<F>) {
    if futures.next().await.is_none() {
        pending::<()>().await;
    }
}

/// Learns what a peer knows, as far as it tells in time.
async fn compare(shared: &Shared, peer: PeerId) {
    let mut new = 0;
    let complete = timeout(ROUND, ask_all(shared, peer, &mut new)).await.unwrap_or(false);
    let now = shared.elapsed();
    let mut knowledge = shared.knowledge();
    knowledge.schedule.ended(&peer);
    if complete {
        knowledge.compared.told_all(&peer);
    } else if new > 0 {
        knowledge.compared.told_some(&peer, now);
    }
}

/// Whether the peer answered to the end. Counts what it told that was new.
async fn ask_all(shared: &Shared, peer: PeerId, new: &mut usize) -> bool {
    let Some(node) = shared.node() else { return false };
    let mut round = {
        let mut knowledge = shared.knowledge();
        let knowledge = &mut *knowledge;
        Round::new(knowledge.fingerprints.summary(&knowledge.index))
    };
    while let Some(ask) = round.ask() {
        let answer = match node.ask(peer, ask.into()).await {
            Ok(Response::Summary(fingerprints)) => Answer::Summary(fingerprints),
            Ok(Response::Pages(pages)) => Answer::Pages(pages),
            Ok(Response::Records(records)) => {
                *new += shared.hear_all(&records, peer).await;
                Answer::Found
            }
            refused => {
                tracing::debug!(%peer, ?refused, "records were not compared");
                return false;
            }
        };
        let knowledge = shared.knowledge();
        let taken = round.answered(answer, &knowledge.index, &mut rand::rng());
        drop(knowledge);
        if let Err(error) = taken {
            tracing::debug!(%peer, %error, "a peer compares what it should not");
            return false;
        }
    }
    round.is_complete()
}

async fn act(shared: &Shared, action: Action) {
    match action {
        Action::AskHolds { peer, keys } => {
            let copies = {
                let index = &shared.knowledge().index;
                keys.iter().filter_map(|key| index.get(key)).map(CopyOf::record).collect()
            };
            let answered = match shared.node() {
                Some(node) => node.ask(peer, Request::Holds(copies)).await.ok(),
                None => None,
            };
            let now = shared.elapsed();
            let mut knowledge = shared.knowledge();
            match answered {
                Some(Response::Held(held)) => {
                    // A name may have been taken anew while it answered.
                    let held: Vec<Key> = held
                        .iter()
                        .filter(|copy| knowledge.means(copy))
                        .map(|copy| copy.key)
                        .collect();
                    knowledge.repair.told(now, &peer, &held);
                }
                _ => knowledge.repair.not_told(now, &peer, &mut rand::rng()),
            }
        }
        Action::Store { peer, key } => match shared.record(&key) {
            Some(record) => {
                shared.ask_to_store(peer, &record).await;
            }
            None => shared.knowledge().repair.released(&key),
        },
        Action::Release { key } => {
            if let Some(record) = shared.record(&key) {
                shared.release(&record, Vec::new()).await;
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
        forget_expired(&shared, now()).await;
    }
}

/// Forgets what has expired long ago, and lets its content go.
pub(crate) async fn forget_expired(shared: &Shared, now: Seconds) {
    let expired = {
        let mut knowledge = shared.knowledge();
        let expired = knowledge.index.expire(now.saturating_sub(GRACE));
        expired.iter().for_each(|record| knowledge.fingerprints.changed(&record.key()));
        expired
    };
    for record in &expired {
        shared.release(record, vec![rows::no_record(&record.key())]).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::PeerBounds;
    use crate::protocol::MAX_REQUEST_BYTES;
    use crate::record::MAX_RECORD_BYTES;

    fn news(byte: u8, from: Option<PeerId>) -> News {
        News { record: Bytes::from(vec![byte]), from }
    }

    fn told(untold: &mut Untold) -> HashMap<PeerId, Vec<Bytes>> {
        untold.next().into_iter().collect()
    }

    #[test]
    fn a_silent_peer_holds_up_nobody_but_itself() {
        let [silent, other] = [(); 2].map(|()| PeerId::random());
        let mut untold = Untold::default();
        untold.add(&[silent, other], [news(1, None)].into_iter());
        assert_eq!(told(&mut untold).len(), 2);
        untold.told(&other);
        untold.add(&[silent, other], [news(2, None), news(3, Some(other))].into_iter());
        let next = told(&mut untold);
        assert_eq!(next, HashMap::from([(other, vec![Bytes::from_static(&[2])])]));
        // What waits for it is bounded, and goes with it.
        untold.add(&[silent, other], (0..=u8::MAX).cycle().take(2000).map(|n| news(n, None)));
        assert_eq!(untold.records[&silent].len(), MAX_UNTOLD);
        untold.add(&[other], std::iter::empty());
        assert!(!untold.records.contains_key(&silent));
    }

    /// Whoever does nothing but tell news keeps within what peers take, with room for other requests.
    #[test]
    fn news_are_told_no_faster_than_peers_take_them() {
        let bounds = PeerBounds::default();
        for records in [1, 2, MAX_RECORDS / 2, MAX_RECORDS] {
            let bytes = records * MAX_RECORD_BYTES;
            let messages = 1.0 / rest_after(bytes).as_secs_f64();
            assert!(messages <= f64::from(bounds.requests_per_second) / 2.0, "{records}");
            let sent = messages * bytes as f64;
            assert!(sent <= f64::from(bounds.bytes_per_second) * 0.6, "{records}");
            assert!((bytes as u64) < MAX_REQUEST_BYTES);
        }
    }
}
