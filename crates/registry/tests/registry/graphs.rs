//! Graphs: each module once, dependencies first, within limits; and the links they are made of.

use std::time::{Duration, Instant};

use wasm_exec_registry::{
    Digest, Graph, GraphError, GraphLimits, RegisterError, Registry, RegistryError,
};

use crate::support::{meaning, module, on_every_backend, reference};

const NO_LIMITS: GraphLimits = GraphLimits { modules: usize::MAX, depth: usize::MAX };

async fn graph(registry: &Registry, root: Digest) -> Graph {
    registry.graph(root, NO_LIMITS).await.unwrap()
}

fn digests(graph: &Graph) -> Vec<Digest> {
    graph.nodes.iter().map(|node| node.digest).collect()
}

/// A chain of `length` modules, each of which links to the one before twice; the digests in that
/// order.
async fn chain(registry: &Registry, length: usize) -> Vec<Digest> {
    let mut chain = vec![module("0").create(registry).await];
    for n in 1..length {
        let next = module(n.to_string()).linking("a", chain[n - 1]).linking("b", chain[n - 1]);
        chain.push(next.create(registry).await);
    }
    chain
}

#[tokio::test]
async fn a_module_without_links_is_its_own_graph() {
    on_every_backend(async |registry| {
        let module = module("a");
        let root = module.create(&registry).await;
        let one = GraphLimits { modules: 1, depth: 1 };
        let graph = registry.graph(root, one).await.unwrap();
        assert_eq!(digests(&graph), [root]);
        assert_eq!(graph.nodes[0].wasm, module.manifest().wasm);
        assert_eq!(graph.nodes[0].links, []);
    })
    .await;
}

#[tokio::test]
async fn a_diamond_has_each_module_once_dependencies_first() {
    on_every_backend(async |registry| {
        let base = module("base").create(&registry).await;
        let left = module("left").linking("base", base).create(&registry).await;
        let right = module("right").linking("base", base).create(&registry).await;
        let root = module("root")
            .linking("left", left)
            .linking("right", right)
            .linking("again", right)
            .create(&registry)
            .await;
        let graph = graph(&registry, root).await;
        assert_eq!(graph.nodes.len(), 4);
        assert_eq!(graph.nodes[3].digest, root);
        for (index, node) in graph.nodes.iter().enumerate() {
            let record = registry.module(node.digest).await.unwrap();
            assert_eq!(node.wasm, record.manifest.wasm);
            assert!(node.links.iter().all(|(_, target)| *target < index));
            let links: Vec<_> = node
                .links
                .iter()
                .map(|(import, target)| (import.clone(), graph.nodes[*target].digest))
                .collect();
            assert_eq!(links, Vec::from_iter(record.manifest.links));
        }
    })
    .await;
}

#[tokio::test]
async fn doubled_links_cost_nothing_extra() {
    on_every_backend(async |registry| {
        let chain = chain(&registry, 32).await;
        let started = Instant::now();
        let graph = graph(&registry, chain[31]).await;
        assert!(started.elapsed() < Duration::from_secs(1), "2³¹ paths");
        assert_eq!(digests(&graph), chain);
    })
    .await;
}

#[tokio::test]
async fn limits_are_kept_to_the_module() {
    on_every_backend(async |registry| {
        let chain = chain(&registry, 6).await;
        // The longest path is through the chain, though the walk meets its end first.
        let root = module("root")
            .linking("0 end", chain[0])
            .linking("1 start", chain[5])
            .linking("2 middle", chain[3])
            .create(&registry)
            .await;
        for (modules, depth) in [(7, 7), (8, 7), (7, 8), (64, 16)] {
            let graph = registry.graph(root, GraphLimits { modules, depth }).await;
            assert_eq!(graph.unwrap().nodes.len(), 7);
        }
        for modules in 0..7 {
            let depth = usize::MAX;
            let graph = registry.graph(root, GraphLimits { modules, depth }).await;
            assert!(matches!(graph, Err(GraphError::TooManyModules { maximum })
                if maximum == modules));
        }
        for depth in 0..7 {
            let modules = usize::MAX;
            let graph = registry.graph(root, GraphLimits { modules, depth }).await;
            assert!(matches!(graph, Err(GraphError::TooDeep { maximum }) if maximum == depth));
        }
    })
    .await;
}

#[tokio::test]
async fn depth_is_the_longest_path_also_through_what_was_seen_before() {
    on_every_backend(async |registry| {
        let chain = chain(&registry, 4).await;
        let detour = module("detour").linking("x", chain[3]).create(&registry).await;
        let root = module("root")
            .linking("0 short", chain[3])
            .linking("1 long", detour)
            .create(&registry)
            .await;
        let limits = |depth| GraphLimits { modules: 64, depth };
        assert!(registry.graph(root, limits(6)).await.is_ok());
        let error = registry.graph(root, limits(5)).await.unwrap_err();
        assert!(matches!(error, GraphError::TooDeep { maximum: 5 }));
    })
    .await;
}

#[tokio::test]
async fn a_very_long_chain_does_not_overflow_the_stack() {
    on_every_backend(async |registry| {
        let chain = chain(&registry, 1000).await;
        assert_eq!(digests(&graph(&registry, chain[999]).await), chain);
    })
    .await;
}

#[tokio::test]
async fn a_manifest_need_not_be_registered_to_have_a_graph() {
    on_every_backend(async |registry| {
        let utils = module("utils").create(&registry).await;
        let inline = module("inline").linking("utils", utils);
        let before = registry.graph_of(&inline.manifest(), NO_LIMITS).await;
        let root = inline.create(&registry).await;
        assert_eq!(before.unwrap(), graph(&registry, root).await);

        let unknown = module("never registered").digest();
        let dangling = inline.linking("other", unknown).manifest();
        let error = registry.graph_of(&dangling, NO_LIMITS).await.unwrap_err();
        assert!(
            matches!(error, GraphError::Registry(RegistryError::UnknownDigest { digest, .. })
                if digest == unknown),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_graph_needs_a_module() {
    on_every_backend(async |registry| {
        let module = module("a");
        module.create(&registry).await;
        let blob = module.manifest().wasm;
        let error = registry.graph(blob, NO_LIMITS).await.unwrap_err();
        assert!(matches!(
            error,
            GraphError::Registry(RegistryError::UnknownDigest { is_blob: true, .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn links_are_pinned_whatever_becomes_of_names() {
    on_every_backend(async |registry| {
        let utils = module("old").named("utils").create(&registry).await;
        let root = module("root").named("app").linking("utils", utils);
        let root = root.create(&registry).await;
        let before = graph(&registry, root).await;

        registry.delete(&reference("utils")).await.unwrap();
        let new = module("new").named("utils").create(&registry).await;
        assert_eq!(meaning(&registry, "utils").await.unwrap().1, new);
        assert_eq!(graph(&registry, root).await, before);
        assert_eq!(registry.blob(before.nodes[0].wasm).await.unwrap(), "old");
    })
    .await;
}

#[tokio::test]
async fn links_must_exist() {
    on_every_backend(async |registry| {
        let known = module("known").create(&registry).await;
        let unknown = module("unknown").digest();
        let root = module("root").named("app").linking("a", known);
        let root = root.linking("b\n", unknown);
        let error = root.register(&registry).await.unwrap_err();
        assert!(
            matches!(&error, RegisterError::UnknownLink { import, digest }
                if import == "b\n" && *digest == unknown),
            "{error:?}"
        );
        assert!(!error.to_string().contains('\n'));
        assert_eq!(meaning(&registry, "app").await, None);
        // A blob is no module, though its bytes are there.
        let blob = module("known").manifest().wasm;
        let root = module("root").linking("a", blob);
        assert!(root.register(&registry).await.is_err());
    })
    .await;
}
