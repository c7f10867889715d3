//! What a node says of itself and of modules.

use std::collections::BTreeMap;

use wasm_exec_registry::{
    BlobCounts, ConnectionCounts, Digest, ModuleSource, Name, NetworkStatus, PeerStatus,
    Provenance, RecordCounts, ReplicationCounts, Traffic,
};

use crate::node::{Node, NodeStatus, Peer, Refusals};
use crate::record::SignedRecord;
use crate::shared::Shared;

impl Shared {
    /// Whose a module is and who keeps it; `None` if no record tells.
    pub(crate) fn provenance(&self, digest: Digest, name: Option<&Name>) -> Option<Provenance> {
        let knowledge = self.knowledge();
        let owner = name.and_then(|name| match name.namespace() {
            None => Some(self.own),
            Some(_) => self.trust.owner(name),
        });
        let of_name =
            owner.zip(name).and_then(|(owner, name)| knowledge.index.of_name(&owner, name));
        if of_name.is_none() && owner == Some(self.own) {
            // It is too large for others.
            return Some(Provenance {
                owner: self.own.to_string(),
                canonical_name: None,
                replicas: 0,
                source: ModuleSource::Local,
            });
        }
        let known = of_name.filter(|record| record.record().module == digest);
        let record: &SignedRecord = known.or_else(|| knowledge.index.by_module(&digest).next())?;
        let owner = record.record().owner;
        let source = match owner == self.own {
            true => ModuleSource::Local,
            false => ModuleSource::Peer(owner.to_string()),
        };
        Some(Provenance {
            owner: owner.to_string(),
            canonical_name: Some(record.canonical_name().clone()),
            replicas: knowledge.repair.replicas(&record.key()) as u32,
            source,
        })
    }

    /// How the network is from here.
    pub(crate) fn status(&self, node: &Node) -> NetworkStatus {
        let status = node.status();
        let knowledge = self.knowledge();
        let counts = knowledge.index.counts();
        let repair = knowledge.repair.counts();
        let (held, bytes) = knowledge.held.totals();
        NetworkStatus {
            peer_id: self.own.to_string(),
            addresses: addresses(&status),
            peers: node.peers().iter().map(peer).collect(),
            connections: ConnectionCounts {
                inbound: status.inbound_connections as u64,
                outbound: status.outbound_connections as u64,
                routable_peers: status.routable_peers as u64,
                banned_peers: status.banned_peers as u64,
            },
            records: RecordCounts {
                known: counts.records as u64,
                own: counts.own as u64,
                held: held as u64,
            },
            blobs: BlobCounts { count: held as u64, bytes },
            replication: ReplicationCounts {
                pending: repair.stores as u64,
                under_replicated: repair.wanting as u64,
            },
            traffic: Traffic {
                received_bytes: status.received_bytes,
                sent_bytes: status.sent_bytes,
            },
            refused: refused(&status)
                .into_iter()
                .chain(self.suspicions.counts())
                .chain([("names", knowledge.index.turned_away())])
                .collect(),
        }
    }
}

fn peer(peer: &Peer) -> PeerStatus {
    PeerStatus {
        peer_id: peer.id.to_string(),
        addresses: peer.addresses.iter().map(ToString::to_string).collect(),
        round_trip: peer.rtt,
        agent: Some(peer.agent.clone()),
    }
}

/// Where it listens, and where others say that they reach it.
fn addresses(status: &NodeStatus) -> Vec<String> {
    let all = status.addresses.iter().chain(&status.external_addresses);
    let mut addresses: Vec<_> = all.map(ToString::to_string).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn refused(status: &NodeStatus) -> BTreeMap<&'static str, u64> {
    let Refusals {
        connections,
        strangers,
        bans,
        malformed,
        forged,
        over_rate,
        requests,
        streams,
        late_answers,
        asks,
    } = status.refusals;
    [
        ("connections", connections),
        ("strangers", strangers),
        ("bans", bans),
        ("malformed", malformed),
        ("forged", forged),
        ("over_rate", over_rate),
        ("requests", requests),
        ("streams", streams),
        ("late_answers", late_answers),
        ("asks", asks),
        ("same_identity", status.same_identity),
    ]
    .into()
}
