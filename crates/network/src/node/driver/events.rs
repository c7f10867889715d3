//! What happens on the swarm.

use std::time::Instant;

use libp2p::swarm::{ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns, ping};

use super::{Behaviour, BehaviourEvent, Driver};
use crate::node::ledger::Verdict;
use crate::node::peers::is_loopback;
use crate::node::redial::{peer_of, without_peer};

/// The most addresses of a peer that are believed.
pub(super) const MAX_ADDRESSES: usize = 16;

impl Driver {
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.inward.note(endpoint.get_remote_address());
                self.redial.reached(connection_id, peer_id, now);
                if self.redial.is_configured(&peer_id) {
                    self.swarm.behaviour_mut().limits.bypass_peer_id(&peer_id);
                }
                if self.members.connected(peer_id, connection_id, &endpoint, now) {
                    self.peers_changed();
                }
                if endpoint.is_listener() {
                    self.on_guest(peer_id, connection_id, now);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                let changed = self.members.disconnected(peer_id, connection_id);
                if !self.members.contains(&peer_id) {
                    self.relays.disconnected(&peer_id);
                    self.reached.disconnected(&peer_id);
                }
                if changed {
                    self.peers_changed();
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dial_failed(connection_id, &error, now);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => self.on_listen_error(&error),
            SwarmEvent::ListenerClosed { listener_id, .. } => self.relays.closed(listener_id),
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "peers can reach this node here");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener has failed");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(
        &mut self,
        event: <Behaviour as libp2p::swarm::NetworkBehaviour>::ToSwarm,
        now: Instant,
    ) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => self.on_identified(peer_id, connection_id, &info, now),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Kad(event) => self.on_kad_event(event),
            BehaviourEvent::Store(event) => self.on_store_event(event),
            BehaviourEvent::Transfer(opened) => self.on_stream(opened),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.redial.remember(peer, &[without_peer(address)], now);
                }
            }
            _ => {}
        }
    }

    /// A peer of this network becomes a live one; we part from any other.
    fn on_identified(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        info: &identify::Info,
        now: Instant,
    ) {
        if !info.protocols.contains(&self.protocols.store) {
            return self.part_from_stranger(peer, now);
        }
        // A peer may push its identity whenever it likes, so that is charged like a request.
        match self.ledger.charge(peer, 1, 0, now) {
            Verdict::Serve => {}
            Verdict::Refuse => {
                self.refusals.over_rate += 1;
                return;
            }
            Verdict::Ban => return self.ban(peer, now),
        }
        let addresses = self.believable(peer, &info.listen_addrs);
        for address in &addresses {
            self.swarm.add_peer_address(peer, address.clone());
        }
        self.update_routes(peer, info, &addresses);
        self.relays.identified(peer, info, &addresses);
        if self.on_the_internet {
            self.dial_directly(peer, &addresses);
            self.was_reached_by(peer, connection, &info.observed_addr);
        }
        self.redial.remember(peer, &addresses, now);
        self.redial.answered(peer, now);
        if self.members.identified(peer, &info.agent_version, addresses) {
            self.peers_changed();
        }
    }

    /// Notes where a peer has dialled this node that nothing but its own dial has let in.
    fn was_reached_by(&mut self, peer: PeerId, connection: ConnectionId, at: &Multiaddr) {
        if !self.members.has_dialled_us(&peer, connection) {
            return;
        }
        if let Some(address) = self.reached.witnessed(peer, at.clone())
            && self.swarm.external_addresses().all(|known| *known != address)
        {
            tracing::info!(%address, "others reach this node here");
            self.swarm.add_external_address(address);
        }
    }

    /// Puts a peer that serves look-ups into the routing table, with the addresses that it has now.
    fn update_routes(&mut self, peer: PeerId, info: &identify::Info, addresses: &[Multiaddr]) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        if info.protocols.contains(&self.protocols.kad) {
            for address in addresses {
                kad.add_address(&peer, address.clone());
            }
        }
        let before = self.members.live().get(&peer).map_or(&[][..], |before| &before.addresses);
        for gone in before.iter().filter(|address| !addresses.contains(address)) {
            kad.remove_address(&peer, gone);
        }
    }

    /// Where a peer says it is, without what cannot be so.
    fn believable(&self, peer: PeerId, addresses: &[Multiaddr]) -> Vec<Multiaddr> {
        let is_local = self.members.is_local(&peer);
        addresses
            .iter()
            .filter(|address| peer_of(address).is_none_or(|named| named == peer))
            .filter(|address| is_local || !is_loopback(address))
            .take(MAX_ADDRESSES)
            .cloned()
            .map(without_peer)
            .collect()
    }

    pub(super) fn part_from_stranger(&mut self, peer: PeerId, now: Instant) {
        self.refusals.strangers += 1;
        if self.redial.is_configured(&peer) {
            tracing::warn!(%peer, "a configured peer is not of this network");
        }
        self.redial.forget(&peer, now);
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Pings that fail are not acted upon, but that none succeeds.
    fn on_ping(&mut self, event: ping::Event) {
        if let Ok(rtt) = event.result {
            self.members.measured(event.peer, event.connection, rtt, Instant::now());
            self.measured = true;
        }
    }

    pub(super) fn dial_failed(
        &mut self,
        connection: ConnectionId,
        error: &DialError,
        now: Instant,
    ) {
        let local = self.shared.peer_id;
        match error {
            DialError::LocalPeerId { address } => self.met_ourself(connection, address),
            DialError::WrongPeerId { obtained, address } if *obtained == local => {
                self.met_ourself(connection, address);
            }
            DialError::Denied { .. } => self.refusals.connections += 1,
            _ => {}
        }
        self.redial.failed(connection, now);
    }

    /// Turns away who comes when all places are taken and was here for a visit already.
    fn on_guest(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        let has_place = self.members.connections().0 <= self.inbound_connections
            || self.redial.is_configured(&peer);
        if !has_place && !self.visitors.admit(peer, now) {
            self.refusals.connections += 1;
            self.swarm.close_connection(connection);
        }
    }

    fn met_ourself(&mut self, connection: ConnectionId, address: &Multiaddr) {
        let address = without_peer(address.clone());
        let own = self.swarm.listeners().chain(self.swarm.external_addresses());
        let is_own = own.cloned().map(without_peer).any(|own| own == address);
        self.twins.dialled(is_own);
        if is_own {
            self.redial.is_ourself(connection, &address);
        }
    }

    fn on_listen_error(&mut self, error: &ListenError) {
        match error {
            ListenError::LocalPeerId { .. } => self.twins.was_dialled(),
            ListenError::Denied { .. } => self.refusals.connections += 1,
            _ => {}
        }
    }
}
