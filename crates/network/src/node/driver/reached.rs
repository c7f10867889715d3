//! Where others have reached this node, by what those say who did.
//!
//! AutoNAT has this node's addresses tried by peers that it has dialled itself. The first node of a
//! network, which all others dial and which need dial nobody, would never know where it is reached, and
//! so would neither be looked up at nor relay for others.

use std::collections::HashMap;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::node::peers::is_relayed;
use crate::node::redial::without_peer;

/// How many peers have to have dialled an address before it is believed that this node is there.
const WITNESSES: usize = 2;

/// Where each connected peer dialled this node, as it says.
#[derive(Debug, Default)]
pub(super) struct Reached(HashMap<PeerId, Multiaddr>);

impl Reached {
    /// `peer` says that it dialled this node at `address`: the address, if it is to be believed now.
    pub(super) fn witnessed(&mut self, peer: PeerId, address: Multiaddr) -> Option<Multiaddr> {
        let address = without_peer(address);
        if is_relayed(&address) {
            return None;
        }
        self.0.insert(peer, address.clone());
        let witnesses = self.0.values().filter(|claimed| **claimed == address).count();
        (witnesses >= WITNESSES).then_some(address)
    }

    /// Forgets what a peer said that is gone.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }
}

/// From how far away an address can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// From the same machine.
    Machine,
    /// From the same network.
    Site,
    /// From anywhere.
    World,
}

impl Reach {
    pub(super) fn of(address: &Multiaddr) -> Self {
        match address.iter().next() {
            Some(Protocol::Ip4(ip)) if ip.is_loopback() => Self::Machine,
            Some(Protocol::Ip6(ip)) if ip.is_loopback() => Self::Machine,
            Some(Protocol::Memory(_)) => Self::Machine,
            Some(Protocol::Ip4(ip)) => {
                // What providers have between them and their customers.
                let is_shared = matches!(ip.octets(), [100, 64..=127, ..]);
                match ip.is_private() || ip.is_link_local() || is_shared {
                    true => Self::Site,
                    false => Self::World,
                }
            }
            Some(Protocol::Ip6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => {
                Self::Site
            }
            _ => Self::World,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_believed_of_two_peers_while_they_are_there() {
        let mut reached = Reached::default();
        let [one, other, third] = [(); 3].map(|()| PeerId::random());
        let [here, there] = ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"].map(address);
        let named = here.clone().with(Protocol::P2p(PeerId::random()));
        assert_eq!(reached.witnessed(one, here.clone()), None);
        assert_eq!(reached.witnessed(one, here.clone()), None, "it is the same one");
        assert_eq!(reached.witnessed(other, there), None);
        assert_eq!(reached.witnessed(third, named), Some(here.clone()));
        reached.disconnected(&one);
        assert_eq!(reached.witnessed(third, here.clone()), None);
        assert_eq!(reached.witnessed(other, here.clone()), Some(here));
    }

    #[test]
    fn relayed_addresses_are_nobodys_witness() {
        let mut reached = Reached::default();
        let relayed = address("/ip4/192.0.2.1/tcp/1").with(Protocol::P2pCircuit);
        for _ in 0..3 {
            assert_eq!(reached.witnessed(PeerId::random(), relayed.clone()), None);
        }
    }

    #[test]
    fn reach_goes_by_the_kind_of_address() {
        for (expected, addresses) in [
            (Reach::Machine, &["/ip4/127.0.0.2/tcp/1", "/ip6/::1/udp/1/quic-v1", "/memory/1"][..]),
            (
                Reach::Site,
                &[
                    "/ip4/10.0.0.1/tcp/1",
                    "/ip4/169.254.0.1/tcp/1",
                    "/ip4/100.64.0.1/tcp/1",
                    "/ip6/fd00::1/tcp/1",
                    "/ip6/fe80::1/tcp/1",
                ],
            ),
            (
                Reach::World,
                &["/ip4/100.128.0.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns4/a.example/tcp/1"],
            ),
        ] {
            for text in addresses {
                assert_eq!(Reach::of(&address(text)), expected, "{text}");
            }
        }
        assert!(Reach::Machine < Reach::Site && Reach::Site < Reach::World);
    }
}
