//! The open connections: how many there may be, and when one is closed for what it does not do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::{Client, ClientLimits, Network};
use crate::connection::{Activity, Phase, Snapshot};

/// How often connections are looked at, so how much later than its time one may be closed.
const SWEEP: Duration = Duration::from_secs(1);

/// How many are looked at in one go: some ten microseconds' work, for which others wait.
const SWEEP_SLICE: usize = 256;

/// How many of the connections that could make room for others are remembered at a time, so that
/// all are looked through only once for so many.
const CANDIDATES: usize = 64;

/// How many clients are known, those without a connection included, which are forgotten beyond that.
const CLIENTS: usize = 65_536;

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// How many may be open.
    pub(crate) total: usize,
    /// What one client may do.
    pub(crate) client: ClientLimits,
    /// How long a request's head may take to arrive.
    pub(crate) head_timeout: Duration,
    /// How long nothing may be asked, and how long an answer's next piece may wait to be taken.
    pub(crate) idle_timeout: Duration,
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many are open as may be, and requests run on all of them.
    Full,
    /// The client has as many open as it may have.
    Client,
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: ConnectionLimits,
    open: Mutex<Open>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By a number that they get in order, so that a sweep can go on where it stopped.
    entries: BTreeMap<u64, Entry>,
    /// How many are open and not told to close: in all, and by client.
    counted: usize,
    clients: HashMap<Network, Known>,
    /// Connections on which no request ran when all were looked through, the oldest first.
    candidates: VecDeque<(u64, Snapshot)>,
    finishing: bool,
}

#[derive(Debug)]
struct Entry {
    activity: Arc<Activity>,
    network: Network,
    seen: Snapshot,
    /// Since when it has been as it was seen.
    since: Instant,
    /// It was told to close and does not count any more.
    closing: bool,
}

/// A client and its open connections.
#[derive(Debug)]
struct Known {
    client: Arc<Client>,
    connections: usize,
}

/// An open connection. Dropping it says that it has ended.
#[derive(Debug)]
pub(crate) struct Admitted {
    connections: Arc<Connections>,
    id: u64,
    pub(crate) activity: Arc<Activity>,
    /// Whom it is from; `None` is not bound by limits.
    pub(crate) client: Option<Arc<Client>>,
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self { limits, open: Mutex::default(), changed: Notify::new() }
    }

    /// Takes a connection in. If there are as many as may be, the one on which nothing has run for
    /// longest is closed for it.
    ///
    /// # Errors
    ///
    /// When it is to be closed at once.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Refusal> {
        let (network, limits) = (Network::of(address), &self.limits);
        let bound = limits.client.loopback || !network.is_loopback();
        let mut open = self.open();
        let known = open.clients.get(&network).map_or(0, |known| known.connections);
        if bound && known >= limits.client.connections {
            return Err(Refusal::Client);
        }
        if open.counted >= limits.total && !open.make_room() {
            return Err(Refusal::Full);
        }
        let activity = Arc::new(Activity::default());
        if open.finishing {
            activity.finish();
        }
        let id = open.next;
        open.next += 1;
        open.counted += 1;
        if open.clients.len() >= CLIENTS {
            open.clients.retain(|_, known| known.connections > 0);
        }
        let known = open.clients.entry(network).or_insert_with(|| Known {
            client: Arc::new(Client::new(network, &limits.client)),
            connections: 0,
        });
        known.connections += 1;
        let client = bound.then(|| Arc::clone(&known.client));
        let entry = Entry {
            activity: Arc::clone(&activity),
            network,
            seen: activity.snapshot(),
            since: Instant::now(),
            closing: false,
        };
        open.entries.insert(id, entry);
        Ok(Admitted { connections: Arc::clone(self), id, activity, client })
    }

    /// Closes, for as long as it is polled, connections that do nothing or too little for too long.
    pub(crate) async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            let mut next = Some(0);
            while let Some(from) = next {
                next = self.open().sweep(&self.limits, from, now);
                tokio::task::yield_now().await;
            }
            self.open().forget_clients();
        }
    }

    /// Tells all to take no new requests, those that are still to come included.
    pub(crate) fn finish(&self) {
        let mut open = self.open();
        open.finishing = true;
        for entry in open.entries.values() {
            entry.activity.finish();
        }
    }

    /// Waits until none is open.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.open().entries.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // A panic elsewhere cannot leave it half changed: nothing in it panics.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        if let Some(entry) = open.entries.remove(&self.id)
            && !entry.closing
        {
            open.leave(entry.network);
        }
        drop(open);
        self.connections.changed.notify_waiters();
    }
}

impl Open {
    /// Closes the connection on which nothing has run for longest. False if requests run on all.
    fn make_room(&mut self) -> bool {
        loop {
            while let Some((id, seen)) = self.candidates.pop_front() {
                let same = |entry: &&Entry| !entry.closing && entry.activity.snapshot() == seen;
                if self.entries.get(&id).filter(same).is_some() {
                    self.close(id);
                    return true;
                }
            }
            if !self.find_candidates() {
                return false;
            }
        }
    }

    /// The connections that make room first: those on which nothing has happened since they were last
    /// looked at, the oldest first. Of the others that look says nothing.
    fn find_candidates(&mut self) -> bool {
        let idle = self.entries.iter().filter_map(|(id, entry)| {
            let now = entry.activity.snapshot();
            let idle = !entry.closing && now.phase != Phase::Running;
            idle.then_some(((now != entry.seen, entry.since, *id), now))
        });
        let mut idle: Vec<_> = idle.collect();
        if idle.len() > CANDIDATES {
            idle.select_nth_unstable_by_key(CANDIDATES, |(order, _)| *order);
            idle.truncate(CANDIDATES);
        }
        idle.sort_unstable_by_key(|(order, _)| *order);
        self.candidates = idle.into_iter().map(|((.., id), seen)| (id, seen)).collect();
        !self.candidates.is_empty()
    }

    /// Looks at a slice of the connections, beginning at a number: the number of the next slice.
    fn sweep(&mut self, limits: &ConnectionLimits, from: u64, now: Instant) -> Option<u64> {
        let mut late = Vec::new();
        let mut entries = self.entries.range_mut(from..);
        for (id, entry) in entries.by_ref().take(SWEEP_SLICE) {
            let seen = entry.activity.snapshot();
            if seen != entry.seen || seen.phase == Phase::Running {
                (entry.seen, entry.since) = (seen, now);
                continue;
            }
            let limit = match seen.phase {
                Phase::Head => limits.head_timeout,
                Phase::Idle | Phase::Sending | Phase::Running => limits.idle_timeout,
            };
            if now.duration_since(entry.since) >= limit && !entry.closing {
                late.push(*id);
            }
        }
        let next = entries.next().map(|(id, _)| *id);
        for id in late {
            self.close(id);
        }
        next
    }

    /// Forgets clients that have no connection. One that left is known until it could make as many
    /// requests as a new one: otherwise it would only have to come again.
    fn forget_clients(&mut self) {
        self.clients.retain(|_, known| known.connections > 0 || !known.client.is_at_rest());
    }

    fn close(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.closing = true;
            entry.activity.close();
            let network = entry.network;
            self.leave(network);
        }
    }

    /// Counts a connection less.
    fn leave(&mut self, network: Network) {
        self.counted -= 1;
        if let Some(known) = self.clients.get_mut(&network) {
            known.connections -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::connection::Order;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn connections(total: usize, per_client: usize) -> Arc<Connections> {
        let timeout = Duration::from_secs(60);
        Arc::new(Connections::new(ConnectionLimits {
            total,
            client: ClientLimits { connections: per_client, ..ClientLimits::default() },
            head_timeout: timeout,
            idle_timeout: timeout,
        }))
    }

    fn is_closed(connection: &Admitted) -> bool {
        let waker = futures_util::task::noop_waker();
        connection.activity.order(&std::task::Context::from_waker(&waker)) == Order::Close
    }

    #[test]
    fn the_oldest_without_a_request_makes_room() {
        let connections = connections(3, 3);
        let [busy, first, second] = [(); 3].map(|()| connections.admit(HERE).unwrap());
        let running = Activity::begin(&*busy.activity);
        let _third = connections.admit(HERE).unwrap();
        assert_eq!([&busy, &first, &second].map(is_closed), [false, true, false]);
        let _more = Activity::begin(&*second.activity);
        let fourth = connections.admit(HERE).unwrap();
        let _requests = Activity::begin(&*fourth.activity);
        assert_eq!(connections.admit(HERE).unwrap_err(), Refusal::Full);
        drop(running);
        connections.admit(HERE).unwrap();
        assert!(is_closed(&busy));
    }

    #[test]
    fn one_that_was_used_since_it_was_looked_at_is_not_the_oldest() {
        let connections = connections(3, 3);
        let [used, idle, _other] = [(); 3].map(|()| connections.admit(HERE).unwrap());
        drop(Activity::begin(&*used.activity));
        let _next = connections.admit(HERE).unwrap();
        assert!(!is_closed(&used) && is_closed(&idle));
    }

    #[test]
    fn a_client_has_a_bounded_number_and_loopback_has_not() {
        let connections = connections(100, 2);
        let address = |host: u128| {
            let network = 0x2001_0db8_0000_0001_u128 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network | host))
        };
        let [one, _two] = [1, 2].map(|host| connections.admit(address(host)).unwrap());
        assert_eq!(connections.admit(address(3)).unwrap_err(), Refusal::Client);
        drop(one);
        connections.admit(address(3)).unwrap();
        let _local = [(); 3].map(|()| connections.admit(HERE).unwrap());
    }

    #[tokio::test]
    async fn a_sweep_comes_to_all_slice_by_slice() {
        let count = 2 * SWEEP_SLICE + 1;
        let connections = connections(count, count);
        let all: Vec<_> = (0..count).map(|_| connections.admit(HERE).unwrap()).collect();
        let _running = Activity::begin(&*all[SWEEP_SLICE].activity);
        let later = Instant::now() + 2 * connections.limits.idle_timeout;
        let mut slices = 0;
        for from in [0, SWEEP_SLICE as u64, 2 * SWEEP_SLICE as u64] {
            let next = connections.open().sweep(&connections.limits, from, later);
            slices += 1;
            assert_eq!(next, (slices < 3).then_some(from + SWEEP_SLICE as u64));
        }
        let closed = all.iter().filter(|connection| is_closed(connection)).count();
        assert_eq!(closed, count - 1, "all but the one with a request");
    }

    #[tokio::test]
    async fn all_end() {
        let connections = connections(10, 10);
        let one = connections.admit(HERE).unwrap();
        connections.finish();
        drop(one);
        connections.ended().await;
        assert_eq!(connections.open().counted, 0);
    }
}
