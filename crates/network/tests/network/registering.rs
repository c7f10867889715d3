//! What is registered on one node is there on the others.

use tempfile::TempDir;
use wasm_exec_network::{NetworkBackend, NetworkConfig, NetworkError};
use wasm_exec_registry::{ModuleSource, RedbBackend, RegisterError, RegistryError};

use crate::support::{Node, config, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_here_is_called_there() {
    let nodes = Node::network(4).await;
    nodes[0].register("utils", "double").await;
    let registered =
        nodes[0].try_register("link@1.0.0", &[("utils", "utils")], "link").await.unwrap();
    for node in &nodes {
        node.until_loads("link", b"link").await;
        assert_eq!(node.resolve("link@1.0.0").await.unwrap(), registered.digest);
        let canonical = format!("{}:link", nodes[0].id());
        assert_eq!(node.load(&canonical).await.unwrap(), ["double", "link"]);
        assert_eq!(node.load(&registered.digest.to_string()).await.unwrap().len(), 2);
    }
    assert!(nodes[0].replicas("utils").await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alone_registers_and_tells_those_who_come() {
    let alone = Node::start(&[]).await;
    alone.register("utils", "double").await;
    assert_eq!(alone.replicas("utils").await, 0);
    assert!(matches!(alone.resolve("other").await, Err(RegistryError::UnknownName(_))));
    let other = Node::start(&[&alone]).await;
    other.until_loads("utils", b"double").await;
    eventually("there is a copy", async || (alone.replicas("utils").await == 1).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_is_a_success_and_other_content_is_not() {
    let nodes = Node::network(2).await;
    let first = nodes[0].try_register("utils", &[], "double").await.unwrap();
    let again = nodes[0].try_register("utils", &[], "double").await.unwrap();
    assert!(first.created && !again.created);
    let own = format!("{}:utils", nodes[0].id());
    assert!(!nodes[0].try_register(&own, &[], "double").await.unwrap().created);
    let taken = nodes[0].try_register("utils", &[], "triple").await;
    assert!(matches!(taken, Err(RegisterError::NameTaken { .. })), "{taken:?}");
    nodes[1].until_loads(&own, b"double").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_everywhere_and_may_be_taken_anew() {
    let nodes = Node::network(3).await;
    nodes[0].register("utils", "double").await;
    for node in &nodes {
        node.until_loads("utils", b"double").await;
    }
    nodes[0].registry.delete(&"utils".parse().unwrap()).await.unwrap();
    for node in &nodes {
        node.until_unknown("utils").await;
    }
    nodes[0].register("utils", "triple").await;
    for node in &nodes {
        node.until_loads("utils", b"triple").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_without_a_name_is_found_by_its_digest() {
    let nodes = Node::network(3).await;
    let digest = nodes[0].register("", "unnamed").await.to_string();
    for node in &nodes {
        eventually("it is found", async || {
            let loaded = node.load(&digest).await.ok()?;
            (loaded == ["unnamed"]).then_some(())
        })
        .await;
    }
    let absent = wasm_exec_registry::Digest::of(b"nobody has it").to_string();
    let absent = nodes[1].load(&absent).await;
    assert!(matches!(absent, Err(RegistryError::UnknownDigest { .. })), "{absent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_modules_arrive_whole() {
    let nodes = Node::network(4).await;
    let large: Vec<u8> =
        (0..20_000_003u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    nodes[0].register("large", large.clone()).await;
    for node in &nodes {
        node.until_loads("large", &large).await;
    }
}

/// Or its private names would be told to all who know nothing of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_of_the_network_that_it_was_first_used_in() {
    let directory = TempDir::new().unwrap();
    let open = async |secret: Option<[u8; 32]>| {
        let file = directory.path().join("registry.redb");
        let local = eventually("it is free", async || RedbBackend::open(&file, 1 << 20).ok()).await;
        NetworkBackend::open(local, None, NetworkConfig { secret, ..config() }).await
    };
    let private = Some([1; 32]);
    drop(open(private).await.unwrap());
    for other in [None, Some([2; 32])] {
        let refused = open(other).await;
        assert!(matches!(refused, Err(NetworkError::OtherNetwork)), "{refused:?}");
    }
    assert!(open(private).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_has_what_it_had() {
    let directory = TempDir::new().unwrap();
    let other = Node::start(&[]).await;
    let node = Node::on(directory.path(), &[&other]).await;
    node.until_peers(1).await;
    let id = node.id();
    node.register("utils", "double").await;
    other.register("others", "triple").await;
    node.until_loads("others", b"triple").await;
    drop(node);
    other.until_peers(0).await;
    // Alone, it has its own names and those of the other that it has loaded.
    let node = Node::on(directory.path(), &[]).await;
    assert_eq!(node.id(), id);
    node.until_loads("utils", b"double").await;
    node.until_loads("others", b"triple").await;
    other.until_loads("utils", b"double").await;
}

/// All of a closure is in memory when it is committed, so there is a bound, and what is beyond it is
/// registered all the same, for the node itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_others_stays_on_its_node() {
    const BOUND: u64 = 4096;
    let one = Node::with(&[], |config| config.closure_bytes = BOUND).await;
    let two = Node::with(&[&one], |config| config.closure_bytes = BOUND).await;
    one.until_peers(1).await;
    let part = vec![1; BOUND as usize / 2];
    one.register("part", part.clone()).await;
    let whole = one.try_register("whole", &[("part", "part")], vec![2; part.len()]).await.unwrap();
    // It is here, and says of itself that it is nowhere else.
    assert_eq!(one.load("whole").await.unwrap().len(), 2);
    assert_eq!(one.replicas("part").await, 1);
    let provenance = one.provenance(whole.digest, "whole").await.unwrap();
    let ModuleSource::Local = provenance.source else { panic!("{provenance:?}") };
    assert_eq!((provenance.replicas, provenance.canonical_name), (0, None));
    two.until_loads(&format!("{}:part", one.id()), &part).await;
    let name = format!("{}:whole", one.id());
    assert!(matches!(two.resolve(&name).await, Err(RegistryError::UnknownName(_))));
    // Nor is it given by its digest.
    assert!(two.resolve(&whole.digest.to_string()).await.is_err());
}
