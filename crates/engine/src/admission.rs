//! How many calls run at once, and how many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call waits for a place before it is refused.
const MAXIMUM_WAIT: Duration = Duration::from_secs(5);

/// Hands out places, to as many as there are; a bounded number of others waits, in order.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    /// How many places there are, free or not.
    count: usize,
    waiting: Arc<AtomicUsize>,
    maximum_waiting: usize,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Nobody more can wait, or the wait was too long.
#[derive(Debug)]
pub(crate) struct Full;

impl Admission {
    pub(crate) fn new(places: u32, maximum_waiting: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places as usize)),
            count: places as usize,
            waiting: Arc::default(),
            maximum_waiting,
        }
    }

    /// Other places, for which those who wait count in the same queue.
    pub(crate) fn with_same_queue(&self, places: u32) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places as usize)),
            count: places as usize,
            waiting: Arc::clone(&self.waiting),
            maximum_waiting: self.maximum_waiting,
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
    pub(crate) fn try_enter(&self, count: u32) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_many_owned(count).ok()?;
        Some(Place { _permit: permit })
    }

    /// Waits for `count` places.
    pub(crate) async fn enter(&self, count: u32) -> Result<Place, Full> {
        if let Some(place) = self.try_enter(count) {
            return Ok(place);
        }
        let _waiting = Waiting::join(&self.waiting, self.maximum_waiting).ok_or(Full)?;
        let permit = Arc::clone(&self.places).acquire_many_owned(count);
        match tokio::time::timeout(MAXIMUM_WAIT, permit).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            _ => Err(Full),
        }
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
        let admission = Admission::new(2, 1);
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
        let admission = Admission::new(1, 1);
        let _place = admission.enter(1).await.unwrap();
        let mut waiting = Box::pin(admission.enter(1));
        assert!(futures_poll_once(&mut waiting).await.is_none());
        drop(waiting);
        let mut waiting = Box::pin(admission.enter(1));
        assert!(futures_poll_once(&mut waiting).await.is_none());
    }

    async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        crate::poll_once(std::pin::Pin::new(future)).await
    }
}
