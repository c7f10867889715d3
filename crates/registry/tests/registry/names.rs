//! Registering and resolving: who gets a name, and what it means then.

use wasm_exec_registry::{Name, NameTakenReason, RegisterError, Registry, RegistryError};

use crate::support::{has_blob, has_module, meaning, module, on_every_backend, reference};

/// How a name is taken: by which name, and why.
async fn refusal(
    registry: &Registry,
    name: &str,
    content: &'static str,
) -> (Name, NameTakenReason) {
    let module = module(content).named(name);
    match module.register(registry).await.unwrap_err() {
        RegisterError::NameTaken { name: taken, by, reason } => {
            assert_eq!(taken.as_str(), name);
            (by, reason)
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_registered_module_can_be_asked_for() {
    on_every_backend(async |registry| {
        let module = module("a").named("utils");
        let registered = module.register(&registry).await.unwrap();
        assert!(registered.created);
        assert_eq!(registered.digest, module.digest());

        let resolved = registry.resolve(&reference("utils")).await.unwrap();
        assert_eq!(resolved.digest, registered.digest);
        let entry = resolved.name.unwrap();
        assert_eq!(entry.name.as_str(), "utils");
        assert_eq!(entry.registered_at, registered.registered_at);

        let by_digest = registry.resolve(&reference(module.digest())).await.unwrap();
        assert_eq!(by_digest.digest, registered.digest);
        assert_eq!(by_digest.name, None);

        let record = registry.module(registered.digest).await.unwrap();
        assert_eq!(record.manifest, module.manifest());
        assert_eq!(record.wasm_size, 1);
        assert_eq!(record.names, ["utils".parse().unwrap()]);
        assert_eq!(record.registered_at, registered.registered_at);
        assert!(!record.unnamed);
        assert_eq!(registry.blob(record.manifest.wasm).await.unwrap(), "a");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_registered_is_unknown() {
    on_every_backend(async |registry| {
        let module = module("a").named("utils");
        module.create(&registry).await;
        assert_eq!(meaning(&registry, "other").await, None);
        assert_eq!(meaning(&registry, "utils@1.0.0").await, None);
        assert_eq!(meaning(&registry, "acme:utils").await, None);

        let blob = module.manifest().wasm;
        for result in [
            registry.resolve(&reference(blob)).await.map(drop),
            registry.module(blob).await.map(drop),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(error, RegistryError::UnknownDigest { digest, is_blob: true }
                    if digest == blob),
                "{error:?}"
            );
            assert!(error.to_string().contains("digest of a blob"), "{error}");
        }
        let error = registry.blob(module.digest()).await.unwrap_err();
        assert!(matches!(error, RegistryError::UnknownDigest { is_blob: false, .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_racing_registrations_of_a_name_exactly_one_wins() {
    on_every_backend(async |registry| {
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let registry = registry.clone();
                tokio::spawn(async move {
                    let module = module(format!("content {n}")).named("utils");
                    (module.clone(), module.register(&registry).await)
                })
            })
            .collect();
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                (_, Ok(registered)) => winners.push(registered),
                (module, Err(RegisterError::NameTaken { reason, .. })) => {
                    losers.push((module, reason));
                }
                (_, Err(error)) => panic!("{error}"),
            }
        }
        let [winner] = winners[..] else { panic!("{winners:?}") };
        assert!(winner.created);
        let digest = winner.digest;
        assert_eq!(losers.len(), 63);
        for (module, reason) in losers {
            assert_eq!(reason, NameTakenReason::OtherContent { digest });
            assert!(!has_module(&registry, module.digest()).await);
            assert!(!has_blob(&registry, module.manifest().wasm).await);
        }
        let now = meaning(&registry, "utils").await;
        assert_eq!(now, Some(("utils".to_owned(), digest)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_racing_registrations_of_the_same_one_creates() {
    on_every_backend(async |registry| {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let registry = registry.clone();
                let module = module("a").named("utils");
                tokio::spawn(async move { module.register(&registry).await.unwrap() })
            })
            .collect();
        let mut created = 0;
        for task in tasks {
            created += usize::from(task.await.unwrap().created);
        }
        assert_eq!(created, 1);
    })
    .await;
}

#[tokio::test]
async fn the_same_again_is_a_success_that_changes_nothing() {
    on_every_backend(async |registry| {
        for module in [module("a").named("utils"), module("a").named("utils2@1.0.0"), module("b")] {
            let first = module.register(&registry).await.unwrap();
            assert!(first.created);
            let generation = registry.generation();
            let second = module.register(&registry).await.unwrap();
            assert!(!second.created);
            assert_eq!(second.digest, first.digest);
            assert_eq!(second.registered_at, first.registered_at);
            assert_eq!(registry.generation(), generation);
        }
    })
    .await;
}

#[tokio::test]
async fn one_module_may_have_many_names_and_lists_a_hundred() {
    on_every_backend(async |registry| {
        let mut created = Vec::new();
        for n in (0..120).rev() {
            let name = format!("m{n:03}");
            created.push(module("a").named(name).create(&registry).await);
        }
        let record = registry.module(created[0]).await.unwrap();
        let first_hundred: Vec<Name> =
            (0..100).map(|n| format!("m{n:03}").parse().unwrap()).collect();
        assert_eq!(record.names, first_hundred);
    })
    .await;
}

#[tokio::test]
async fn a_bare_label_means_its_highest_release() {
    on_every_backend(async |registry| {
        for version in ["1.9.0", "1.10.0", "0.1.0", "2.0.0-rc.1", "1.10.0-beta"] {
            let content = format!("content {version}");
            let name = format!("acme:utils@{version}");
            module(content).named(name).create(&registry).await;
        }
        let (name, digest) = meaning(&registry, "acme:utils").await.unwrap();
        assert_eq!(name, "acme:utils@1.10.0");
        assert_eq!(digest, module("content 1.10.0").digest());

        let (name, _) = meaning(&registry, "acme:utils@2.0.0-rc.1").await.unwrap();
        assert_eq!(name, "acme:utils@2.0.0-rc.1");

        let highest = "acme:utils@18446744073709551615.0.0";
        module("h").named(highest).create(&registry).await;
        assert_eq!(meaning(&registry, "acme:utils").await.unwrap().0, highest);
    })
    .await;
}

#[tokio::test]
async fn a_bare_label_never_means_a_pre_release() {
    on_every_backend(async |registry| {
        module("a").named("utils@2.0.0-rc.1").create(&registry).await;
        assert_eq!(meaning(&registry, "utils").await, None);
        module("b").named("utils@1.0.0").create(&registry).await;
        let (name, _) = meaning(&registry, "utils").await.unwrap();
        assert_eq!(name, "utils@1.0.0");
    })
    .await;
}

#[tokio::test]
async fn a_label_is_either_versioned_or_not() {
    on_every_backend(async |registry| {
        module("a").named("versioned@1.0.0-rc.1").create(&registry).await;
        module("a").named("bare").create(&registry).await;

        let (by, reason) = refusal(&registry, "versioned", "a").await;
        assert_eq!(by.as_str(), "versioned@1.0.0-rc.1");
        assert_eq!(reason, NameTakenReason::Versioned);

        let (by, reason) = refusal(&registry, "bare@1.0.0", "a").await;
        assert_eq!(by.as_str(), "bare");
        assert_eq!(reason, NameTakenReason::Unversioned);

        for neighbour in ["acme:bare@1.0.0", "acme:versioned", "version", "versioned.x"] {
            module("a").named(neighbour).create(&registry).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_taken_name_says_by_what() {
    on_every_backend(async |registry| {
        let digest = module("a").named("utils").create(&registry).await;
        let (by, reason) = refusal(&registry, "utils", "b").await;
        assert_eq!(by.as_str(), "utils");
        assert_eq!(reason, NameTakenReason::OtherContent { digest });
        assert!(!has_module(&registry, module("b").digest()).await);

        let error = module("b").named("utils").register(&registry).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("the name `utils` is taken: it is registered with other content, {digest}")
        );
    })
    .await;
}

#[tokio::test]
async fn the_generation_grows_when_names_change_meaning() {
    on_every_backend(async |registry| {
        let mut last = registry.generation();
        let mut grows = |expected: bool| {
            let now = registry.generation();
            assert_eq!(now > last, expected, "{last} to {now}");
            last = now;
        };
        module("a").named("utils@1.0.0").create(&registry).await;
        grows(true);
        module("b").named("utils@1.1.0").create(&registry).await;
        grows(true);
        refusal(&registry, "utils", "a").await;
        grows(false);
        let unnamed = module("c").create(&registry).await;
        grows(false);
        registry.delete(&reference("utils@1.0.0")).await.unwrap();
        grows(true);
        registry.delete(&reference(unnamed)).await.unwrap();
        grows(true);
        registry.delete(&reference("utils@1.0.0")).await.unwrap_err();
        grows(false);
        registry.check().await.unwrap();
        grows(false);
    })
    .await;
}
