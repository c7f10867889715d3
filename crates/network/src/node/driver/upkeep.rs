//! What is done from time to time.

use std::time::Instant;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::Driver;
use crate::node::status::NodeStatus;

impl Driver {
    pub(super) fn on_tick(&mut self) {
        let now = Instant::now();
        for peer in self.ledger.end_bans(now) {
            self.swarm.behaviour_mut().bans.unblock_peer(peer);
        }
        self.ledger.forget_quiet(now);
        for peer in self.members.silent(now) {
            self.part_from_stranger(peer, now);
        }
        for connection in self.members.dead_connections(now) {
            tracing::debug!(%connection, "no answer to a ping");
            self.swarm.close_connection(connection);
        }
        self.end_visits(now);
        self.dial_due(now);
        self.explore(now);
        self.find_relays(now);
        if self.measured {
            self.publish_peers();
        }
        self.publish_status();
    }

    /// Parts from those who came when all places were taken, and have been told of others.
    fn end_visits(&mut self, now: Instant) {
        let redial = &self.redial;
        let expected = |peer: &PeerId| redial.is_configured(peer);
        let over = self.members.visits_over(self.inbound_connections, self.visit, expected, now);
        for connection in over {
            self.swarm.close_connection(connection);
        }
    }

    /// Dials whoever is due.
    fn dial_due(&mut self, now: Instant) {
        let wanted = self.wanted_peers.saturating_sub(self.members.live().len());
        let members = &self.members;
        for dial in self.redial.due(now, wanted, |peer| members.contains(peer)) {
            let connection = dial.connection_id();
            if let Err(error) = self.swarm.dial(dial) {
                self.dial_failed(connection, &error, now);
            }
        }
    }

    pub(super) fn publish_status(&mut self) {
        let (inbound_connections, outbound_connections) = self.members.connections();
        let routable_peers =
            self.swarm.behaviour_mut().kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        let status = NodeStatus {
            addresses: self.named(self.swarm.listeners()),
            external_addresses: self.named(self.swarm.external_addresses()),
            routable_peers,
            inbound_connections,
            outbound_connections,
            banned_peers: self.ledger.banned(),
            received_bytes: self.shared.traffic.received(),
            sent_bytes: self.shared.traffic.sent(),
            same_identity: self.twins.look(),
            refusals: self.refusals,
        };
        *self.shared.status() = status;
    }

    /// Addresses that end in this node's id.
    fn named<'a>(&self, addresses: impl Iterator<Item = &'a Multiaddr>) -> Vec<Multiaddr> {
        let local = Protocol::P2p(self.shared.peer_id);
        addresses
            .map(|address| match address.iter().last() {
                Some(Protocol::P2p(_)) => address.clone(),
                _ => address.clone().with(local.clone()),
            })
            .collect()
    }
}
