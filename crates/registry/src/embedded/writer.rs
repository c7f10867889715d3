//! The writer: one thread, through which all changes go.
//!
//! redb's commits block, one at a time, for as long as the disk takes to make them durable. So the
//! thread takes what has queued up meanwhile into one transaction, and a commit's cost is shared by
//! all who wait for it. Answers are given after the commit only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::change::Change;
use super::store::Store;
use super::tables::Outcome;
use crate::StorageError;

/// How many operations may wait. Past it those who ask wait themselves, so memory stays bounded by
/// the requests that are let in.
const QUEUED_OPERATIONS: usize = 256;

/// How many operations share a commit at most, so that the first of them does not wait for long.
const GROUP_OPERATIONS: usize = 128;

/// How many bytes of Wasm share a commit at most, give or take the last operation's: they are held
/// in memory until it is done.
const GROUP_BYTES: usize = 64 * 1024 * 1024;

/// A handle to the writer thread. Dropping it waits until everything that was queued is answered.
pub(super) struct Writer {
    /// `None` only while dropping: the thread ends when its queue is closed and empty.
    queue: Option<mpsc::Sender<Box<dyn Operation>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which counts `generation` up.
    pub(super) fn start(
        store: Arc<Store>,
        generation: Arc<AtomicU64>,
    ) -> Result<Self, StorageError> {
        let (sender, receiver) = mpsc::channel(QUEUED_OPERATIONS);
        let thread = thread::Builder::new()
            .name("registry-writer".to_owned())
            .spawn(move || run(&store, &generation, receiver))?;
        Ok(Self { queue: Some(sender), thread: Some(thread) })
    }

    /// Applies an operation that holds `bytes` bytes, and answers what it gave once that is
    /// durable. Dropping the future before it is queued drops the operation, later not.
    pub(super) async fn submit<T, E, F>(&self, bytes: usize, apply: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        F: FnOnce(&mut Change<'_>) -> Outcome<Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let operation = Box::new(Pending { bytes, state: State::Queued(apply), answer });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(operation).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Whether operations are still taken.
    pub(super) fn is_running(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_closed())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the registry's writer panicked");
        }
    }
}

fn stopped() -> StorageError {
    StorageError::other("the registry's writer has stopped")
}

/// Something to do in a transaction that others share.
trait Operation: Send {
    /// How much memory it holds.
    fn bytes(&self) -> usize;

    /// Does it and keeps the answer. An error fails the whole transaction.
    fn apply(&mut self, change: &mut Change<'_>) -> Outcome<()>;

    /// Gives the answer, or the error that the transaction failed with.
    fn answer(self: Box<Self>, failure: Option<&StorageError>);
}

struct Pending<T, E, F> {
    bytes: usize,
    state: State<T, E, F>,
    answer: oneshot::Sender<Result<T, E>>,
}

enum State<T, E, F> {
    Queued(F),
    Applied(Result<T, E>),
    Failed,
}

impl<T, E, F> Operation for Pending<T, E, F>
where
    T: Send,
    E: From<StorageError> + Send,
    F: FnOnce(&mut Change<'_>) -> Outcome<Result<T, E>> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn apply(&mut self, change: &mut Change<'_>) -> Outcome<()> {
        if let State::Queued(apply) = std::mem::replace(&mut self.state, State::Failed) {
            self.state = State::Applied(apply(change)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<&StorageError>) {
        let answer = match (failure, self.state) {
            (Some(failure), _) => Err(failure.clone().into()),
            (None, State::Applied(answer)) => answer,
            (None, State::Queued(_) | State::Failed) => Err(stopped().into()),
        };
        // Whoever asked may have gone; what was asked is done all the same.
        let _ = self.answer.send(answer);
    }
}

type Queue = mpsc::Receiver<Box<dyn Operation>>;

fn run(store: &Store, generation: &AtomicU64, mut queue: Queue) {
    while let Some(first) = queue.blocking_recv() {
        commit(store, generation, gather(first, &mut queue));
    }
}

/// `first` and what else is waiting, as much of it as one transaction takes.
fn gather(first: Box<dyn Operation>, queue: &mut Queue) -> Vec<Box<dyn Operation>> {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_OPERATIONS && bytes < GROUP_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.bytes();
        group.push(next);
    }
    group
}

fn commit(store: &Store, generation: &AtomicU64, mut group: Vec<Box<dyn Operation>>) {
    let result = store.write(|transaction| {
        let mut change = Change::begin(transaction)?;
        for operation in &mut group {
            operation.apply(&mut change)?;
        }
        Ok(change.changes())
    });
    // A commit that failed may have come to be durable all the same.
    if result.as_ref().map_or(true, |changes| changes.meanings) {
        generation.fetch_add(1, Ordering::Release);
    }
    let failure = result.err();
    if let Some(error) = &failure {
        tracing::error!(%error, operations = group.len(), "the registry cannot write");
    }
    for operation in group {
        operation.answer(failure.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long nobody waits.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Ends the thread that drops it, as a defect of ours could.
    struct Deadly;

    impl Drop for Deadly {
        fn drop(&mut self) {
            if thread::current().name() == Some("registry-writer") && !thread::panicking() {
                panic!("the writer dies");
            }
        }
    }

    #[tokio::test]
    async fn a_writer_that_died_leaves_nobody_waiting() {
        let store = Arc::new(Store::in_memory(1 << 20).unwrap());
        let writer = Writer::start(store, Arc::new(AtomicU64::new(0))).unwrap();
        let dying = async {
            while writer.is_running() {
                // The writer drops the answer that nobody waits for any more.
                tokio::select! {
                    biased;
                    _ = writer.submit::<_, StorageError, _>(0, |_| Ok(Ok(Deadly))) => {}
                    () = std::future::ready(()) => {}
                }
                // Of those that wait, one may be answered before it dies.
                let _ = writer.submit::<_, StorageError, _>(0, |_| Ok(Ok(()))).await;
            }
            writer.submit::<_, StorageError, _>(0, |_| Ok(Ok(()))).await.unwrap_err();
        };
        tokio::time::timeout(PATIENCE, dying).await.unwrap();
    }
}
