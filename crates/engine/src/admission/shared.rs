//! Places of which one client cannot take all.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Admission, Full, Patience, Place, Queue, Waiting};
use crate::config::ClientKey;

/// Hands out places: to one client at most half of them, but at least one. All who wait are in one
/// bounded queue, of which one client has at most half as well.
#[derive(Debug)]
pub struct SharedAdmission {
    all: Admission,
    /// The places that one client can have.
    share: u32,
    /// Those of each client that has some or waits.
    clients: Mutex<HashMap<ClientKey, Weak<Client>>>,
}

/// What one client has.
#[derive(Debug)]
struct Client {
    places: Admission,
    waiting: AtomicUsize,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct SharedPlace {
    _place: Place,
    _share: Option<Share>,
}

/// One of a client's own places. It keeps the client's count alive.
#[derive(Debug)]
struct Share {
    _place: Place,
    _client: Arc<Client>,
}

impl SharedAdmission {
    /// So many places, and those who wait for one.
    pub fn new(places: u32, queue: Queue) -> Self {
        let places = places.max(1);
        Self {
            all: Admission::new(places, queue),
            share: (places / 2).max(1),
            clients: Mutex::default(),
        }
    }

    /// A place, if there is one for this client; `None` is one that may have all.
    pub fn try_enter(&self, client: Option<ClientKey>) -> Option<SharedPlace> {
        let share = match client {
            None => None,
            Some(key) => {
                let client = self.client(key);
                Some(Share { _place: client.places.try_enter(1)?, _client: client })
            }
        };
        Some(SharedPlace { _place: self.all.try_enter(1)?, _share: share })
    }

    /// Waits for a place: first for one of the client's own, then for one of all.
    ///
    /// # Errors
    ///
    /// When nobody more can wait, or the wait is too long.
    pub async fn enter(
        &self,
        client: Option<ClientKey>,
        patience: Patience,
    ) -> Result<SharedPlace, Full> {
        let Some(key) = client else {
            return Ok(SharedPlace {
                _place: self.all.enter_with(1, patience).await?,
                _share: None,
            });
        };
        if let Some(place) = self.try_enter(client) {
            return Ok(place);
        }
        let client = self.client(key);
        let queue = (self.all.queue.length / 2).max(1);
        let _waiting = match patience {
            Patience::Bounded => Some(Waiting::join(&client.waiting, queue).ok_or(Full)?),
            Patience::Endless => None,
        };
        let place = client.places.enter_with(1, patience).await?;
        let all = self.all.enter_with(1, patience).await?;
        let share = Share { _place: place, _client: Arc::clone(&client) };
        Ok(SharedPlace { _place: all, _share: Some(share) })
    }

    /// How many places are taken at this moment.
    pub(crate) fn taken(&self) -> usize {
        self.all.taken()
    }

    /// How many wait in the queue at this moment.
    pub(crate) fn waiting(&self) -> usize {
        self.all.waiting()
    }

    fn client(&self, key: ClientKey) -> Arc<Client> {
        // A panic elsewhere cannot leave the map half changed.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return client;
        }
        // Before the map would grow, the entries of clients that are gone make room.
        if clients.len() == clients.capacity() {
            clients.retain(|_, client| client.strong_count() > 0);
        }
        let places = self.all.with_same_queue(self.share);
        let client = Arc::new(Client { places, waiting: AtomicUsize::new(0) });
        clients.insert(key, Arc::downgrade(&client));
        client
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: Option<ClientKey> = Some(ClientKey(1));
    const OTHER: Option<ClientKey> = Some(ClientKey(2));

    fn places(places: u32, length: usize) -> SharedAdmission {
        SharedAdmission::new(places, Queue { length, patience: Duration::MAX })
    }

    /// A place, if there is one without waiting.
    async fn now(places: &SharedAdmission, client: Option<ClientKey>) -> Option<SharedPlace> {
        let mut entering = Box::pin(places.enter(client, Patience::Bounded));
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
        let mut waiting = Box::pin(places.enter(ONE, Patience::Bounded));
        assert!(crate::calling::poll_once(waiting.as_mut()).await.is_none());
        let _other = now(&places, OTHER).await.unwrap();
        assert!(places.enter(None, Patience::Bounded).await.is_err());
        drop(turn);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn one_client_has_at_most_half_of_the_queue() {
        let places = places(2, 4);
        let _turn = now(&places, ONE).await.unwrap();
        let mut waiting = [ONE, ONE].map(|one| Box::pin(places.enter(one, Patience::Bounded)));
        for waiting in &mut waiting {
            assert!(crate::calling::poll_once(waiting.as_mut()).await.is_none());
        }
        assert!(places.enter(ONE, Patience::Bounded).await.is_err());
        let _other = now(&places, OTHER).await.unwrap();
        let mut other = Box::pin(places.enter(OTHER, Patience::Bounded));
        assert!(crate::calling::poll_once(other.as_mut()).await.is_none(), "there is room for it");
        let mut patient = Box::pin(places.enter(ONE, Patience::Endless));
        assert!(crate::calling::poll_once(patient.as_mut()).await.is_none(), "it is in no queue");
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
