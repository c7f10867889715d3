//! A network behind a wall, for tests: whoever is on it dials whom it likes, and is dialled by those
//! alone that it has dialled itself, as behind a router that keeps what is open by address and port.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};

use super::redial::without_peer;
use super::transport::Connections;

/// A transport behind a wall.
pub(super) struct Walled {
    inner: Connections,
    dialled: HashSet<Multiaddr>,
}

impl Walled {
    pub(super) fn new(inner: Connections) -> Self {
        Self { inner, dialled: HashSet::new() }
    }
}

impl Transport for Walled {
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
        self.dialled.insert(without_peer(address.clone()));
        self.inner.dial(address, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        loop {
            match ready!(Pin::new(&mut self.inner).poll(context)) {
                // Dropping it closes it.
                TransportEvent::Incoming { send_back_addr, .. }
                    if !self.dialled.contains(&send_back_addr) => {}
                event => return Poll::Ready(event),
            }
        }
    }
}
