//! The peer-to-peer network: `/v1/network`.

use std::collections::BTreeMap;

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wasm_exec::{NetworkStatus, PeerStatus};

use crate::app::App;
use crate::negotiation::accepts;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled};

/// How the network is, as this node sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Network {
    /// This node.
    peer_id: String,
    /// By which addresses others reach this node: multiaddresses that end in `/p2p/` and its peer id.
    addresses: Vec<String>,
    /// The nodes that this one is connected to.
    peers: Vec<Peer>,
    connections: Connections,
    records: Records,
    blobs: Blobs,
    replication: Replication,
    traffic: Traffic,
    /// How much of what peers asked or sent was refused since the start, by reason.
    refused: BTreeMap<&'static str, u64>,
}

/// A node that this one is connected to.
#[derive(Debug, Serialize, ToSchema)]
struct Peer {
    peer_id: String,
    /// The multiaddresses that it is known by.
    addresses: Vec<String>,
    /// How long a packet takes there and back; null until it was measured.
    rtt_ms: Option<f64>,
    /// What it says that it runs; null until it did.
    agent: Option<String>,
}

/// Connections to other nodes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkConnections)]
struct Connections {
    /// Those that others opened.
    inbound: u64,
    /// Those that this node opened.
    outbound: u64,
    /// Peers that look-ups can be routed by, connected or not.
    routable_peers: u64,
    /// Peers that are not let in at the moment.
    banned_peers: u64,
}

/// Records of names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkRecords)]
struct Records {
    /// All that this node knows.
    known: u64,
    /// Its own.
    own: u64,
    /// Those of others whose content it keeps.
    held: u64,
}

/// Content that this node keeps for others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkBlobs)]
struct Blobs {
    /// How many closures: modules, each with all that it links to.
    count: u64,
    /// Their bytes, as their owners' records say. What two closures share counts for both.
    bytes: u64,
}

/// Whether everything has enough copies.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkReplication)]
struct Replication {
    /// Copies that are being made, or wait for that.
    pending: u64,
    /// Records of which fewer nodes keep the content than should.
    under_replicated: u64,
}

/// What went through the connections to other nodes, since the start.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkTraffic)]
struct Traffic {
    received_bytes: u64,
    sent_bytes: u64,
}

impl From<&NetworkStatus> for Network {
    fn from(status: &NetworkStatus) -> Self {
        let NetworkStatus {
            peer_id,
            addresses,
            peers,
            connections,
            records,
            blobs,
            replication,
            traffic,
            refused,
        } = status;
        Self {
            peer_id: peer_id.clone(),
            addresses: addresses.clone(),
            peers: peers.iter().map(Peer::from).collect(),
            connections: Connections {
                inbound: connections.inbound,
                outbound: connections.outbound,
                routable_peers: connections.routable_peers,
                banned_peers: connections.banned_peers,
            },
            records: Records { known: records.known, own: records.own, held: records.held },
            blobs: Blobs { count: blobs.count, bytes: blobs.bytes },
            replication: Replication {
                pending: replication.pending,
                under_replicated: replication.under_replicated,
            },
            traffic: Traffic {
                received_bytes: traffic.received_bytes,
                sent_bytes: traffic.sent_bytes,
            },
            refused: refused.clone(),
        }
    }
}

impl From<&PeerStatus> for Peer {
    fn from(peer: &PeerStatus) -> Self {
        let PeerStatus { peer_id, addresses, round_trip, agent } = peer;
        Self {
            peer_id: peer_id.clone(),
            addresses: addresses.clone(),
            rtt_ms: round_trip.map(|time| time.as_micros() as f64 / 1000.0),
            agent: agent.clone(),
        }
    }
}

/// How the network is
///
/// Only on a node of a peer-to-peer network; other servers answer `not-found`.
#[utoipa::path(
    get, path = "/v1/network", tag = "operations",
    responses((status = 200, description = "As this node sees it", body = Network)),
)]
pub(crate) async fn get_network(State(app): State<App>, headers: HeaderMap) -> Handled {
    accepts(&headers, &["application/json"])?;
    let Some(status) = app.exec.network() else {
        let detail = "this server is not a node of a network; one that is started with --p2p is";
        return Err(Problem::new(Code::NotFound, detail));
    };
    Ok(reply::json(StatusCode::OK, &Network::from(&*status)))
}
