//! A server whose store is a network: what it says of names that have owners, and of the network.
//!
//! The network here is played by one store in memory, which answers as a node would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use wasm_exec_registry::{
    Backend, BlobCounts, BoxFuture, ConnectionCounts, Creation, DeleteError, Digest, Entry,
    ListQuery, Manifest, ModuleRecord, ModuleSource, Name, NetworkStatus, Page, PeerStatus,
    Provenance, RecordCounts, RedbBackend, Reference, RegisterError, Registered, RegistryError,
    ReplicationCounts, StorageError, Traffic, View,
};

use crate::support::guests::{DOUBLE, DOUBLE_DIGEST, TWICE_HEX, bytes};
use crate::support::response::Response;
use crate::support::server::Server;

/// This node.
const OWN: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

/// Another.
const OTHER: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

/// A name that both have given to different modules.
const DISPUTED: &str = "disputed";

/// A name that nobody answers for.
const SILENT: &str = "silent";

/// A name whose module no other node takes.
const LONELY: &str = "lonely";

/// A store that answers as a node of a network.
#[derive(Debug)]
struct Node(RedbBackend);

/// The name with this node as its owner, unless it has another.
fn canonical(name: &Name) -> Name {
    match name.namespace() {
        Some(_) => name.clone(),
        None => of(OWN, name.as_str()),
    }
}

fn of(owner: &str, name: &str) -> Name {
    format!("{owner}:{name}").parse().unwrap()
}

/// The owner of a name, if that is another node.
fn other_owner(name: &Name) -> Option<String> {
    name.owner().filter(|owner| *owner != OWN).map(str::to_owned)
}

impl Backend for Node {
    fn resolve<'a>(
        &'a self,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Option<Entry>, RegistryError>> {
        Box::pin(async move {
            match name.as_str() {
                DISPUTED => {
                    let owners = vec![of(OWN, DISPUTED), of(OTHER, DISPUTED)];
                    Err(RegistryError::NameConflict { name: name.clone(), owners })
                }
                SILENT => Err(RegistryError::LookupTimeout),
                _ => self.0.resolve(&canonical(name)).await,
            }
        })
    }

    fn manifest(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Manifest>, RegistryError>> {
        self.0.manifest(digest)
    }

    fn module(
        &self,
        digest: Digest,
        view: View,
    ) -> BoxFuture<'_, Result<Option<ModuleRecord>, RegistryError>> {
        self.0.module(digest, view)
    }

    fn blob(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Bytes>, RegistryError>> {
        self.0.blob(digest)
    }

    fn has_blob(&self, digest: Digest) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.0.has_blob(digest)
    }

    fn list(&self, query: ListQuery, view: View) -> BoxFuture<'_, Result<Page, StorageError>> {
        self.0.list(query, view)
    }

    fn create(&self, creation: Creation) -> BoxFuture<'_, Result<Registered, RegisterError>> {
        Box::pin(async move {
            let Some(name) = creation.name().cloned() else {
                return self.0.create(creation).await;
            };
            if let Some(owner) = other_owner(&name) {
                return Err(RegisterError::OtherOwner { name, owner });
            }
            let digest = creation.digest();
            let links = creation.manifest().links.clone();
            let kept = Creation::new(Some(canonical(&name)), links, creation.wasm().clone());
            let registered = self.0.create_with(kept, Vec::new()).await?;
            match name.as_str() {
                LONELY => Err(RegisterError::NotReplicated { digest, wanted: 2, replicas: 0 }),
                _ => Ok(registered),
            }
        })
    }

    fn delete(&self, reference: Reference) -> BoxFuture<'_, Result<(), DeleteError>> {
        Box::pin(async move {
            match reference {
                Reference::Name(name) => match other_owner(&name) {
                    Some(owner) => Err(DeleteError::OtherOwner { name, owner }),
                    None => self.0.delete(canonical(&name).into()).await,
                },
                digest => self.0.delete(digest).await,
            }
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.0.check()
    }

    fn provenance<'a>(
        &'a self,
        _: Digest,
        name: Option<&'a Name>,
    ) -> BoxFuture<'a, Result<Option<Provenance>, StorageError>> {
        Box::pin(async move {
            let canonical_name = name.map(canonical);
            let source = match canonical_name {
                Some(_) => ModuleSource::Local,
                None => ModuleSource::Peer(OTHER.to_owned()),
            };
            Ok(Some(Provenance { owner: OWN.to_owned(), canonical_name, replicas: 2, source }))
        })
    }

    fn network(&self) -> Option<Arc<NetworkStatus>> {
        let peer = PeerStatus {
            peer_id: OTHER.to_owned(),
            addresses: vec!["/ip4/192.0.2.7/tcp/4001".to_owned()],
            round_trip: Some(Duration::from_micros(1250)),
            agent: Some("wasm-exec-api/0.1.0".to_owned()),
        };
        let new = PeerStatus { peer_id: OWN.to_owned(), ..PeerStatus::default() };
        Some(Arc::new(NetworkStatus {
            connections: ConnectionCounts {
                inbound: 1,
                outbound: 2,
                routable_peers: 3,
                banned_peers: 4,
            },
            peer_id: OWN.to_owned(),
            addresses: vec![format!("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{OWN}")],
            peers: vec![peer, new],
            records: RecordCounts { known: 5, own: 2, held: 3 },
            blobs: BlobCounts { count: 4, bytes: 4096 },
            replication: ReplicationCounts { pending: 1, under_replicated: 6 },
            traffic: Traffic { received_bytes: 70_000, sent_bytes: 80_000 },
            refused: BTreeMap::from([("invalid", 9)]),
        }))
    }
}

/// A server that is a node of a network.
async fn node() -> Server {
    let backend = RedbBackend::in_memory(1 << 20).unwrap();
    Server::with(|setup| setup.backend = Some(Arc::new(Node(backend)))).await
}

pub(crate) async fn asking_for_a_name_of_two_owners() -> Response {
    node().await.get(&format!("/v1/modules/{DISPUTED}")).await
}

pub(crate) async fn registering_where_nobody_takes_a_copy() -> Response {
    node().await.put(&format!("/v1/modules/{LONELY}")).wat(DOUBLE).await
}

pub(crate) async fn asking_for_what_nobody_answers() -> Response {
    node().await.get(&format!("/v1/modules/{SILENT}")).await
}

#[tokio::test]
async fn a_server_that_is_no_node_says_so() {
    let server = Server::start().await;
    server.get("/v1/network").await.problem(404, "not-found").says(&["--p2p"]);
    let index = server.get("/").await.ok(json!({}));
    assert!(index["links"].get("network").is_none(), "{index}");
    let metrics = server.get("/metrics").await.has_status(200);
    assert!(!metrics.text().contains("network"), "{}", metrics.text());
    let described = server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    for member in ["owner", "canonical_name", "replicas", "source"] {
        assert!(described.get(member).is_none(), "{member} in {described}");
    }
}

#[tokio::test]
async fn a_node_says_how_its_network_is() {
    let server = node().await;
    server.get("/").await.ok(json!({ "links": { "network": "/v1/network" } }));
    server.get("/v1/network").await.answers(json!({
        "peer_id": OWN,
        "addresses": [format!("/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{OWN}")],
        "peers": [
            {
                "peer_id": OTHER,
                "addresses": ["/ip4/192.0.2.7/tcp/4001"],
                "rtt_ms": 1.25,
                "agent": "wasm-exec-api/0.1.0",
            },
            { "peer_id": OWN, "addresses": [], "rtt_ms": null, "agent": null },
        ],
        "connections": { "inbound": 1, "outbound": 2, "routable_peers": 3, "banned_peers": 4 },
        "records": { "known": 5, "own": 2, "held": 3 },
        "blobs": { "count": 4, "bytes": 4096 },
        "replication": { "pending": 1, "under_replicated": 6 },
        "traffic": { "received_bytes": 70_000, "sent_bytes": 80_000 },
        "refused": { "invalid": 9 },
    }));
}

#[tokio::test]
async fn a_nodes_metrics_show_its_network() {
    let server = node().await;
    let metrics = server.get("/metrics").await.has_status(200);
    let lines: Vec<_> = metrics.text().lines().collect();
    for line in [
        "wasm_exec_network_peers 2",
        "wasm_exec_network_inbound_connections 1",
        "wasm_exec_network_outbound_connections 2",
        "wasm_exec_network_routable_peers 3",
        "wasm_exec_network_banned_peers 4",
        "wasm_exec_network_known_records 5",
        "wasm_exec_network_own_records 2",
        "wasm_exec_network_held_records 3",
        "wasm_exec_network_blobs 4",
        "wasm_exec_network_blob_bytes 4096",
        "wasm_exec_network_pending_replications 1",
        "wasm_exec_network_under_replicated_records 6",
        "wasm_exec_network_received_bytes_total 70000",
        "wasm_exec_network_sent_bytes_total 80000",
        r#"wasm_exec_network_refused_total{reason="invalid"} 9"#,
    ] {
        assert!(lines.contains(&line), "{line} in {}", metrics.text());
    }
}

#[tokio::test]
async fn descriptions_say_whose_a_module_is_and_who_keeps_it() {
    let server = node().await;
    let canonical = of(OWN, "utils@1.0.0");
    let expected = json!({
        "owner": OWN, "canonical_name": canonical.as_str(), "replicas": 2, "source": "local",
    });
    let has = |description: Value| {
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(description[member], *value, "{member} in {description}");
        }
    };
    has(server.put("/v1/modules/utils@1.0.0").wat(DOUBLE).await.created());
    for name in ["utils@1.0.0", "utils", canonical.as_str()] {
        has(server.get(&format!("/v1/modules/{name}")).await.ok(json!({})));
        let call = server.post(&format!("/v1/modules/{name}/functions/double"));
        call.json(json!({ "params": [21] })).await.ok(json!({ "results": [42] }));
    }
    let by_digest = server.get(&format!("/v1/modules/{DOUBLE_DIGEST}")).await;
    let by_digest = by_digest.ok(json!({ "owner": OWN, "source": OTHER }));
    assert!(by_digest.get("canonical_name").is_none(), "{by_digest}");
}

#[tokio::test]
async fn a_name_that_owners_disagree_about_is_a_conflict_that_lists_them() {
    let server = node().await;
    let owners = [of(OWN, DISPUTED), of(OTHER, DISPUTED)].map(|name| name.to_string());
    let path = format!("/v1/modules/{DISPUTED}");
    let inline = json!({
        "wasm_hex": TWICE_HEX, "function": "double_twice", "params": [1],
        "links": { "utils": DISPUTED },
    });
    for response in [
        server.get(&path).await,
        server.get(&format!("{path}/wasm")).await,
        server.post(&format!("{path}/functions/double")).await,
        server
            .put(&format!("/v1/modules/twice?link=utils={DISPUTED}"))
            .wasm(bytes(TWICE_HEX))
            .await,
        server.post("/v1/call").json(inline).await,
    ] {
        let problem = response.problem(409, "name-conflict");
        let problem = problem.has(json!({ "name": DISPUTED, "owners": owners }));
        problem.says(&[&owners[0], &owners[1]]);
    }
}

#[tokio::test]
async fn what_nobody_answers_for_in_time_is_told() {
    let server = node().await;
    let path = format!("/v1/modules/{SILENT}");
    server.get(&path).await.problem(504, "lookup-timeout");
    let call = server.post(&format!("{path}/functions/f")).await;
    call.problem(504, "lookup-timeout").has(json!({ "outcome": "lookup-timeout" }));
}

#[tokio::test]
async fn a_name_is_written_by_its_owner_only() {
    let server = node().await;
    let path = format!("/v1/modules/{}", of(OTHER, "utils"));
    for response in [server.put(&path).wat(DOUBLE).await, server.delete(&path).await] {
        let problem = response.problem(403, "forbidden").says(&["its owner", OTHER]);
        problem.has(json!({ "owner": OTHER }));
    }
    server.get(&path).await.problem(404, "unknown-module");
}

#[tokio::test]
async fn what_too_few_nodes_have_is_kept_and_told() {
    let server = node().await;
    let path = format!("/v1/modules/{LONELY}");
    let problem = server.put(&path).wat(DOUBLE).await.problem(503, "not-replicated");
    let problem = problem.says(&["stored on this node", "0 of 2"]).has_header("retry-after", "5");
    problem.has(json!({ "digest": DOUBLE_DIGEST, "wanted": 2, "replicas": 0 }));
    let call = server.post(&format!("{path}/functions/double"));
    call.json(json!({ "params": [1] })).await.ok(json!({ "results": [2] }));
}
