//! Deleting, and what goes with it.

use wasm_exec_registry::{
    DeleteError, Holder, NameTakenReason, RegisterError, Registry, RegistryError,
};

use crate::support::{has_blob, has_module, meaning, module, on_every_backend, reference};

async fn delete(registry: &Registry, what: impl ToString) {
    registry.delete(&reference(what)).await.unwrap();
}

#[tokio::test]
async fn a_deleted_name_is_free_again_and_its_content_gone() {
    on_every_backend(async |registry| {
        let first = module("a").named("utils");
        first.create(&registry).await;
        delete(&registry, "utils").await;
        assert_eq!(meaning(&registry, "utils").await, None);
        assert!(!has_module(&registry, first.digest()).await);
        assert!(!has_blob(&registry, first.manifest().wasm).await);
        module("b").named("utils").create(&registry).await;
    })
    .await;
}

#[tokio::test]
async fn references_are_taken_literally() {
    on_every_backend(async |registry| {
        module("a").named("utils@1.0.0").create(&registry).await;
        let error = registry.delete(&reference("utils")).await.unwrap_err();
        assert!(
            matches!(&error, DeleteError::Registry(RegistryError::UnknownName(name))
                if name.as_str() == "utils"),
            "{error:?}"
        );
        assert!(meaning(&registry, "utils@1.0.0").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn what_is_not_registered_cannot_be_deleted() {
    on_every_backend(async |registry| {
        let module = module("a").named("utils");
        module.create(&registry).await;
        for (what, blob) in
            [(crate::support::module("b").digest(), false), (module.manifest().wasm, true)]
        {
            let error = registry.delete(&reference(what)).await.unwrap_err();
            let DeleteError::Registry(RegistryError::UnknownDigest { digest, is_blob }) = error
            else {
                panic!("{error:?}")
            };
            assert_eq!((digest, is_blob), (what, blob));
        }
    })
    .await;
}

#[tokio::test]
async fn the_next_highest_release_takes_over() {
    on_every_backend(async |registry| {
        for version in ["1.0.0", "1.2.0", "1.10.0"] {
            let name = format!("utils@{version}");
            module(version).named(name).create(&registry).await;
        }
        for version in ["1.10.0", "1.2.0", "1.0.0"] {
            let highest = format!("utils@{version}");
            assert_eq!(meaning(&registry, "utils").await.unwrap().0, highest);
            delete(&registry, highest).await;
        }
        assert_eq!(meaning(&registry, "utils").await, None);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_version_comes_back_only_as_what_it_was() {
    on_every_backend(async |registry| {
        let original = module("a").named("utils@1.0.0");
        let other = module("b").named("utils@1.0.0");
        let digest = original.create(&registry).await;
        delete(&registry, "utils@1.0.0").await;

        for _ in 0..2 {
            let error = other.register(&registry).await.unwrap_err();
            let RegisterError::NameTaken { reason, .. } = error else { panic!("{error:?}") };
            assert_eq!(reason, NameTakenReason::WasOtherContent { digest });

            original.create(&registry).await;
            delete(&registry, "utils@1.0.0").await;
        }
        // The label has no versions any more, so it may be the other kind, and remembers still.
        module("b").named("utils").create(&registry).await;
        delete(&registry, "utils").await;
        assert!(other.register(&registry).await.is_err());
        module("b").named("utils@1.0.1").create(&registry).await;
    })
    .await;
}

#[tokio::test]
async fn shared_content_stays_until_its_last_holder_goes() {
    on_every_backend(async |registry| {
        let leaf = module("shared").named("leaf").create(&registry).await;
        let linked = module("shared").named("linked").linking("x", leaf);
        linked.create(&registry).await;
        module("shared").named("alias").create(&registry).await;
        module("shared").create(&registry).await;
        let blob = linked.manifest().wasm;

        delete(&registry, "leaf").await;
        delete(&registry, "alias").await;
        assert!(has_module(&registry, leaf).await);
        delete(&registry, leaf).await;
        assert!(has_module(&registry, leaf).await, "`linked` links to it");
        assert!(has_blob(&registry, blob).await);
        delete(&registry, "linked").await;
        assert!(!has_module(&registry, leaf).await);
        assert!(!has_module(&registry, linked.digest()).await);
        assert!(!has_blob(&registry, blob).await);
    })
    .await;
}

#[tokio::test]
async fn what_two_deleted_modules_linked_to_goes_once() {
    on_every_backend(async |registry| {
        let base = module("base").named("base").create(&registry).await;
        let side = module("side").linking("x", base).named("side");
        let side = side.create(&registry).await;
        let root = module("root").linking("x", base).linking("y", side);
        let root = root.create(&registry).await;
        delete(&registry, "base").await;
        delete(&registry, "side").await;
        delete(&registry, root).await;
        for digest in [base, side, root] {
            assert!(!has_module(&registry, digest).await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_chain_goes_with_its_head() {
    on_every_backend(async |registry| {
        let mut chain = vec![module("0").named("tail").create(&registry).await];
        for n in 1..300 {
            let previous = chain[n - 1];
            let next = module(n.to_string()).linking("a", previous).linking("b", previous);
            chain.push(next.create(&registry).await);
            if n > 1 {
                delete(&registry, previous).await;
            }
        }
        delete(&registry, "tail").await;
        for digest in &chain {
            assert!(has_module(&registry, *digest).await);
        }
        delete(&registry, chain[299]).await;
        for digest in &chain {
            assert!(!has_module(&registry, *digest).await);
        }
    })
    .await;
}

#[tokio::test]
async fn deleting_by_digest_what_others_hold_says_who() {
    on_every_backend(async |registry| {
        let leaf = module("a").named("leaf").create(&registry).await;
        let root = module("b").named("root").linking("x", leaf).linking("y", leaf);
        root.create(&registry).await;
        module("a").named("alias").create(&registry).await;

        let error = registry.delete(&reference(leaf)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{leaf} is in use by 2 names and 1 module, among them the name `alias`")
        );

        delete(&registry, "leaf").await;
        delete(&registry, "alias").await;
        let error = registry.delete(&reference(leaf)).await.unwrap_err();
        let DeleteError::InUse { digest, by } = error else { panic!("{error:?}") };
        assert_eq!(digest, leaf);
        assert_eq!((by.names, by.links), (0, 1));
        assert_eq!(by.example, Holder::Module(root.digest()));
    })
    .await;
}

#[tokio::test]
async fn deleting_by_digest_takes_the_unnamed_registration_only() {
    on_every_backend(async |registry| {
        let digest = module("a").create(&registry).await;
        module("a").named("utils").create(&registry).await;
        assert!(registry.module(digest).await.unwrap().unnamed);
        delete(&registry, digest).await;
        assert!(!registry.module(digest).await.unwrap().unnamed);
        assert!(meaning(&registry, "utils").await.is_some());
        let again = registry.delete(&reference(digest)).await;
        assert!(matches!(again, Err(DeleteError::InUse { .. })));
    })
    .await;
}
