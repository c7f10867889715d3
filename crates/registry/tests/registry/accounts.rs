//! Accounts: what registrations hold, and who pays for it.

use tempfile::TempDir;
use tokio::task::JoinSet;
use wasm_exec_registry::{Account, RegisterError, Registry};

use crate::support::{Module, module, on_disk, on_every_backend, reference};

fn charged(registry: &Registry, id: &str, maximum: u64) -> Registry {
    registry.charged_to(Account::new(id, Some(maximum)))
}

/// What a module is charged for.
fn size(module: &Module, wasm: &str) -> u64 {
    (wasm.len() + module.manifest().canonical().len()) as u64
}

/// That there is no room for a module, and how much is held.
async fn refused(module: &Module, registry: &Registry) -> u64 {
    match module.register(registry).await {
        Err(RegisterError::TooMuchHeld { held, asked, maximum }) => {
            assert!(held + asked > maximum, "{held} and {asked} of {maximum}");
            held
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_deleted_is_given_back_to_whom_it_was_charged_to() {
    on_every_backend(async |registry| {
        let (a, b) = (module("a").named("a"), module("b").named("b@1.0.0"));
        let each = size(&a, "a");
        let one = charged(&registry, "one", 2 * each);
        a.create(&one).await;
        let unnamed = module("a").create(&one).await;
        assert_eq!(refused(&b, &one).await, 2 * each);
        // The same again holds nothing more, also for somebody else.
        assert!(!a.register(&one).await.unwrap().created);
        assert!(!a.register(&charged(&registry, "two", 0)).await.unwrap().created);
        assert_eq!(refused(&b, &charged(&registry, "two", 0)).await, 0);
        // What is refused for another reason is not charged.
        registry.delete(&reference("b@1.0.0")).await.unwrap_err();
        registry.delete(&reference("a")).await.unwrap();
        assert!(module("x").linking("l", b.digest()).register(&one).await.is_err());
        b.create(&one).await;
        registry.delete(&reference(unnamed)).await.unwrap();
        a.create(&registry).await;
        // Nobody's is given back to nobody.
        registry.delete(&reference("a")).await.unwrap();
        a.create(&one).await;
        assert_eq!(refused(&module("c").named("c"), &one).await, 2 * each);
        registry.delete(&reference("a")).await.unwrap();
        registry.delete(&reference("b@1.0.0")).await.unwrap();
        assert_eq!(refused(&b, &charged(&registry, "one", each - 1)).await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_others_link_to_is_held_until_it_goes() {
    on_every_backend(async |registry| {
        let a = module("a").named("a");
        let b = module("b").named("b").linking("l", a.digest());
        let (size_a, size_b) = (size(&a, "a"), size(&b, "b"));
        let account = |id| charged(&registry, id, size_a + size_b);
        let held = async |id| refused(&module("c"), &charged(&registry, id, 0)).await;
        a.create(&account("one")).await;
        b.create(&account("one")).await;
        registry.delete(&reference("a")).await.unwrap();
        assert_eq!(held("one").await, size_a + size_b);
        // Whoever registers it again takes it over.
        a.create(&account("two")).await;
        assert_eq!((held("one").await, held("two").await), (size_b, size_a));
        registry.delete(&reference("a")).await.unwrap();
        assert_eq!((held("one").await, held("two").await), (size_b, size_a));
        registry.delete(&reference("b")).await.unwrap();
        assert_eq!((held("one").await, held("two").await), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_held_is_known_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let (a, b) = (module("a").named("a"), module("b").named("b"));
    let each = size(&a, "a");
    a.create(&charged(&on_disk(directory.path()), "one", each)).await;
    let registry = on_disk(directory.path());
    assert_eq!(refused(&b, &charged(&registry, "one", each)).await, each);
    registry.delete(&reference("a")).await.unwrap();
    drop(registry);
    b.create(&charged(&on_disk(directory.path()), "one", each)).await;
}

#[tokio::test]
async fn of_many_at_once_only_so_many_fit() {
    on_every_backend(async |registry| {
        let modules: Vec<_> = (10..40).map(|number| module(number.to_string())).collect();
        let each = size(&modules[0], "10");
        let one = charged(&registry, "one", 7 * each);
        let mut registering = JoinSet::new();
        for module in modules {
            let one = one.clone();
            registering.spawn(async move { module.register(&one).await.is_ok() });
        }
        let registered = registering.join_all().await;
        assert_eq!(registered.into_iter().filter(|registered| *registered).count(), 7);
    })
    .await;
}
