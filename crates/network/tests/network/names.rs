//! Whose names are whose.

use wasm_exec_registry::{DeleteError, RegisterError, RegistryError};

use crate::support::{Node, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_under_anothers_name() {
    let nodes = Node::network(2).await;
    nodes[0].register("utils", "double").await;
    let name = format!("{}:utils", nodes[0].id());
    nodes[1].until_loads(&name, b"double").await;
    let refused = nodes[1].try_register(&name, &[], "evil").await;
    assert!(
        matches!(&refused, Err(RegisterError::OtherOwner { owner, .. }) if *owner == nodes[0].id()),
        "{refused:?}"
    );
    let refused = nodes[1].registry.delete(&name.parse().unwrap()).await;
    assert!(matches!(refused, Err(DeleteError::OtherOwner { .. })), "{refused:?}");
    let refused = nodes[1].try_register("nobody:utils", &[], "evil").await;
    assert!(matches!(refused, Err(RegisterError::OtherOwner { .. })), "{refused:?}");
    nodes[1].until_loads(&name, b"double").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_claims_that_disagree_are_a_conflict_with_both_named() {
    let [one, two, three] = <[Node; 3]>::try_from(Node::network(3).await).unwrap();
    one.register("utils", "double").await;
    two.register("utils", "triple").await;
    let mut names = [one.id(), two.id()].map(|id| format!("{id}:utils"));
    names.sort();
    eventually("it is a conflict", async || match three.resolve("utils").await {
        Err(RegistryError::NameConflict { owners, .. }) => {
            let owners: Vec<_> = owners.iter().map(ToString::to_string).collect();
            (owners == names).then_some(())
        }
        _ => None,
    })
    .await;
    three.until_loads(&format!("{}:utils", one.id()), b"double").await;
    three.until_loads(&format!("{}:utils", two.id()), b"triple").await;
    // To each of them it is its own.
    one.until_loads("utils", b"double").await;
    two.until_loads("utils", b"triple").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owner_of_a_name_stays_its_owner() {
    let [one, two, three] = <[Node; 3]>::try_from(Node::network(3).await).unwrap();
    one.register("utils", "double").await;
    three.until_loads("utils", b"double").await;
    two.register("utils", "triple").await;
    three.until_loads(&format!("{}:utils", two.id()), b"triple").await;
    three.until_loads("utils", b"double").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_owners_come_before_strangers_and_have_aliases() {
    let one = Node::start(&[]).await;
    let two = Node::start(&[&one]).await;
    let three = Node::with(&[&one, &two], |config| {
        config.trust = vec![(Some("acme".to_owned()), two.id())];
    })
    .await;
    three.until_peers(2).await;
    one.register("utils", "double").await;
    two.register("utils", "triple").await;
    three.until_loads("acme:utils", b"triple").await;
    three.until_loads("utils", b"triple").await;
    let refused = three.try_register("acme:utils", &[], "evil").await;
    assert!(matches!(refused, Err(RegisterError::OtherOwner { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_ones_own_is_so_in_all_versions() {
    let [one, two] = <[Node; 2]>::try_from(Node::network(2).await).unwrap();
    one.register("utils", "double").await;
    two.register("utils@2.0.0", "triple").await;
    one.until_loads(&format!("{}:utils@2.0.0", two.id()), b"triple").await;
    one.until_unknown("utils@2.0.0").await;
    one.until_loads("utils", b"double").await;
    two.until_loads(&format!("{}:utils", one.id()), b"double").await;
    two.until_loads("utils", b"triple").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_looked_for_within_the_owner() {
    let nodes = Node::network(2).await;
    for version in ["1.0.0", "1.2.0", "2.0.0-rc.1"] {
        nodes[0].register(&format!("utils@{version}"), version).await;
    }
    nodes[1].until_loads("utils@2.0.0-rc.1", b"2.0.0-rc.1").await;
    nodes[1].until_loads("utils", b"1.2.0").await;
    nodes[1].until_loads(&format!("{}:utils", nodes[0].id()), b"1.2.0").await;
}
