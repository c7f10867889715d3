//! How many do something at once, and how many wait for it.

mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use shared::{SharedAdmission, SharedPlace};

/// Hands out places, to as many as there are; a bounded number of others waits, in order.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    /// How many places there are, free or not.
    count: usize,
    waiting: Arc<AtomicUsize>,
    queue: Queue,
}

/// Those who wait for a place.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// How many there are at most; one more is refused.
    pub length: usize,
    /// How long one waits before it is refused.
    pub patience: Duration,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Nobody more can wait, or the wait was too long.
#[derive(Debug, thiserror::Error)]
#[error("too many wait, or the wait was too long")]
pub struct Full;

/// How long somebody waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As long as its queue says, if the queue is not full already.
    Bounded,
    /// For as long as it takes, and outside of the queue: for those who are few by other bounds. Places
    /// go to whoever has waited longest, in the queue or not.
    Endless,
}

impl Admission {
    /// So many places, and those who wait for one.
    pub fn new(places: u32, queue: Queue) -> Self {
        let count = places as usize;
        Self { places: Arc::new(Semaphore::new(count)), count, waiting: Arc::default(), queue }
    }

    /// Other places, for which those who wait count in the same queue.
    pub(crate) fn with_same_queue(&self, places: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places as usize)),
            count: places as usize,
            waiting: Arc::clone(&self.waiting),
            queue: self.queue,
        }
    }

    /// How many places are taken at this moment.
    pub(crate) fn taken(&self) -> usize {
        self.count.saturating_sub(self.places.available_permits())
    }

    /// How many wait in the queue at this moment.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes `count` places if they are free.
    pub fn try_enter(&self, count: u32) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_many_owned(count).ok()?;
        Some(Place { _permit: permit })
    }

    /// Waits for `count` places.
    ///
    /// # Errors
    ///
    /// When nobody more can wait, or the wait is too long.
    pub async fn enter(&self, count: u32) -> Result<Place, Full> {
        if let Some(place) = self.try_enter(count) {
            return Ok(place);
        }
        let _waiting = Waiting::join(&self.waiting, self.queue.length).ok_or(Full)?;
        let permit = Arc::clone(&self.places).acquire_many_owned(count);
        match tokio::time::timeout(self.queue.patience, permit).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            _ => Err(Full),
        }
    }

    /// Waits for `count` places as patiently as is said.
    pub(crate) async fn enter_with(&self, count: u32, patience: Patience) -> Result<Place, Full> {
        if patience == Patience::Bounded {
            return self.enter(count).await;
        }
        // It is never closed.
        let permit = Arc::clone(&self.places).acquire_many_owned(count).await.map_err(|_| Full)?;
        Ok(Place { _permit: permit })
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize, maximum: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let this = Self(count);
        (before < maximum).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_and_the_queue_is_bounded() {
        let admission = Admission::new(2, Queue { length: 1, patience: Duration::MAX });
        let both = admission.enter(2).await.unwrap();
        let mut waiting = Box::pin(admission.enter(1));
        assert!(futures_poll_once(&mut waiting).await.is_none());
        assert!(admission.enter(1).await.is_err());
        assert_eq!((admission.taken(), admission.waiting()), (2, 1));
        drop(both);
        assert!(waiting.await.is_ok());
        assert!(admission.enter(2).await.is_ok());
        assert_eq!((admission.taken(), admission.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn one_who_gives_up_leaves_the_queue() {
        let admission = Admission::new(1, Queue { length: 1, patience: Duration::MAX });
        let _place = admission.enter(1).await.unwrap();
        let mut waiting = Box::pin(admission.enter(1));
        assert!(futures_poll_once(&mut waiting).await.is_none());
        drop(waiting);
        let mut waiting = Box::pin(admission.enter(1));
        assert!(futures_poll_once(&mut waiting).await.is_none());
    }

    #[tokio::test]
    async fn the_patient_wait_beside_the_queue_and_in_order() {
        let admission = Admission::new(1, Queue { length: 1, patience: Duration::MAX });
        let place = admission.enter(1).await.unwrap();
        let mut patient = Box::pin(admission.enter_with(1, Patience::Endless));
        assert!(futures_poll_once(&mut patient).await.is_none());
        let mut queued = Box::pin(admission.enter(1));
        assert!(futures_poll_once(&mut queued).await.is_none(), "the queue has room for it");
        drop(place);
        assert!(futures_poll_once(&mut queued).await.is_none(), "it came later");
        drop(patient.await.unwrap());
        queued.await.unwrap();
    }

    async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        crate::calling::poll_once(std::pin::Pin::new(future)).await
    }
}
