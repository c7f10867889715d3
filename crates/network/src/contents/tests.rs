//! Lists that are those of their modules, and all the ways in which others are not.

use proptest::prelude::*;

use super::*;

const MAX_WASM_BYTES: u64 = 1 << 20;

/// Modules and their blobs, dependencies first.
struct Closure(Vec<(Manifest, Vec<u8>)>);

impl Closure {
    /// `shape` says for each module which of those before it are linked to, and what its blob is.
    fn new(shape: &[(&[usize], &str)]) -> Self {
        let mut modules: Vec<(Manifest, Vec<u8>)> = Vec::new();
        for (links, wasm) in shape {
            let links = links.iter().map(|link| (format!("m{link}"), modules[*link].0.digest()));
            let manifest = Manifest { links: links.collect(), wasm: Digest::of(wasm.as_bytes()) };
            modules.push((manifest, wasm.as_bytes().to_vec()));
        }
        Self(modules)
    }

    fn contents(&self) -> Contents {
        Contents::of(self.0.iter().map(|(manifest, wasm)| (manifest, wasm.as_slice()))).unwrap()
    }

    fn manifests(&self) -> HashMap<Digest, Manifest> {
        self.0.iter().map(|(manifest, _)| (manifest.digest(), manifest.clone())).collect()
    }

    fn root(&self) -> Digest {
        self.0.last().unwrap().0.digest()
    }

    fn check(&self, contents: &Contents) -> Result<(), InvalidContents> {
        contents.check(self.root(), &self.manifests())
    }
}

/// A diamond, in which two modules have one blob.
fn diamond() -> Closure {
    Closure::new(&[(&[], "leaf"), (&[0], "same"), (&[], "same"), (&[1, 2], "root")])
}

#[test]
fn lists_each_item_once_dependencies_first() {
    let contents = diamond().contents();
    let kinds: Vec<Kind> = contents.items().iter().map(|item| item.kind).collect();
    use Kind::{Manifest as M, Wasm as W};
    assert_eq!(kinds, [M, W, M, W, M, M, W]);
}

#[test]
fn states_what_every_item_is() {
    let closure = Closure::new(&[(&[], "leaf"), (&[0], "root")]);
    let contents = closure.contents();
    let (manifest, wasm) = &closure.0[1];
    let [.., last_but_one, last] = contents.items() else { panic!("{contents:?}") };
    assert_eq!(*last, Item::of(Kind::Wasm, Digest::of(wasm), wasm));
    let text = manifest.canonical();
    assert_eq!(*last_but_one, Item::of(Kind::Manifest, closure.root(), text.as_bytes()));
    let texts: usize = closure.0.iter().map(|(manifest, _)| manifest.canonical().len()).sum();
    assert_eq!(contents.bytes(), texts as u64 + 8);
    closure.check(&contents).unwrap();
}

#[test]
fn the_text_is_what_is_documented() {
    let contents = Closure::new(&[(&[], "wasm")]).contents();
    let item = &contents.items()[1];
    let text = contents.canonical();
    let expected = format!(
        "{{\"blake3\":\"{}\",\"kind\":\"wasm\",\"sha256\":\"{}\",\"size\":4}}]}}",
        item.blake3.to_hex(),
        item.sha256
    );
    assert!(text.starts_with("{\"items\":[{\"blake3\":\""), "{text}");
    assert!(text.ends_with(&expected), "{text}");
    assert_eq!(Contents::decode(text.as_bytes(), MAX_WASM_BYTES).unwrap(), contents);
}

#[test]
fn decodes_nothing_but_the_canonical_form() {
    let text = Closure::new(&[(&[], "leaf"), (&[0], "root")]).contents().canonical();
    for other in [
        String::new(),
        "{}".to_owned(),
        format!("{text} "),
        format!("{text}{text}"),
        text.replace(',', ", "),
        text.replace("\"size\":4", "\"size\":4.0"),
        text.replace("\"size\":4", "\"size\":-4"),
        text.replace("\"size\":4", "\"more\":1,\"size\":4"),
        text.replace("\"kind\"", "\"\\u006bind\""),
        text.replace("manifest", "Manifest"),
        text.replace("sha256:", "SHA256:"),
        text.replace("\"blake3\":\"", "\"blake3\":\"00"),
        text.to_uppercase(),
    ] {
        assert!(Contents::decode(other.as_bytes(), MAX_WASM_BYTES).is_err(), "{other}");
    }
    let long = " ".repeat(MAX_CONTENTS_BYTES + 1);
    let error = Contents::decode(long.as_bytes(), MAX_WASM_BYTES).unwrap_err();
    assert!(matches!(error, InvalidContents::TooLong(_)), "{error}");
}

fn decode_changed(change: impl FnOnce(&mut Contents)) -> InvalidContents {
    let mut contents = Closure::new(&[(&[], "leaf"), (&[0], "root")]).contents();
    change(&mut contents);
    Contents::decode(contents.canonical().as_bytes(), MAX_WASM_BYTES).unwrap_err()
}

#[test]
fn manifests_are_bounded_all_together() {
    let closure = Closure::new(&[(&[], "leaf"), (&[], "other"), (&[0, 1], "root")]);
    let decode_with = |sizes: [u64; 3]| {
        let mut contents = closure.contents();
        let manifests = contents.items.iter_mut().filter(|item| item.kind == Kind::Manifest);
        manifests.zip(sizes).for_each(|(manifest, size)| manifest.size = size);
        Contents::decode(contents.canonical().as_bytes(), MAX_WASM_BYTES)
    };
    let rest = MAX_MANIFESTS_BYTES - MAX_MANIFEST_BYTES - 100;
    assert!(decode_with([MAX_MANIFEST_BYTES, rest, 100]).is_ok());
    let error = decode_with([MAX_MANIFEST_BYTES, rest, 101]).unwrap_err();
    assert!(
        matches!(error, InvalidContents::Manifests(bytes) if bytes == MAX_MANIFESTS_BYTES + 1),
        "{error}"
    );
}

#[test]
fn sizes_are_bounded() {
    for (index, size) in [(0, 0), (0, MAX_MANIFEST_BYTES + 1), (1, 0), (1, MAX_WASM_BYTES + 1)] {
        let error = decode_changed(|contents| contents.items[index].size = size);
        assert!(
            matches!(error, InvalidContents::Size { size: found, .. } if found == size),
            "{error}"
        );
    }
}

#[test]
fn an_item_is_not_listed_twice() {
    let error = decode_changed(|contents| contents.items.push(contents.items[0]));
    assert!(matches!(error, InvalidContents::Repeated(_)), "{error}");
}

#[test]
fn a_list_has_as_many_modules_as_a_graph_and_no_more() {
    let names: Vec<String> = (0..=MAX_MODULES).map(|index| index.to_string()).collect();
    let shape: Vec<(&[usize], &str)> = names.iter().map(|name| (&[][..], name.as_str())).collect();
    let most = Closure::new(&shape[1..]).contents().canonical();
    assert!(most.len() <= MAX_CONTENTS_BYTES);
    assert!(Contents::decode(most.as_bytes(), MAX_WASM_BYTES).is_ok());

    let modules = Closure::new(&shape).0;
    let modules = modules.iter().map(|(manifest, wasm)| (manifest, wasm.as_slice()));
    assert!(matches!(Contents::of(modules), Err(InvalidContents::TooManyModules)));
    let error = decode_changed(|contents| {
        contents.items = (0..=2 * MAX_MODULES)
            .map(|index| Item::of(Kind::Wasm, Digest::of(&index.to_le_bytes()), b"wasm"))
            .collect();
    });
    assert!(matches!(error, InvalidContents::TooManyModules), "{error}");
}

#[test]
fn an_empty_list_is_no_modules() {
    let contents = Contents::decode(b"{\"items\":[]}", MAX_WASM_BYTES).unwrap();
    assert!(diamond().check(&contents).is_err());
}

#[test]
fn other_orders_that_are_not_the_closures_are_refused() {
    let closure = diamond();
    let contents = closure.contents();
    for index in 1..contents.items.len() {
        let mut contents = contents.clone();
        contents.items.swap(index - 1, index);
        assert!(closure.check(&contents).is_err(), "{index}");
    }
}

#[test]
fn a_manifest_of_another_kind_is_refused() {
    let closure = diamond();
    for index in 0..closure.contents().items.len() {
        let mut contents = closure.contents();
        let kind = &mut contents.items[index].kind;
        *kind = match kind {
            Kind::Manifest => Kind::Wasm,
            Kind::Wasm => Kind::Manifest,
        };
        assert!(closure.check(&contents).is_err(), "{index}");
    }
}

#[test]
fn the_list_of_another_module_is_refused() {
    let closure = diamond();
    let leaf = closure.0[0].0.digest();
    let error = closure.contents().check(leaf, &closure.manifests()).unwrap_err();
    assert!(matches!(error, InvalidContents::Missing(digest) if digest == leaf), "{error}");
}

#[test]
fn what_the_root_does_not_link_to_is_refused() {
    let closure = Closure::new(&[(&[], "leaf"), (&[], "stray"), (&[0], "root")]);
    let stray = closure.0[1].0.digest();
    let error = closure.check(&closure.contents()).unwrap_err();
    assert!(matches!(error, InvalidContents::Misplaced(digest) if digest == stray), "{error}");
}

#[test]
fn a_link_leads_to_a_manifest_not_to_a_blob() {
    let mut closure = Closure::new(&[(&[], "leaf"), (&[0], "root")]);
    let blob = closure.0[0].0.wasm;
    closure.0[1].0.links.insert("m1".to_owned(), blob);
    let error = closure.check(&closure.contents()).unwrap_err();
    assert!(matches!(error, InvalidContents::Missing(digest) if digest == blob), "{error}");
}

proptest! {
    #[test]
    fn nothing_can_be_left_out(
        shape in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..4), 0..6_u8), 1..12),
        without: prop::sample::Index,
    ) {
        let closure = closure_of(&shape);
        let contents = closure.contents();
        prop_assert!(closure.check(&contents).is_ok());
        let text = contents.canonical();
        prop_assert_eq!(&Contents::decode(text.as_bytes(), MAX_WASM_BYTES).unwrap(), &contents);

        let mut less = contents;
        less.items.remove(without.index(less.items.len()));
        prop_assert!(closure.check(&less).is_err());
    }
}

/// Any closure: each module has links to some of those before it, the last to all.
fn closure_of(shape: &[(Vec<prop::sample::Index>, u8)]) -> Closure {
    let mut modules: Vec<(Manifest, Vec<u8>)> = Vec::new();
    for (number, (links, wasm)) in shape.iter().enumerate() {
        let before = modules.len();
        let is_last = number + 1 == shape.len();
        let chosen: Vec<usize> = match is_last || before == 0 {
            true => (0..before).collect(),
            false => links.iter().map(|link| link.index(before)).collect(),
        };
        let links = chosen.iter().map(|link| (format!("m{link}"), modules[*link].0.digest()));
        let wasm = vec![*wasm; 1 + usize::from(*wasm)];
        let manifest = Manifest { links: links.collect(), wasm: Digest::of(&wasm) };
        if modules.iter().all(|(other, _)| *other != manifest) {
            modules.push((manifest, wasm));
        }
    }
    Closure(modules)
}
