//! Look-ups in Kademlia's table, which is the network's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use libp2p::kad::{
    Event, GetClosestPeersError, GetClosestPeersResult, GetProvidersOk, GetProvidersResult,
    PeerInfo, QueryId, QueryResult, RecordKey,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Driver;
use super::events::MAX_ADDRESSES;
use crate::Key;
use crate::node::redial::without_peer;

/// How often a look-up of any place is made while fewer peers are live than are wanted.
const EXPLORE_EVERY: Duration = Duration::from_secs(15);

/// How often while there are ever more of them, as when the node has just joined.
const EXPLORE_SOON: Duration = Duration::from_secs(2);

/// The most providers that a look-up finds.
const MAX_PROVIDERS: usize = 64;

/// A look-up, and whoever waits for what it finds.
pub(in crate::node) enum LookUp {
    Closest {
        key: Key,
        reply: oneshot::Sender<Vec<PeerId>>,
        _place: OwnedSemaphorePermit,
    },
    Provide {
        key: Key,
        reply: oneshot::Sender<()>,
        _place: OwnedSemaphorePermit,
    },
    Providers {
        key: Key,
        reply: oneshot::Sender<Vec<PeerId>>,
        found: HashSet<PeerId>,
        _place: OwnedSemaphorePermit,
    },
}

impl Driver {
    pub(super) fn look_up(&mut self, look_up: LookUp) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let query = match &look_up {
            LookUp::Closest { key, .. } => kad.get_closest_peers(key.as_bytes().to_vec()),
            LookUp::Providers { key, .. } => kad.get_providers(RecordKey::new(key.as_bytes())),
            LookUp::Provide { key, .. } => {
                match kad.start_providing(RecordKey::new(key.as_bytes())) {
                    Ok(query) => query,
                    Err(error) => {
                        tracing::warn!(%error, "not on record as a provider");
                        return;
                    }
                }
            }
        };
        self.look_ups.insert(query, look_up);
    }

    pub(super) fn withdraw(&mut self, key: &Key) {
        self.swarm.behaviour_mut().kad.stop_providing(&RecordKey::new(key.as_bytes()));
    }

    pub(super) fn on_kad_event(&mut self, event: Event) {
        let Event::OutboundQueryProgressed { id, result, step, .. } = event else { return };
        match result {
            QueryResult::GetClosestPeers(result) => self.found_closest(id, result),
            QueryResult::GetProviders(result) => self.found_providers(id, result, step.last),
            QueryResult::StartProviding(_) => {
                if let Some(LookUp::Provide { reply, .. }) = self.look_ups.remove(&id) {
                    let _ = reply.send(());
                }
            }
            _ => {}
        }
    }

    fn found_closest(&mut self, id: QueryId, result: GetClosestPeersResult) {
        let peers = match result {
            Ok(found) => found.peers,
            Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        let now = Instant::now();
        for PeerInfo { peer_id, addrs } in &peers {
            let addresses = self.plausible(addrs);
            for address in &addresses {
                self.swarm.add_peer_address(*peer_id, address.clone());
            }
            self.redial.remember(*peer_id, &addresses, now);
        }
        if let Some(LookUp::Closest { reply, .. }) = self.look_ups.remove(&id) {
            let _ = reply.send(peers.into_iter().map(|peer| peer.peer_id).collect());
        }
    }

    /// Where others say that a peer is, without what cannot be so.
    fn plausible(&self, addresses: &[Multiaddr]) -> Vec<Multiaddr> {
        let plausible = addresses.iter().filter(|address| self.inward.allows(address));
        plausible.take(MAX_ADDRESSES).cloned().map(without_peer).collect()
    }

    fn found_providers(&mut self, id: QueryId, result: GetProvidersResult, last: bool) {
        if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result
            && let Some(LookUp::Providers { found, .. }) = self.look_ups.get_mut(&id)
        {
            found.extend(providers);
            if found.len() >= MAX_PROVIDERS
                && let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&id)
            {
                query.finish();
            }
        }
        if last && let Some(LookUp::Providers { reply, found, .. }) = self.look_ups.remove(&id) {
            let _ = reply.send(found.into_iter().take(MAX_PROVIDERS).collect());
        }
    }

    /// Looks who is at any place, to find peers that nobody has looked for.
    pub(super) fn explore(&mut self, now: Instant) {
        let live = self.members.live().len();
        let (explored, live_then) = self.explored;
        let wait = if live > live_then { EXPLORE_SOON } else { EXPLORE_EVERY };
        if live >= self.wanted_peers || now.duration_since(explored) < wait {
            return;
        }
        self.explored = (now, live);
        self.swarm.behaviour_mut().kad.get_closest_peers(PeerId::random());
    }
}
