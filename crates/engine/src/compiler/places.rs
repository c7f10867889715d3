//! How many modules are compiled at once, and how many of them for one client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::admission::{Admission, Full, Place, Queue};
use crate::config::{ClientKey, EngineConfig};

/// How long a compilation waits for its turn: longer than a call, since those before it may be large.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands out turns to compile: as many at once as there are places, to one client at most half of
/// them, but at least one. All who wait are in one bounded queue.
#[derive(Debug)]
pub(super) struct Places {
    all: Admission,
    /// The places that one client can have.
    share: u32,
    /// Those of each client that compiles or waits.
    clients: Mutex<HashMap<ClientKey, Weak<Admission>>>,
}

/// A turn to compile, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _place: Place,
    _share: Option<Share>,
}

/// One of a client's own places. It keeps the client's count alive.
#[derive(Debug)]
struct Share {
    _place: Place,
    _client: Arc<Admission>,
}

impl Places {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let places = u32::try_from(config.concurrent_compilations).unwrap_or(u32::MAX).max(1);
        let queue = Queue { length: config.queued_compilations, patience: PATIENCE };
        Self {
            all: Admission::new(places, queue),
            share: (places / 2).max(1),
            clients: Mutex::default(),
        }
    }

    /// Waits for a turn: first for one of the client's own places, then for one of all.
    pub(super) async fn enter(&self, client: Option<ClientKey>) -> Result<Turn, Full> {
        let share = match client {
            None => None,
            Some(key) => {
                let client = self.client(key);
                Some(Share { _place: client.enter(1).await?, _client: client })
            }
        };
        Ok(Turn { _place: self.all.enter(1).await?, _share: share })
    }

    /// How many modules are being compiled, and how many wait for it.
    pub(super) fn occupied(&self) -> (usize, usize) {
        (self.all.taken(), self.all.waiting())
    }

    fn client(&self, key: ClientKey) -> Arc<Admission> {
        // A panic elsewhere cannot leave the map half changed.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return client;
        }
        // Before the map would grow, the entries of clients that are gone make room.
        if clients.len() == clients.capacity() {
            clients.retain(|_, client| client.strong_count() > 0);
        }
        let client = Arc::new(self.all.with_same_queue(self.share));
        clients.insert(key, Arc::downgrade(&client));
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<ClientKey> = Some(ClientKey(1));
    const OTHER: Option<ClientKey> = Some(ClientKey(2));

    fn places(concurrent_compilations: usize, queued_compilations: usize) -> Places {
        let config =
            EngineConfig { concurrent_compilations, queued_compilations, ..Default::default() };
        Places::new(&config)
    }

    /// A turn, if there is one without waiting.
    async fn now(places: &Places, client: Option<ClientKey>) -> Option<Turn> {
        let mut entering = Box::pin(places.enter(client));
        crate::calling::poll_once(entering.as_mut()).await.and_then(Result::ok)
    }

    #[tokio::test]
    async fn one_client_has_at_most_half() {
        let places = places(5, 8);
        let first = now(&places, ONE).await.unwrap();
        let second = now(&places, ONE).await.unwrap();
        assert!(now(&places, ONE).await.is_none());
        let _third = now(&places, OTHER).await.unwrap();
        let _fourth = now(&places, None).await.unwrap();
        drop(first);
        let _again = now(&places, ONE).await.unwrap();
        assert!(now(&places, ONE).await.is_none());
        drop(second);
    }

    #[tokio::test]
    async fn one_place_is_everybodys() {
        let places = places(1, 8);
        let turn = now(&places, ONE).await.unwrap();
        assert!(now(&places, OTHER).await.is_none());
        drop(turn);
        assert!(now(&places, OTHER).await.is_some());
    }

    #[tokio::test]
    async fn all_wait_in_one_bounded_queue() {
        let places = places(2, 1);
        let turn = now(&places, ONE).await.unwrap();
        let mut waiting = Box::pin(places.enter(ONE));
        assert!(crate::calling::poll_once(waiting.as_mut()).await.is_none());
        let _other = now(&places, OTHER).await.unwrap();
        assert!(places.enter(None).await.is_err());
        drop(turn);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn clients_that_are_gone_are_forgotten() {
        let places = places(2, 1);
        for key in 0..10_000 {
            drop(now(&places, Some(ClientKey(key))).await.unwrap());
        }
        assert!(places.clients.lock().unwrap().len() < 100);
    }
}
