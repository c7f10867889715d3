//! Being reached through others, for a node that nobody reaches directly.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::StreamProtocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, identify, relay};

use super::Driver;
use super::reached::Reach;
use crate::node::peers::is_relayed;

/// Through how many others.
const MAX_RELAYS: usize = 2;

/// How long to wait before looking for one, again or at first: AutoNAT, which has an address tried
/// every five seconds, has to have had its time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Those who relay, and through whom this node is reached.
#[derive(Default)]
pub(super) struct Relays {
    /// Connected peers that relay for others, and where they say they are. As many as there are
    /// connections.
    able: HashMap<PeerId, Multiaddr>,
    used: HashMap<PeerId, ListenerId>,
    looked: Option<Instant>,
}

impl Relays {
    /// Notes whether a peer relays, by what it says about itself; `addresses` are those of its own that
    /// are believed.
    pub(super) fn identified(
        &mut self,
        peer: PeerId,
        info: &identify::Info,
        addresses: &[Multiaddr],
    ) {
        let relays = |protocol: &StreamProtocol| *protocol == relay::HOP_PROTOCOL_NAME;
        let direct = addresses.iter().filter(|address| !is_relayed(address));
        // The one that can be dialled from farthest away.
        let best = direct.max_by_key(|address| Reach::of(address));
        match best.filter(|_| info.protocols.iter().any(relays)) {
            Some(address) => self.able.insert(peer, address.clone()),
            None => self.able.remove(&peer),
        };
    }

    /// Notes that a peer is gone.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        self.able.remove(peer);
    }

    /// Notes that a listener has ended. The peer that it was at relays no more, or not for us, until it
    /// says something new about itself.
    pub(super) fn closed(&mut self, listener: ListenerId) {
        let able = &mut self.able;
        self.used.retain(|peer, used| {
            let is_it = *used == listener;
            if is_it {
                able.remove(peer);
            }
            !is_it
        });
    }

    /// A peer to be reached through, if one more is needed, and where it is. It has to be one that is
    /// reached from farther away than this node is. `dialled` says where a peer was dialled, if it was:
    /// that is where it is for certain.
    fn next<'a>(
        &'a mut self,
        reached: Option<Reach>,
        dialled: impl Fn(&PeerId) -> Option<&'a Multiaddr>,
        now: Instant,
    ) -> Option<(PeerId, Multiaddr)> {
        let looked = *self.looked.get_or_insert(now);
        if self.used.len() >= MAX_RELAYS || now.duration_since(looked) < LOOK_EVERY {
            return None;
        }
        self.looked = Some(now);
        let others = self.able.iter().filter(|(peer, _)| !self.used.contains_key(*peer));
        let mut placed = others.map(|(peer, said)| (peer, dialled(peer).unwrap_or(said)));
        let (peer, address) = placed.find(|(_, address)| Some(Reach::of(address)) > reached)?;
        Some((*peer, address.clone()))
    }
}

impl Driver {
    /// Has others relay, if they are reached from where this node is not. Relays for others itself only
    /// where it is reached directly: libp2p would also count that it is reached through somebody else.
    pub(super) fn find_relays(&mut self, now: Instant) {
        let external = self.swarm.external_addresses();
        let reached = external.filter(|address| !is_relayed(address)).map(Reach::of).max();
        if !self.on_the_internet {
            return;
        }
        self.relay_for_others(reached.is_some());
        let members = &self.members;
        let Some((peer, address)) = self.relays.next(reached, |peer| members.dialled(peer), now)
        else {
            return;
        };
        let address = match address.iter().last() {
            Some(Protocol::P2p(_)) => address,
            _ => address.with(Protocol::P2p(peer)),
        };
        match self.swarm.listen_on(address.with(Protocol::P2pCircuit)) {
            Ok(listener) => {
                self.relays.used.insert(peer, listener);
            }
            Err(error) => tracing::debug!(%peer, %error, "not a relay"),
        }
    }

    fn relay_for_others(&mut self, does: bool) {
        if self.relaying != does {
            self.relaying = does;
            let status = if does { relay::Status::Enable } else { relay::Status::Disable };
            self.swarm.behaviour_mut().set_relaying(status);
        }
    }

    /// Dials a peer where it says that it is that came through a relay. If it can be reached there and
    /// this node cannot, hole punching does not help, which has both sides dial.
    pub(super) fn dial_directly(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let direct: Vec<_> =
            addresses.iter().filter(|address| !is_relayed(address)).cloned().collect();
        if direct.is_empty() || !self.members.is_relayed(&peer) {
            return;
        }
        let dial = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing).addresses(direct);
        // It fails while it is being dialled, or when there are too many connections.
        let _ = self.swarm.dial(dial.build());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn able(at: &str) -> (Relays, PeerId, Instant) {
        let (peer, now) = (PeerId::random(), Instant::now());
        let relays = Relays { able: HashMap::from([(peer, address(at))]), ..Relays::default() };
        (relays, peer, now)
    }

    #[test]
    fn a_relay_is_looked_for_after_a_while_and_where_it_is_reached_from_farther_away() {
        let (mut relays, peer, now) = able("/ip4/192.0.2.1/tcp/1");
        let later = now + LOOK_EVERY;
        assert_eq!(relays.next(None, |_| None, now), None);
        assert_eq!(relays.next(Some(Reach::World), |_| None, later), None);
        let (found, at) = relays.next(Some(Reach::Site), |_| None, later + LOOK_EVERY).unwrap();
        assert_eq!((found, at), (peer, address("/ip4/192.0.2.1/tcp/1")));
    }

    #[test]
    fn where_it_was_dialled_is_where_it_is() {
        let (mut relays, _, now) = able("/ip4/10.0.0.1/tcp/1");
        let dialled = address("/dns4/relay.example/tcp/1");
        assert_eq!(relays.next(None, |_| Some(&dialled), now), None);
        let (_, at) = relays.next(None, |_| Some(&dialled), now + LOOK_EVERY).unwrap();
        assert_eq!(at, dialled);
    }

    #[test]
    fn one_that_refused_is_not_asked_at_once_again() {
        let (mut relays, peer, now) = able("/ip4/192.0.2.1/tcp/1");
        let listener = ListenerId::next();
        relays.used.insert(peer, listener);
        relays.closed(listener);
        assert!(relays.used.is_empty());
        relays.looked = Some(now);
        assert_eq!(relays.next(None, |_| None, now + LOOK_EVERY), None);
    }
}
