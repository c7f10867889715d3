//! The task that drives a batch, and the body that its answers become.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body as StreamBody;
use bytes::Bytes;
use futures_util::future::try_join;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::lines::Group;
use super::{Batch, GroupRoom, group, intake};
use crate::body::Decoder;
use crate::connection::{Activity, Sending};
use crate::problem::chain;
use crate::serve::Exchange;

/// Some answers, and the room they take if it is much.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// Why the answers of a batch break off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the client of a batch is gone")]
    Gone(#[source] axum::Error),
    #[error("nobody takes the answers of a batch")]
    Abandoned,
    #[error("a batch failed")]
    Failed(#[from] JoinError),
}

/// The answers of a batch. Dropping it ends the batch, with all that runs of it.
#[derive(Debug)]
pub(crate) struct BatchBody {
    pieces: mpsc::Receiver<Piece>,
    /// `None` once it has ended.
    driver: Option<AbortOnDropHandle<Result<(), Broken>>>,
    /// That of the piece that was given last: it is taken when the next is asked for.
    room: Option<OwnedSemaphorePermit>,
    /// What is given to the connection may take its client some time.
    _sending: Sending,
}

/// The groups that are read and not delivered yet.
#[derive(Debug)]
pub(super) struct Window {
    slots: Arc<Semaphore>,
    size: usize,
    queue: mpsc::Sender<Running>,
}

/// A group that runs, and what it holds until it is delivered.
#[derive(Debug)]
struct Running {
    answers: mpsc::Receiver<Piece>,
    task: AbortOnDropHandle<()>,
    _slot: Option<OwnedSemaphorePermit>,
    _room: Option<GroupRoom>,
}

/// Starts a batch.
pub(super) fn start(
    batch: Arc<Batch>,
    exchange: &Exchange,
    decoder: Decoder,
    body: StreamBody,
) -> BatchBody {
    let (give, pieces) = mpsc::channel(1);
    let held = (exchange.hold(), batch.app.metrics.begin_batch());
    let driver = tokio::spawn(async move {
        let _held = held;
        let ended = drive(&batch, decoder, body, give).await;
        if let Err(error) = &ended {
            let request_id = batch.request_id.to_str().unwrap_or_default();
            let error = chain(error);
            tracing::debug!(error, request_id, "a batch broke off");
        }
        ended
    });
    BatchBody {
        pieces,
        driver: Some(AbortOnDropHandle::new(driver)),
        room: None,
        _sending: Activity::send(&exchange.activity),
    }
}

async fn drive(
    batch: &Arc<Batch>,
    decoder: Decoder,
    body: StreamBody,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), Broken> {
    let (queue, groups) = mpsc::channel(batch.window);
    let slots = Arc::new(Semaphore::new(batch.window));
    let window = Window { slots, size: batch.window, queue };
    // The window goes with the intake, which is how the delivery learns that no more groups come.
    let intake = intake::read_all(batch, decoder, body, window);
    try_join(deliver(groups, pieces, batch.app.answers.patience()), intake).await?;
    Ok(())
}

/// Hands the groups' answers on, in order.
async fn deliver(
    mut groups: mpsc::Receiver<Running>,
    pieces: mpsc::Sender<Piece>,
    patience: Duration,
) -> Result<(), Broken> {
    while let Some(mut group) = groups.recv().await {
        while let Some(piece) = group.answers.recv().await {
            // The sweep of connections does not see one stream of several that is not read.
            match timeout(patience, pieces.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Broken::Abandoned),
            }
        }
        // One that panicked has not answered all of its lines.
        group.task.await?;
    }
    Ok(())
}

impl Window {
    /// Runs a group, as soon as there is room for it.
    pub(super) async fn run(&self, batch: &Arc<Batch>, group: Group) {
        // It is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let others = self.size - 1 - self.slots.available_permits();
        let room = match others {
            0 => None,
            _ => batch.room().ok(),
        };
        if others > 0 && room.is_none() {
            self.until_delivered(self.size - 1).await;
        }
        let (give, answers) = mpsc::channel(1);
        let task = tokio::spawn(group::run(Arc::clone(batch), group, give));
        let task = AbortOnDropHandle::new(task);
        // It holds as many as there are slots, so this does not wait; and if nobody takes answers any
        // more, the batch ends.
        let _ = self.queue.send(Running { answers, task, _slot: slot, _room: room }).await;
    }

    /// Waits until everything is delivered.
    pub(super) async fn until_all_delivered(&self) {
        self.until_delivered(self.size).await;
    }

    async fn until_delivered(&self, groups: usize) {
        let groups = u32::try_from(groups).unwrap_or(u32::MAX);
        // It is never closed.
        let _ = self.slots.acquire_many(groups).await;
    }
}

impl Body for BatchBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.room = None;
        if let Some(piece) = ready!(self.pieces.poll_recv(context)) {
            self.room = piece.room;
            return Poll::Ready(Some(Ok(Frame::data(piece.bytes))));
        }
        let Some(driver) = &mut self.driver else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(driver).poll(context));
        self.driver = None;
        Poll::Ready(ended.map_err(Broken::from).flatten().err().map(Err))
    }
}
