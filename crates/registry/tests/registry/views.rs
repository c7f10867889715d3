//! Views: what is hidden is as if it did not exist.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasm_exec_registry::{
    DeleteError, Digest, Holder, ListQuery, Page, Registry, RegistryError, View,
};

use crate::support::{meaning, module, on_every_backend, reference};

/// The registry as it is seen without these namespaces.
fn without(registry: &Registry, namespaces: &[&str]) -> Registry {
    let private: BTreeSet<_> = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
    registry.with_view(View::new(Arc::new(private), Arc::default()))
}

fn names(page: Page) -> Vec<String> {
    page.modules.into_iter().map(|module| module.name.unwrap().to_string()).collect()
}

#[tokio::test]
async fn hidden_names_mean_nothing() {
    on_every_backend(async |registry| {
        let digest = module("a").named("acme:a@1.0.0").create(&registry).await;
        let seen = without(&registry, &["acme"]);
        for name in ["acme:a@1.0.0", "acme:a", "acme:b"] {
            assert_eq!(meaning(&seen, name).await, None);
            let deleted = seen.delete(&reference(name)).await.unwrap_err();
            assert!(matches!(deleted, DeleteError::Registry(RegistryError::UnknownName(_))));
        }
        assert_eq!(meaning(&registry, "acme:a").await, Some(("acme:a@1.0.0".to_owned(), digest)));
        assert_eq!(meaning(&without(&registry, &["beta"]), "acme:a").await.unwrap().1, digest);
    })
    .await;
}

#[tokio::test]
async fn a_digest_means_a_module_if_a_name_that_is_seen_points_to_it_or_it_has_none() {
    on_every_backend(async |registry| {
        let seen = without(&registry, &["acme"]);
        let hidden = module("a").named("acme:a").create(&registry).await;
        let user = module("b").named("acme:b").linking("a", hidden).create(&registry).await;
        let means = async |digest: Digest| match seen.resolve(&reference(digest)).await {
            Ok(resolved) => {
                assert_eq!(resolved.digest, digest);
                true
            }
            Err(RegistryError::UnknownDigest { digest: unknown, is_blob: false }) => {
                assert_eq!(unknown, digest);
                false
            }
            Err(error) => panic!("{error}"),
        };
        assert!(!means(hidden).await && !means(user).await);
        assert!(!means(module("a").manifest().wasm).await);
        module("a").named("copy").create(&registry).await;
        assert!(means(hidden).await && !means(user).await);
        let names = seen.module(hidden).await.unwrap().names;
        assert_eq!(names, ["copy".parse().unwrap()]);
        seen.delete(&reference("copy")).await.unwrap();
        assert!(!means(hidden).await);
        // What is only linked to has no name that could be seen.
        registry.delete(&reference("acme:a")).await.unwrap();
        assert!(!means(hidden).await);
        module("a").create(&registry).await;
        assert!(means(hidden).await);
    })
    .await;
}

#[tokio::test]
async fn holders_that_are_hidden_are_not_told() {
    on_every_backend(async |registry| {
        let seen = without(&registry, &["acme"]);
        let digest = module("a").named("acme:a").create(&registry).await;
        module("b").named("acme:b").linking("a", digest).create(&registry).await;
        module("a").named("copy").create(&registry).await;
        match seen.delete(&reference(digest)).await.unwrap_err() {
            DeleteError::InUse { by, .. } => {
                assert_eq!((by.names, by.links), (1, 0));
                assert_eq!(by.example, Holder::Name("copy".parse().unwrap()));
            }
            error => panic!("{error}"),
        }
    })
    .await;
}

#[tokio::test]
async fn pages_are_as_full_as_without_what_is_hidden() {
    on_every_backend(async |registry| {
        for name in ["a", "acme:1", "acme:2", "acme_:x", "nemo:1", "nemo:2", "z"] {
            module("content").named(name).register(&registry).await.unwrap();
        }
        let seen = without(&registry, &["acme", "nemo", "nothing"]);
        let page = |after: Option<&str>, limit| {
            let after = after.map(str::to_owned);
            seen.list(ListQuery { limit, after, ..ListQuery::default() })
        };
        assert_eq!(names(page(None, 100).await.unwrap()), ["a", "acme_:x", "z"]);
        let first = page(None, 2).await.unwrap();
        assert_eq!(first.next.as_deref(), Some("acme_:x"));
        assert_eq!(names(first), ["a", "acme_:x"]);
        let last = page(Some("acme_:x"), 1).await.unwrap();
        assert_eq!(last.next, None);
        assert_eq!(names(last), ["z"]);
        assert_eq!(names(page(Some("acme:1"), 1).await.unwrap()), ["acme_:x"]);
    })
    .await;
}
