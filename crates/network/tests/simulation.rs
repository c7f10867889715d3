//! What small networks of the core's code do, in simulated time: the same laws that the benchmark
//! `simulation` measures at full size.

mod simulator;

use std::time::Duration;

use simulator::scenario::{LookUps, Registered};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn names_are_found_in_two_hops_while_a_tenth_of_the_nodes_is_dead() {
    let lookups = LookUps { nodes: 300, lookups: 300, dead: 0.1, liars: 0.0, seed: 1 };
    let looked_up = lookups.run();
    assert!(looked_up.found >= 1.0, "{looked_up:?}");
    assert!(looked_up.mean_hops <= 2.0, "{looked_up:?}");
    assert!(looked_up.p50 <= Duration::from_millis(150), "{looked_up:?}");
    assert!(looked_up.p99 <= Duration::from_secs(1), "{looked_up:?}");
}

#[test]
fn copies_are_restored_after_a_third_of_the_nodes_died() {
    let survived = Registered { nodes: 100, records: 150, seed: 2 }.die(0.3);
    assert!(survived.copied.is_some(), "{survived:?}");
    assert!(survived.restored.is_some_and(|time| time <= LIMIT), "{survived:?}");
    assert!(survived.lost_at_once < 15, "all three died, by chance: {survived:?}");
    assert_eq!(survived.lost_later, 0, "{survived:?}");
    assert!(survived.names >= 1.0, "{survived:?}");
}

#[test]
fn copies_are_restored_where_nodes_know_only_their_neighbours() {
    let survived = Registered { nodes: 300, records: 150, seed: 3 }.die_routed(0.3);
    assert!(survived.copied.is_some(), "{survived:?}");
    assert!(survived.restored.is_some_and(|time| time <= LIMIT), "{survived:?}");
    assert_eq!(survived.lost_later, 0, "{survived:?}");
}

#[test]
fn two_halves_that_were_parted_know_all_names_soon() {
    let healed = Registered { nodes: 60, records: 100, seed: 4 }.part();
    assert!(healed.names.is_some_and(|time| time <= LIMIT), "{healed:?}");
    assert!(healed.restored.is_some_and(|time| time <= LIMIT), "{healed:?}");
}

#[test]
fn liars_keep_no_name_from_anybody() {
    let lied_to = Registered { nodes: 60, records: 100, seed: 5 }.lie(0.3);
    assert!(lied_to.newcomer.is_some_and(|time| time <= LIMIT), "{lied_to:?}");
    assert!(lied_to.names >= 1.0, "{lied_to:?}");
    assert!(lied_to.single < 20 && lied_to.copies >= 2.0, "{lied_to:?}");
}

#[test]
fn nothing_is_lost_while_nodes_come_and_go() {
    let churned = Registered { nodes: 60, records: 100, seed: 6 }.churn(0.1, 6);
    assert_eq!(churned.lost, 0, "{churned:?}");
    assert!(churned.names >= 1.0, "{churned:?}");
    assert!(churned.whole >= 0.9, "{churned:?}");
}
