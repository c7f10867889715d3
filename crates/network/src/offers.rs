//! Telling the network of modules without names, of which no record tells who has them: whoever asks
//! for one by its digest finds this node on record as a provider of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::sleep;
use wasm_exec_registry::{Backend, Digest, ListQuery, MAX_PAGE, StorageError, View};

use crate::Key;
use crate::node::Node;
use crate::shared::Shared;

/// How many modules may wait to be told of. What finds no room is told of after the next start.
pub(crate) const MAX_WAITING: usize = 4096;

/// How many of them may be of those that were here when the node started: half, so that there is room
/// for what is registered meanwhile.
const MAX_TAKEN_UP: usize = MAX_WAITING / 2;

/// How many are told of at once: each is a look-up of whom to tell.
const AT_ONCE: usize = 4;

/// How often it is looked whether there is anybody to tell.
const ALONE: Duration = Duration::from_secs(1);

impl Shared {
    /// Has the network told that a module without a name is here.
    pub(crate) fn offer(&self, module: Digest) {
        if self.unoffered.try_send(module).is_err() {
            tracing::warn!(%module, "there is too much to tell of: this is told after the next start");
        }
    }

    /// The same of those that are on the disk, of [`MAX_TAKEN_UP`] at most.
    ///
    /// # Errors
    ///
    /// As the storage does.
    pub(crate) async fn offer_again(&self) -> Result<(), StorageError> {
        let mut query = ListQuery { unnamed: true, ..ListQuery::default() };
        let mut left = MAX_TAKEN_UP;
        while left > 0 {
            query.limit = left.min(MAX_PAGE);
            let page = self.library.local().list(query.clone(), View::complete()).await?;
            page.modules.iter().for_each(|module| self.offer(module.digest));
            left = left.saturating_sub(page.modules.len());
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Tells of a module no more. Those who were told forget it in time.
    pub(crate) async fn withdraw(&self, module: Digest) {
        if let Some(node) = self.node() {
            node.withdraw(key(module)).await;
        }
    }

    async fn is_here(&self, module: Digest) -> bool {
        matches!(self.library.local().manifest(module).await, Ok(Some(_)))
    }
}

/// Tells of what waits, as soon as there is somebody to tell.
pub(crate) async fn offer(shared: Arc<Shared>, mut queue: mpsc::Receiver<Digest>) {
    let mut offering = FuturesUnordered::new();
    loop {
        tokio::select! {
            module = queue.recv(), if offering.len() < AT_ONCE => match module {
                Some(module) => offering.push(offer_one(&shared, module)),
                None => return,
            },
            Some(()) = offering.next() => {}
        }
    }
}

async fn offer_one(shared: &Shared, module: Digest) {
    let node = somebody_to_tell(shared).await;
    if !shared.is_here(module).await {
        return;
    }
    node.provide(key(module)).await;
    // It may have been deleted meanwhile, and withdrawn before it was told of.
    if !shared.is_here(module).await {
        node.withdraw(key(module)).await;
    }
}

/// The node, once it has peers.
async fn somebody_to_tell(shared: &Shared) -> &Node {
    loop {
        if let Some(node) = shared.node().filter(|node| !node.peers().is_empty()) {
            return node;
        }
        sleep(ALONE).await;
    }
}

fn key(module: Digest) -> Key {
    Key::from_bytes(*module.as_bytes())
}
