//! What names mean: each rule as lines of a table, each line a world and a question.

use super::*;
use crate::index::{Applied, IndexLimits, Interest};
use crate::record::NameRecord;
use crate::record::fixtures::{NOW, content, first, name, owner, sign, signed};

const OWN: u8 = 0;

/// A node, and what it knows.
struct World {
    index: Index,
    own_labels: Vec<&'static str>,
    trust: Trust,
    pins: Pins,
}

/// A network that is open, of which nothing is known.
fn open() -> World {
    let trust = Trust {
        own: owner(OWN),
        aliases: [("me", OWN), ("one", 1)].map(|(alias, of)| (alias.to_owned(), owner(of))).into(),
        trusted: Vec::new(),
        open: true,
    };
    let index = Index::new(IndexLimits::default(), owner(OWN));
    World { index, own_labels: Vec::new(), trust, pins: Pins::default() }
}

fn private() -> World {
    let mut world = open();
    world.trust.open = false;
    world
}

impl World {
    /// With this name of an owner, which means a module.
    fn with(mut self, of: u8, text: &str, module: u8) -> Self {
        self.hear(&signed(of, text, module));
        self
    }

    fn trusting(mut self, owners: &[u8]) -> Self {
        self.trust.trusted = owners.iter().map(|&of| owner(of)).collect();
        self
    }

    fn pinned(mut self, label: &str, of: u8) -> Self {
        assert!(self.pins.pin(NewPin::new(label, owner(of))));
        self
    }

    fn having(mut self, label: &'static str) -> Self {
        self.own_labels.push(label);
        self
    }

    fn hear(&mut self, record: &SignedRecord) {
        let applied = self.index.apply(record.clone(), Interest::Told, NOW);
        assert!(matches!(applied, Applied::New { .. }), "{applied:?}");
    }

    /// With this name deleted by its owner.
    fn without(mut self, of: u8, text: &str, module: u8) -> Self {
        self.hear(&sign(of, &first(of, text, module).deleted(NOW).unwrap()));
        self
    }

    fn at(&self, text: &str, now: Seconds) -> (String, Option<NewPin>) {
        let name = name(text);
        let own_has = self.own_labels.contains(&name.label());
        let (meaning, pin) = meaning(&name, &self.index, own_has, &self.trust, &self.pins, now);
        let printed = match meaning {
            Meaning::Own(name) => format!("own {name}"),
            Meaning::Record(record) => short(record.canonical_name()),
            Meaning::Unknown => "unknown".to_owned(),
            Meaning::UnknownOwner => "unknown owner".to_owned(),
            Meaning::Conflict(names) => {
                let mut names: Vec<_> = names.iter().map(short).collect();
                names.sort();
                format!("conflict {}", names.join(" "))
            }
        };
        (printed, pin)
    }

    /// Asserts what a name means and to whom it is pinned then.
    fn means(&self, text: &str, expected: &str, pinned: Option<u8>) {
        let (printed, pin) = self.at(text, NOW);
        assert_eq!(printed, expected, "{text}");
        let label = name(text).label().to_owned();
        let expected = pinned.map(|of| NewPin { label, owner: owner(of) });
        assert_eq!(pin, expected, "the pin of {text}");
    }
}

/// A canonical name with the owner's number instead of its id.
fn short(canonical: &Name) -> String {
    let text = canonical.to_string();
    let of = (0..=u8::MAX).find(|&of| text.starts_with(&owner(of).to_string())).unwrap();
    format!("{of}:{}", canonical.without_namespace())
}

/// The name in an owner's namespace.
fn of(of: u8, text: &str) -> String {
    format!("{}:{text}", owner(of))
}

#[test]
fn an_owners_names() {
    let world = private().with(1, "a", 1).with(2, "a", 2).with(OWN, "lost", 3).having("mine");
    for (text, expected) in [
        (of(1, "a"), "1:a"),
        (of(2, "a"), "2:a"),
        ("one:a".to_owned(), "1:a"),
        (of(1, "b"), "unknown"),
        (of(1, "a@1.0.0"), "unknown"),
        (of(3, "a"), "unknown"),
        (of(OWN, "mine@1.0.0"), "own mine@1.0.0"),
        ("me:mine".to_owned(), "own mine"),
        (of(1, "mine"), "unknown"),
        // Registered here once; others still know.
        (of(OWN, "lost"), "0:lost"),
        ("nobody:a".to_owned(), "unknown owner"),
        // The form of a peer's id, and that of no key.
        (format!("12D3Koo{}:a", "1".repeat(45)), "unknown"),
    ] {
        world.means(&text, expected, None);
    }
}

#[test]
fn an_alias_never_stands_before_a_peer_id() {
    let mut world = open().with(1, "a", 1).with(2, "a", 2);
    world.trust.aliases.insert(owner(1).to_string(), owner(2));
    world.means(&of(1, "a"), "1:a", None);
}

#[test]
fn the_version_is_looked_for_within_the_owner() {
    let world = private()
        .with(1, "a@1.9.0", 1)
        .with(1, "a@1.10.0", 2)
        .with(1, "a@2.0.0-rc.1", 3)
        .without(1, "a@3.0.0", 4)
        .with(1, "a.b@9.0.0", 5)
        .with(2, "a@4.0.0", 6)
        .with(2, "pre@1.0.0-rc.1", 7);
    for (text, expected) in [
        (of(1, "a"), "1:a@1.10.0"),
        (of(1, "a@1.9.0"), "1:a@1.9.0"),
        (of(1, "a@2.0.0-rc.1"), "1:a@2.0.0-rc.1"),
        (of(1, "a@3.0.0"), "unknown"),
        (of(1, "a@4.0.0"), "unknown"),
        (of(2, "a"), "2:a@4.0.0"),
        (of(2, "pre"), "unknown"),
    ] {
        world.means(&text, expected, None);
    }
    world.trusting(&[1, 2]).means("a@4.0.0", "unknown", None);
}

#[test]
fn whose_a_plain_name_is() {
    let known = |world: World| world.with(1, "a", 1).with(2, "a", 2).with(3, "a@1.0.0", 3);
    // The node's own, then the pinned owner's, then the trusted owners' in their order.
    for world in [open(), private()] {
        let world = known(world).having("a").pinned("a", 1).trusting(&[2]);
        world.means("a", "own a", None);
        world.means("a@7.0.0", "own a@7.0.0", None);
    }
    for world in [open(), private()] {
        known(world).pinned("a", 1).trusting(&[2, 3]).means("a", "1:a", None);
    }
    for world in [open(), private()] {
        known(world).trusting(&[4, 2, 1]).means("a", "2:a", Some(2));
    }
    // In an open network also what all claims agree on, in a private one nobody else's.
    open().with(1, "a", 1).means("a", "1:a", Some(1));
    open().with(1, "a", 1).means("b", "unknown", None);
    private().with(1, "a", 1).means("a", "unknown", None);
    known(private()).means("a", "unknown", None);
    // What the node had registered and lost is its own in any network.
    known(private()).with(OWN, "a", 4).pinned("a", 1).means("a", "0:a", None);
}

#[test]
fn a_trusted_owner_without_the_version_is_not_passed_over() {
    let world = open().with(1, "a@1.0.0", 1).with(2, "a@2.0.0", 2).trusting(&[1, 2]);
    world.means("a@1.0.0", "1:a@1.0.0", Some(1));
    world.means("a@2.0.0", "unknown", None);
    world.means("a", "1:a@1.0.0", Some(1));
}

#[test]
fn claims_that_disagree_are_a_conflict_and_stay_callable() {
    let world = open().with(1, "a", 1).with(2, "a", 2).with(3, "a@1.0.0", 1);
    world.means("a", "conflict 1:a 2:a 3:a@1.0.0", None);
    for (text, expected) in [("a", "1:a"), ("a", "2:a"), ("a@1.0.0", "3:a@1.0.0")] {
        let owner = expected.as_bytes()[0] - b'0';
        world.means(&of(owner, text), expected, None);
    }
    // Of the version there is one claim only.
    world.means("a@1.0.0", "3:a@1.0.0", Some(3));
    // Nobody is in conflict with one that is trusted or pinned, or has deleted the name.
    let known = |world: World| world.with(1, "a", 1).with(2, "a", 2);
    known(open()).trusting(&[2]).means("a", "2:a", Some(2));
    known(open()).pinned("a", 1).means("a", "1:a", None);
    open().with(1, "a", 1).without(2, "a", 2).means("a", "1:a", Some(1));
}

#[test]
fn claims_that_agree_are_pinned_to_nobody() {
    let world = open().with(1, "a", 7).with(2, "a@1.0.0", 7);
    let (meaning, pin) = world.at("a", NOW);
    assert!(["1:a", "2:a@1.0.0"].contains(&meaning.as_str()), "{meaning}");
    assert_eq!(pin, None);
    world.with(2, "a@2.0.0", 8).means("a", "conflict 1:a 2:a@2.0.0", None);
}

#[test]
fn a_conflict_lists_few_of_many_and_always_two_that_differ() {
    let mut owners: Vec<u8> = (1..=40).collect();
    owners.sort_by_key(|&of| owner(of));
    for odd in [0, 1, 14, 15, 16, 39] {
        let mut world = open();
        for (place, &of) in owners.iter().enumerate() {
            world.hear(&signed(of, "a", u8::from(place == odd)));
        }
        let question = name("a");
        let answer = meaning(&question, &world.index, false, &world.trust, &world.pins, NOW);
        let (Meaning::Conflict(names), None) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(names.len(), MAX_CONFLICTING, "{odd}");
        let odd_name = of(owners[odd], "a");
        assert!(names.iter().any(|name| name.as_str() == odd_name), "{odd}");
        assert!(names.iter().any(|name| name.as_str() != odd_name), "{odd}");
    }
}

/// Keys are free, so whoever likes can claim a name as often as there are places: that is a conflict,
/// and not a reason to look at all of them.
#[test]
fn more_claims_than_are_looked_at_are_a_conflict() {
    let mut world = open();
    for of in 1..=8 {
        world.hear(&signed(of, "a", 7));
    }
    let claimed =
        |looked_at, text| Names { index: &world.index, now: NOW, looked_at }.claimed(&name(text));
    assert!(matches!(claimed(8, "a"), (Meaning::Record(_), None)), "all of them agree");
    let (Meaning::Conflict(names), None) = claimed(7, "a") else {
        panic!("one was not looked at");
    };
    assert_eq!(names.len(), 7);
    assert_eq!(claimed(7, "a@1.0.0"), (Meaning::Unknown, None));
}

#[test]
fn a_pin_stays() {
    let mut world = open().with(1, "a", 1);
    let (_, pin) = world.at("a", NOW);
    assert!(world.pins.pin(pin.unwrap()));
    // Another claim, then a trusted owner's.
    let mut world = world.with(2, "a", 2).with(2, "a@9.0.0", 3).trusting(&[2]);
    world.means("a", "1:a", None);
    world.means("a@9.0.0", "unknown", None);
    assert!(!world.pins.pin(NewPin::new("a", owner(2))));

    // The pinned owner deletes it, takes it anew, and goes away.
    let deleted = first(1, "a", 1).deleted(NOW).unwrap();
    world.hear(&sign(1, &deleted));
    world.means("a", "unknown", None);
    world.hear(&sign(1, &deleted.given(content(9), NOW).unwrap()));
    world.means("a", "1:a", None);
    let key = deleted.key();
    let not_after = world.index.get(&key).unwrap().record().not_after;
    assert_eq!(world.at("a", not_after).0, "1:a");
    assert_eq!(world.at("a", not_after + 1).0, "unknown");
    world.index.remove(&key);
    world.means("a", "unknown", None);
}

#[test]
fn what_has_expired_is_no_claim() {
    let longer = NameRecord { not_after: NOW + 90, ..first(1, "a", 1) };
    let shorter = NameRecord { not_after: NOW + 9, ..first(2, "a", 2) };
    let mut world = open();
    world.hear(&sign(1, &longer));
    world.hear(&sign(2, &shorter));
    assert_eq!(world.at("a", NOW + 9), ("conflict 1:a 2:a".to_owned(), None));
    assert_eq!(world.at("a", NOW + 10).0, "1:a");
    assert_eq!(world.at("a", NOW + 91).0, "unknown");
}

#[test]
fn when_no_more_can_be_pinned_nothing_is_pinned() {
    let mut world = open().with(1, "a", 1).with(1, "pinned", 2).pinned("pinned", 1);
    for number in 1..pins::MAX_PINS {
        assert!(world.pins.pin(NewPin::new(&format!("label{number}"), owner(2))));
    }
    assert!(!world.pins.pin(NewPin::new("a", owner(1))));
    assert!(world.pins.pin(NewPin::new("pinned", owner(1))));
    assert!(world.pins.is_full());
    world.means("a", "unknown", None);
    world.means("pinned", "1:pinned", None);
    world.means(&of(1, "a"), "1:a", None);
}

#[test]
fn only_its_own_names_are_written() {
    let trust = open().trust;
    for (text, expected) in [
        ("a".to_owned(), Ok("a")),
        ("a@1.0.0".to_owned(), Ok("a@1.0.0")),
        (of(OWN, "a@1.0.0"), Ok("a@1.0.0")),
        ("me:a".to_owned(), Ok("a")),
        ("one:a".to_owned(), Err("one".to_owned())),
        (of(1, "a"), Err(owner(1).to_string())),
        ("acme:a".to_owned(), Err("acme".to_owned())),
    ] {
        let written = owner_to_write(&name(&text), &trust);
        let expected = expected.map(name).map_err(|owner| NotOurs { owner });
        assert_eq!(written, expected, "{text}");
    }
}
