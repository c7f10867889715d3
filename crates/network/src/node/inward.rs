//! Keeps a node from dialling its own machine because others say that a peer is there.
//!
//! Whoever listens on all interfaces says its loopback addresses, too, and so do those who pass on what
//! they heard of it, as Kademlia does. On any other machine they lead to somebody else.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};

use super::peers::is_loopback;
use super::transport::Connections;

/// Whether there are peers on this machine: some are configured or remembered, or have come from here.
#[derive(Clone, Debug, Default)]
pub(super) struct Inward(Arc<AtomicBool>);

impl Inward {
    /// A peer is known to be there, or to come from there.
    pub(super) fn note(&self, address: &Multiaddr) {
        if is_loopback(address) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a peer may be there.
    pub(super) fn allows(&self, address: &Multiaddr) -> bool {
        !is_loopback(address) || self.0.load(Ordering::Relaxed)
    }
}

/// A transport that dials what [`Inward`] allows.
pub(super) struct Guarded {
    inner: Connections,
    inward: Inward,
}

impl Guarded {
    pub(super) fn new(inner: Connections, inward: Inward) -> Self {
        Self { inner, inward }
    }
}

impl Transport for Guarded {
    type Output = <Connections as Transport>::Output;
    type Error = <Connections as Transport>::Error;
    type ListenerUpgrade = <Connections as Transport>::ListenerUpgrade;
    type Dial = <Connections as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        match self.inward.allows(&address) {
            true => self.inner.dial(address, opts),
            false => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_dialled_once_somebody_is_known_to_be_there() {
        let [here, also_here, there] =
            ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/1", "/ip4/192.0.2.1/tcp/1"]
                .map(|address| address.parse::<Multiaddr>().unwrap());
        let inward = Inward::default();
        inward.note(&there);
        assert!(!inward.allows(&here) && !inward.allows(&also_here) && inward.allows(&there));
        inward.clone().note(&also_here);
        assert!(inward.allows(&here) && inward.allows(&also_here));
    }
}
