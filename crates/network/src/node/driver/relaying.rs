//! Being reached through others, for a node that nobody reaches directly.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::StreamProtocol;
use libp2p::{Multiaddr, PeerId, identify, relay};

use super::Driver;
use crate::node::peers::is_relayed;

/// Through how many others.
const MAX_RELAYS: usize = 2;

/// How long to wait before looking for one, again or at first: AutoNAT has to have had its time.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Those who relay, and through whom this node is reached.
#[derive(Default)]
pub(super) struct Relays {
    /// Connected peers that relay for others, and where they are. As many as there are connections.
    able: HashMap<PeerId, Multiaddr>,
    used: HashMap<PeerId, ListenerId>,
    looked: Option<Instant>,
}

impl Relays {
    /// Notes whether a peer relays, by what it says about itself.
    pub(super) fn identified(&mut self, peer: PeerId, info: &identify::Info) {
        let relays = |protocol: &StreamProtocol| *protocol == relay::HOP_PROTOCOL_NAME;
        let direct = info.listen_addrs.iter().find(|address| !is_relayed(address));
        match direct.filter(|_| info.protocols.iter().any(relays)) {
            Some(address) => self.able.insert(peer, address.clone()),
            None => self.able.remove(&peer),
        };
    }

    /// Notes that a peer is gone.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        self.able.remove(peer);
    }

    /// Notes that a listener has ended.
    pub(super) fn closed(&mut self, listener: ListenerId) {
        self.used.retain(|_, used| *used != listener);
    }

    /// A peer to be reached through, if one more is needed, and the address to listen at.
    fn next(&mut self, now: Instant) -> Option<(PeerId, Multiaddr)> {
        let looked = *self.looked.get_or_insert(now);
        if self.used.len() >= MAX_RELAYS || now.duration_since(looked) < LOOK_EVERY {
            return None;
        }
        self.looked = Some(now);
        let (peer, address) = self.able.iter().find(|(peer, _)| !self.used.contains_key(*peer))?;
        let mut address = address.clone();
        if !address.iter().any(|part| matches!(part, Protocol::P2p(_))) {
            address.push(Protocol::P2p(*peer));
        }
        Some((*peer, address.with(Protocol::P2pCircuit)))
    }
}

impl Driver {
    /// Has others relay, if nobody reaches this node directly.
    pub(super) fn find_relays(&mut self, now: Instant) {
        let is_reached = self.swarm.external_addresses().any(|address| !is_relayed(address));
        if !self.on_the_internet || is_reached {
            return;
        }
        let Some((peer, address)) = self.relays.next(now) else { return };
        match self.swarm.listen_on(address) {
            Ok(listener) => {
                self.relays.used.insert(peer, listener);
            }
            Err(error) => tracing::debug!(%peer, %error, "not a relay"),
        }
    }
}
