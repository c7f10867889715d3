//! What carries the bytes: TCP and QUIC, or channels in this process, always encrypted and
//! authenticated, and relayed connections over them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport};
use libp2p::core::upgrade::Version;
use libp2p::futures::future::Either;
use libp2p::futures::{AsyncRead, AsyncWrite, TryFutureExt};
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, Transport as _, dns, noise, quic, relay, tcp, yamux};

use super::config::{NodeConfig, Transport};
use super::error::NodeError;
use super::inward::{Guarded, Inward};
use super::traffic::{Counted, Traffic};

/// How long a handshake may take, on TCP from the first byte to the last of yamux.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most streams of one connection, both ways. Each may have 256 KiB unread, so a peer may have
/// 32 MiB of this node. (yamux lets a stream have more that is read as fast as it comes.)
const MAX_STREAMS: usize = 128;

/// A transport whose connections are authenticated, multiplexed and counted.
pub(super) type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// Makes what `config` says, and what the relay behaviour needs to have its share in it.
pub(super) fn build(
    config: &NodeConfig,
    traffic: &Arc<Traffic>,
    inward: &Inward,
) -> Result<(Connections, relay::client::Behaviour), NodeError> {
    let keypair = &config.keypair;
    let direct = match (config.transport, config.secret) {
        (Transport::Memory, secret) => {
            secure(guarded(MemoryTransport::default(), secret), keypair)?
        }
        #[cfg(feature = "delay")]
        (Transport::Delayed(delay), secret) => {
            let distant = MemoryTransport::default()
                .map(move |channel, _| super::delayed::Delayed::new(channel, delay));
            secure(guarded(distant, secret), keypair)?
        }
        #[cfg(test)]
        (Transport::Walled, _) => {
            let tcp = secure(tcp::tokio::Transport::new(tcp::Config::default()), keypair)?;
            super::walled::Walled::new(tcp).boxed()
        }
        (Transport::Network, Some(secret)) => {
            let tcp = tcp::tokio::Transport::new(tcp::Config::default());
            named(secure(guarded(tcp, Some(secret)), keypair)?)?
        }
        (Transport::Network, None) => {
            let tcp = secure(tcp::tokio::Transport::new(tcp::Config::default()), keypair)?;
            let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
                .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
            named(quic.or_transport(tcp).map(|either, _| either.into_inner()).boxed())?
        }
    };
    let (relayed, behaviour) = relay::client::new(keypair.public().to_peer_id());
    let traffic = Arc::clone(traffic);
    let transport = secure(relayed, keypair)?
        .or_transport(Guarded::new(direct, inward.clone()))
        .map(move |either, _| {
            let (peer, connection) = either.into_inner();
            (peer, StreamMuxerBox::new(Counted::new(connection, Arc::clone(&traffic))))
        })
        .boxed();
    Ok((transport, behaviour))
}

/// Encrypts under the pre-shared secret, if there is one, before anything else is said.
fn guarded<T, S>(
    transport: T,
    secret: Option<PreSharedKey>,
) -> impl libp2p::Transport<
    Output = impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Dial: Send,
    ListenerUpgrade: Send,
    Error: Send + Sync,
> + Send
+ Unpin
+ 'static
where
    T: libp2p::Transport<Output = S> + Send + Unpin + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
    T::Error: Send + Sync,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    transport.and_then(move |socket, _| match secret {
        Some(secret) => Either::Left(
            PnetConfig::new(secret)
                .handshake(socket)
                .map_ok(Either::Left)
                .map_err(io::Error::other),
        ),
        None => Either::Right(std::future::ready(Ok(Either::Right(socket)))),
    })
}

/// Authenticates by Noise and multiplexes by yamux.
fn secure<T>(transport: T, keypair: &Keypair) -> Result<Connections, noise::Error>
where
    T: libp2p::Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
    T::Error: Send + Sync,
{
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_STREAMS);
    Ok(transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed())
}

/// Resolves names in addresses as this machine does. On one that is set up for no resolver,
/// addresses by number go on working.
fn named(transport: Connections) -> io::Result<Connections> {
    if let Err(error) = dns::tokio::Transport::system(()) {
        tracing::warn!(%error, "no resolver: peers are reached by number alone");
        return Ok(transport);
    }
    Ok(dns::tokio::Transport::system(transport)?.boxed())
}
