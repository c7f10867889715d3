//! Having others prove that they hold what they say they hold.
//!
//! A node that holds the content of a record asks those who should hold it, too, whether they do, and
//! believes them. From time to time it asks one of them for a small range of it. Whoever cannot give
//! that, and goes on saying that it has it, is not believed anything more for a while: what it should
//! hold is handed to others. A peer that fetches what it is asked for from another holder while it is
//! asked passes.

use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::contents::Item;
use crate::core::repair::Proof;
use crate::protocol::{CopyOf, Request, Response};
use crate::record::SignedRecord;
use crate::shared::Shared;
use crate::transfer::{Unproved, prove};

/// How often somebody is asked to prove something: one range of 16 KiB each time.
const EVERY: Duration = Duration::from_secs(10);

/// How long opening a stream may take, and how long a peer may be silent then.
const OPEN: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(5);

/// Audits others for as long as it is polled.
pub(crate) async fn audit(shared: Arc<Shared>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.audit_one().await;
    }
}

impl Shared {
    /// Has one peer prove that it holds something, if any says so.
    pub(crate) async fn audit_one(&self) {
        let mut random = StdRng::from_rng(&mut rand::rng());
        let next = self.knowledge().repair.next_audit(self.elapsed(), &mut random);
        let Some((peer, key)) = next else { return };
        let Some(record) = self.record(&key) else { return };
        let Some(item) = self.any_item(&record, &mut random).await else { return };
        let proof = match self.prove_by(peer, &item, &mut random).await {
            Ok(()) => Proof::Given,
            // It may have let go of it meanwhile, for good reasons, and then says so.
            Err(_) if !self.still_claims(peer, &record).await => return,
            Err(_) => match self.prove_by(peer, &item, &mut random).await {
                Ok(()) => Proof::Given,
                Err(Unproved::Silent) => Proof::Silent,
                Err(Unproved::Wrong) => Proof::Wrong,
            },
        };
        let now = self.elapsed();
        let is_found_out = {
            let mut knowledge = self.knowledge();
            // What the name means now is not what was asked for.
            !knowledge.is_superseded(&record) && knowledge.repair.audited(now, &peer, &key, proof)
        };
        if is_found_out {
            let name = record.canonical_name();
            tracing::warn!(%peer, %name, "a peer does not have what it says it holds");
            self.suspicions.false_copy();
            self.changed.notify_one();
        }
    }

    /// An item of the record's content: any of its bytes is as likely as any other to be asked for.
    async fn any_item(&self, record: &SignedRecord, random: &mut StdRng) -> Option<Item> {
        let contents = self.library.contents(record.record().module).await.ok()??;
        if !record.record().contents.is_of(&contents) || contents.bytes() == 0 {
            return None;
        }
        let mut byte = random.random_range(0..contents.bytes());
        contents.items().iter().copied().find(|item| {
            let is_it = byte < item.size;
            byte = byte.saturating_sub(item.size);
            is_it
        })
    }

    async fn prove_by(
        &self,
        peer: PeerId,
        item: &Item,
        random: &mut StdRng,
    ) -> Result<(), Unproved> {
        let node = self.node().ok_or(Unproved::Silent)?;
        let opening = timeout(OPEN, node.open(peer)).await.map_err(|_| Unproved::Silent)?;
        let stream = opening.map_err(|_| Unproved::Silent)?;
        prove(stream, item, STALL, random).await
    }

    /// Whether a peer says once more that it holds the content of a record. What it says otherwise is
    /// noted. One that does not answer at all is not audited: what cannot be reached is noticed anyway.
    async fn still_claims(&self, peer: PeerId, record: &SignedRecord) -> bool {
        let Some(node) = self.node() else { return false };
        let copy = CopyOf::record(record);
        let Ok(Response::Held(held)) = node.ask(peer, Request::Holds(vec![copy])).await else {
            return false;
        };
        let claims = held.contains(&copy);
        if !claims {
            self.knowledge().repair.denied(self.elapsed(), &peer, &copy.key);
        }
        claims
    }
}
