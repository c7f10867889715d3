//! Which protocols a node speaks, and how each is set up.

use std::io;
use std::time::Duration;

use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, StreamProtocol, autonat, dcutr, identify, kad, mdns, ping, relay};

use super::book::Book;
use super::codec::Codec;
use super::config::{NodeConfig, PeerBounds};
use super::provided::Provided;
use super::requests::LONGEST_ANSWER;
use super::streams;
use crate::Key;
use crate::protocol::STORE_PROTOCOL;
use crate::transfer::TRANSFER_PROTOCOL;

/// The family of protocols, for whoever looks at a connection.
const FAMILY: &str = "/wasm-exec/1";

/// A connection on which no ping is answered for so long leads nowhere any more, and is closed. The
/// pings' own failures do not say so: their first is kept quiet, and what comes after it is that no
/// other stream can be opened, only later.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How often each peer is asked whether it is there: often enough that what a dead one had can be
/// copied elsewhere within 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// How long a look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one peer may take to answer a step of a look-up.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long a peer is on record as a provider, and how often this node renews its own records.
const PROVIDER_TTL: Duration = Duration::from_secs(3 * 60 * 60);
const PROVIDER_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// For how many peers this node relays at a time, each of them connected to it; how often for one of
/// them; and how long, until it asks again.
const RESERVATIONS: usize = 64;
const RESERVATIONS_OF_ONE: usize = 1;
const RESERVED_FOR: Duration = Duration::from_secs(60 * 60);

/// How many connections it relays at a time, and to one peer; how long each may last; and how many
/// bytes may go through it, either way: enough for two peers to find a direct way to each other and to
/// ask about single names, and no content.
const CIRCUITS: usize = 16;
const CIRCUITS_OF_ONE: usize = 4;
const CIRCUIT_DURATION: Duration = Duration::from_secs(2 * 60);
const CIRCUIT_BYTES: u64 = 128 << 10;

/// Streams of one connection beyond those that are counted as requests: those that are read.
const READING_STREAMS: usize = 16;

/// The names of the protocols of one network.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    pub(super) store: StreamProtocol,
    pub(super) transfer: StreamProtocol,
    pub(super) kad: StreamProtocol,
}

impl Protocols {
    /// Those of a network: its key's first half is at the end of each name.
    pub(super) fn of(network: &Key) -> Self {
        let network: String =
            network.as_bytes()[..Key::BYTES / 2].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = |protocol: &str| {
            StreamProtocol::try_from_owned(format!("{protocol}/{network}"))
                .expect("the names begin with a slash")
        };
        Self {
            store: name(STORE_PROTOCOL),
            transfer: name(TRANSFER_PROTOCOL),
            kad: name("/wasm-exec/kad/1"),
        }
    }
}

/// All that a node speaks.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // Whoever is refused by one of these two is refused before the others hear of it.
    pub(super) bans: allow_block_list::Behaviour<BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<Provided>,
    pub(super) store: request_response::Behaviour<Codec>,
    pub(super) transfer: streams::Behaviour,
    book: Book,
    mdns: Toggle<mdns::tokio::Behaviour>,
    autonat_client: Toggle<autonat::v2::client::Behaviour>,
    autonat_server: Toggle<autonat::v2::server::Behaviour>,
    relay_client: relay::client::Behaviour,
    relay_server: Toggle<relay::Behaviour>,
    hole_punching: Toggle<dcutr::Behaviour>,
}

impl Behaviour {
    pub(super) fn new(
        config: &NodeConfig,
        protocols: &Protocols,
        relay_client: relay::client::Behaviour,
    ) -> Self {
        let local = config.keypair.public().to_peer_id();
        let bounds = &config.bounds;
        let on_the_internet = !config.local_only_mode;
        Self {
            bans: allow_block_list::Behaviour::default(),
            limits: limits(bounds),
            identify: identify(config),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT),
            ),
            kad: kad(local, config, protocols.kad.clone()),
            store: store(bounds, protocols.store.clone()),
            transfer: streams::Behaviour::new(protocols.transfer.clone()),
            book: Book::new(),
            mdns: mdns(config, local).into(),
            autonat_client: on_the_internet.then(Default::default).into(),
            autonat_server: on_the_internet.then(Default::default).into(),
            relay_client,
            relay_server: on_the_internet.then(|| relay_server(local)).into(),
            hole_punching: on_the_internet.then(|| dcutr::Behaviour::new(local)).into(),
        }
    }

    /// Says whether this node relays for others.
    pub(super) fn set_relaying(&mut self, status: relay::Status) {
        if let Some(relay) = self.relay_server.as_mut() {
            relay.set_status(Some(status));
        }
    }
}

/// Relays for others, once it is told to.
fn relay_server(local: PeerId) -> relay::Behaviour {
    // Its rate limits are libp2p's: a reservation or a circuit each two minutes from one peer and each
    // minute from one address over time, and 30 and 60 at once.
    let config = relay::Config {
        max_reservations: RESERVATIONS,
        max_reservations_per_peer: RESERVATIONS_OF_ONE,
        reservation_duration: RESERVED_FOR,
        max_circuits: CIRCUITS,
        max_circuits_per_peer: CIRCUITS_OF_ONE,
        max_circuit_duration: CIRCUIT_DURATION,
        max_circuit_bytes: CIRCUIT_BYTES,
        ..relay::Config::default()
    };
    let mut relay = relay::Behaviour::new(local, config);
    relay.set_status(Some(relay::Status::Disable));
    relay
}

fn limits(bounds: &PeerBounds) -> connection_limits::Behaviour {
    connection_limits::Behaviour::new(
        ConnectionLimits::default()
            .with_max_pending_incoming(Some(bounds.pending_connections))
            .with_max_pending_outgoing(Some(bounds.pending_connections))
            .with_max_established_incoming(Some(bounds.inbound_connections + bounds.visitors))
            .with_max_established(Some(bounds.connections + bounds.visitors))
            .with_max_established_per_peer(Some(bounds.connections_per_peer)),
    )
}

fn identify(config: &NodeConfig) -> identify::Behaviour {
    identify::Behaviour::new(
        identify::Config::new(FAMILY.to_owned(), config.keypair.public())
            .with_agent_version(config.agent.clone())
            .with_push_listen_addr_updates(true)
            .with_cache_size(0),
    )
}

fn kad(local: PeerId, config: &NodeConfig, protocol: StreamProtocol) -> kad::Behaviour<Provided> {
    let mut settings = kad::Config::new(protocol);
    settings
        .set_query_timeout(LOOK_UP_TIMEOUT)
        .set_substreams_timeout(STEP_TIMEOUT)
        .set_provider_record_ttl(Some(PROVIDER_TTL))
        .set_provider_publication_interval(Some(PROVIDER_RENEWAL))
        .set_replication_interval(None)
        .set_publication_interval(None);
    let store = Provided::new(local, &config.bounds);
    let mut kad = kad::Behaviour::with_config(local, store, settings);
    if config.local_only_mode {
        kad.set_mode(Some(kad::Mode::Server));
    }
    kad
}

fn store(bounds: &PeerBounds, protocol: StreamProtocol) -> request_response::Behaviour<Codec> {
    let streams = bounds.requests_at_once + bounds.asks_at_once + READING_STREAMS;
    let settings = request_response::Config::default()
        .with_request_timeout(LONGEST_ANSWER)
        .with_max_concurrent_streams(streams);
    request_response::Behaviour::new([(protocol, ProtocolSupport::Full)], settings)
}

/// Multicast DNS, if it is wanted and there is a network for it.
fn mdns(config: &NodeConfig, local: PeerId) -> Option<mdns::tokio::Behaviour> {
    if !config.mdns {
        return None;
    }
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
        .inspect_err(|error: &io::Error| tracing::warn!(%error, "no multicast DNS"))
        .ok()
}
