//! What a node of a peer-to-peer network counts. It is counted elsewhere, and only copied here.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use wasm_exec::NetworkStatus;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What is counted, zero until [`set`](NetworkMetrics::set).
#[derive(Debug, Default)]
pub(super) struct NetworkMetrics {
    peers: Gauge,
    inbound_connections: Gauge,
    outbound_connections: Gauge,
    routable_peers: Gauge,
    banned_peers: Gauge,
    known_records: Gauge,
    own_records: Gauge,
    held_records: Gauge,
    blobs: Gauge,
    blob_bytes: Gauge,
    pending_replications: Gauge,
    under_replicated_records: Gauge,
    received_bytes: Counter<u64, AtomicU64>,
    sent_bytes: Counter<u64, AtomicU64>,
    refused: Family<ReasonLabel, Counter<u64, AtomicU64>>,
}

impl NetworkMetrics {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let this = Self::default();
        let registry = registry.sub_registry_with_prefix("network");
        for (name, help, gauge) in [
            ("peers", "Nodes that this one is connected to", &this.peers),
            ("inbound_connections", "Connections that others opened", &this.inbound_connections),
            (
                "outbound_connections",
                "Connections that this node opened",
                &this.outbound_connections,
            ),
            ("routable_peers", "Peers that look-ups can be routed by", &this.routable_peers),
            ("banned_peers", "Peers that are not let in at the moment", &this.banned_peers),
            ("known_records", "Records of names that this node knows", &this.known_records),
            ("own_records", "Records of its own names", &this.own_records),
            ("held_records", "Records of others whose content it keeps", &this.held_records),
            ("blobs", "Closures of modules that this node keeps for others", &this.blobs),
            ("blob_bytes", "Bytes of these closures, as their records say", &this.blob_bytes),
            (
                "pending_replications",
                "Copies that are being made, or wait for that",
                &this.pending_replications,
            ),
            (
                "under_replicated_records",
                "Records of which fewer nodes keep the content than should",
                &this.under_replicated_records,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("received_bytes", "Bytes received from other nodes", &this.received_bytes),
            ("sent_bytes", "Bytes sent to other nodes", &this.sent_bytes),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register("refused", "Of what peers asked or sent, refused", this.refused.clone());
        this
    }

    pub(super) fn set(&self, status: &NetworkStatus) {
        let NetworkStatus {
            peer_id: _,
            addresses: _,
            peers,
            connections,
            records,
            blobs,
            replication,
            traffic,
            refused,
        } = status;
        for (gauge, number) in [
            (&self.peers, peers.len() as u64),
            (&self.inbound_connections, connections.inbound),
            (&self.outbound_connections, connections.outbound),
            (&self.routable_peers, connections.routable_peers),
            (&self.banned_peers, connections.banned_peers),
            (&self.known_records, records.known),
            (&self.own_records, records.own),
            (&self.held_records, records.held),
            (&self.blobs, blobs.count),
            (&self.blob_bytes, blobs.bytes),
            (&self.pending_replications, replication.pending),
            (&self.under_replicated_records, replication.under_replicated),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        self.received_bytes.inner().store(traffic.received_bytes, Ordering::Relaxed);
        self.sent_bytes.inner().store(traffic.sent_bytes, Ordering::Relaxed);
        for (&reason, count) in refused {
            let counter = self.refused.get_or_create(&ReasonLabel { reason });
            counter.inner().store(*count, Ordering::Relaxed);
        }
    }
}
