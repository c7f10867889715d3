//! Names that are, and texts that are not, with where they stop being names.

use proptest::prelude::*;

use super::*;

fn error(text: &str) -> InvalidName {
    match text.parse::<Name>() {
        Ok(name) => panic!("{name} is a name"),
        Err(error) => error,
    }
}

#[test]
fn reads_the_parts() {
    for (text, namespace, label, version, unversioned) in [
        ("utils", None, "utils", None, "utils"),
        ("utils@1.2.0", None, "utils", Some("1.2.0"), "utils"),
        ("acme:utils", Some("acme"), "utils", None, "acme:utils"),
        ("acme:u@0.0.0", Some("acme"), "u", Some("0.0.0"), "acme:u"),
        ("_", None, "_", None, "_"),
        ("0", None, "0", None, "0"),
        ("a..b", None, "a..b", None, "a..b"),
        ("a.b-c_d:E.-_", Some("a.b-c_d"), "E.-_", None, "a.b-c_d:E.-_"),
        ("a@1.0.0-rc.1", None, "a", Some("1.0.0-rc.1"), "a"),
        ("sha256", None, "sha256", None, "sha256"),
        ("a:sha256", Some("a"), "sha256", None, "a:sha256"),
        ("sha256x:a", Some("sha256x"), "a", None, "sha256x:a"),
        ("Qm:a", Some("Qm"), "a", None, "Qm:a"),
        ("12D3Koo:a", Some("12D3Koo"), "a", None, "12D3Koo:a"),
    ] {
        let name: Name = text.parse().expect(text);
        assert_eq!(name.as_str(), text);
        assert_eq!(name.to_string(), text);
        assert_eq!(name.namespace(), namespace, "{text}");
        assert_eq!(name.label(), label, "{text}");
        let printed = name.version().map(ToString::to_string);
        assert_eq!(printed.as_deref(), version, "{text}");
        assert_eq!(name.unversioned(), unversioned, "{text}");
        assert_eq!(name.without_version(), unversioned.parse().unwrap());
    }
}

#[test]
fn takes_parts_of_64_characters_and_not_of_65() {
    let part = "a".repeat(64);
    let version = format!("1.0.0-{}", "a".repeat(58));
    let longest = format!("{part}:{part}@{version}");
    assert_eq!(longest.parse::<Name>().unwrap().as_str(), longest);

    assert_eq!(error(&format!("{part}a")).position(), 64);
    assert_eq!(error(&format!("{part}a:b")).position(), 64);
    assert_eq!(error(&format!("b:{part}a")).position(), 66);
    assert_eq!(error(&format!("b@{version}a")).position(), 66);
}

#[test]
fn refuses_what_is_hostile_and_says_where() {
    for (text, position) in [
        ("", 0),
        (" ", 0),
        (".", 0),
        ("..", 0),
        ("-rf", 0),
        ("../etc/passwd", 0),
        ("a/b", 1),
        ("a\\b", 1),
        ("a\0b", 1),
        ("a\nb", 1),
        ("a\u{202e}b", 1),
        ("\u{1f600}", 0),
        ("ä", 0),
        ("a%2fb", 1),
        ("a b", 1),
        ("a?", 1),
        ("a:", 2),
        (":a", 0),
        ("a::b", 2),
        ("a:.b", 2),
        ("a:b:c", 3),
        ("a:b/c", 3),
        ("@1.0.0", 0),
        ("a@", 2),
        ("a@1", 2),
        ("a@1.0", 2),
        ("a@v1.0.0", 2),
        ("a@01.0.0", 2),
        ("a@1.0.0+build", 7),
        ("a@1.0.0@2.0.0", 2),
        ("a@1.0.0:b", 2),
        ("a@latest", 2),
        ("a@^1.0.0", 2),
        ("a@ 1.0.0", 2),
        ("a@99999999999999999999.0.0", 2),
    ] {
        let error = error(text);
        assert_eq!(error.position(), position, "{text:?}: {error}");
    }
}

#[test]
fn messages_say_what_was_expected_and_found() {
    assert_eq!(
        error("a/b").to_string(),
        "invalid name \"a/b\" at byte 1: expected a letter, a digit, `_`, `.`, `-`, `:` or `@`, \
         found '/'"
    );
    assert_eq!(
        error("acme:").to_string(),
        "invalid name \"acme:\" at byte 5: expected a letter, a digit or `_`, found the end"
    );
    assert!(error("a@1.0").to_string().contains("not a semantic version"));
}

#[test]
fn messages_quote_little_and_escaped() {
    for hostile in [
        "\u{1b}[2J\r\n".repeat(2048),
        "\u{202e}".repeat(4096),
        format!("a@{}", "\u{10ffff}".repeat(4096)),
        format!("a@1.0.0-{}", "x".repeat(10_240)),
        "a".repeat(10_240),
    ] {
        let message = error(&hostile).to_string();
        assert!(message.len() < 1024, "{} bytes", message.len());
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(!message.contains('\u{202e}'), "{message:?}");
    }
}

#[test]
fn reserves_digests_and_other_forms_of_peer_ids() {
    for namespace in [
        "sha256",
        "sha512",
        "blake3",
        "SHA256",
        "Sha512",
        "16Uiu2HAm9ZqkZgVz8h3pHvyzxZKm6kKQwXqWsvqhX8mCyzpqPZ7y",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
        "k51qzi5uqu5dj4nl2xvwya5k2y6a5ooxxrgn6qhaz8c0t7mqyc6o7o8p2kvx4e",
        "k2k4r8l9ja7hkzynavdqup76ou46tnvuaqegbd04a4o1mpbsey0meucb",
    ] {
        let error = error(&format!("{namespace}:a"));
        assert_eq!(error.position(), 0, "{error}");
        assert!(error.to_string().contains("reserved"), "{error}");
    }
}

#[test]
fn a_peer_id_is_an_owner() {
    const OWNER: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    for (text, owner) in [
        (format!("{OWNER}:a"), Some(OWNER)),
        (format!("{OWNER}:a@1.0.0"), Some(OWNER)),
        // A label is nobody's, and what is shorter, longer or not base58 is a namespace like others.
        (OWNER.to_owned(), None),
        (format!("acme:{OWNER}"), None),
        (format!("{}:a", &OWNER[..51]), None),
        (format!("{OWNER}A:a"), None),
        (format!("{}0:a", &OWNER[..51]), None),
    ] {
        assert_eq!(text.parse::<Name>().unwrap().owner(), owner, "{text}");
    }
}

#[test]
fn orders_by_bytes() {
    let mut names: Vec<Name> = ["b", "a@1.0.0", "a:z", "a", "a-b", "B", "a0", "_"]
        .map(|text| text.parse().unwrap())
        .into();
    names.sort();
    let sorted: Vec<&str> = names.iter().map(Name::as_str).collect();
    assert_eq!(sorted, ["B", "_", "a", "a-b", "a0", "a:z", "a@1.0.0", "b"]);
}

proptest! {
    #[test]
    fn prints_what_it_parsed(
        text in "([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}:)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\
                 (@(0|[1-9][0-9]{0,5})\\.(0|[1-9][0-9]{0,5})\\.(0|[1-9][0-9]{0,5})(-[a-z]{1,9})?)?"
    ) {
        let name: Name = text.parse().unwrap();
        prop_assert_eq!(name.to_string(), text);
        prop_assert_eq!(&name.to_string().parse::<Name>().unwrap(), &name);
    }

    #[test]
    fn never_panics_and_never_changes_the_text(text in "\\PC{0,200}|[a-z:@.0-9\\-+]{0,20}") {
        if let Ok(name) = text.parse::<Name>() {
            prop_assert_eq!(name.as_str(), text);
        }
    }
}
