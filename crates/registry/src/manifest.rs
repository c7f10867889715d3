//! Manifests: what a module is, in one digest.
//!
//! `{"links":{"IMPORT":"sha256:…manifest…"},"wasm":"sha256:…blob…"}` as canonical JSON (RFC 8785:
//! no white space, keys in the order of their UTF-16 units). Its SHA-256 is the module digest, so
//! anyone can check one by hand with `sha256sum`, and since links are digests of manifests, cycles
//! cannot be built.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// A blob and what its imports are linked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Import module → the manifest that satisfies it.
    pub links: BTreeMap<String, Digest>,
    /// The digest of the Wasm bytes.
    pub wasm: Digest,
}

/// Bytes that are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not JSON, or not a manifest's members.
    #[error("not a manifest")]
    Json(#[from] serde_json::Error),
    /// A manifest, but not in its canonical form, so that its digest would not be these bytes'.
    #[error("not canonical JSON")]
    NotCanonical,
}

impl Manifest {
    /// The one form in which a manifest is stored, hashed and exchanged.
    ///
    /// # Panics
    ///
    /// Never: canonical JSON refuses only what a manifest cannot hold (keys that are not strings,
    /// duplicate keys, non-finite numbers).
    pub fn canonical(&self) -> String {
        match serde_json_canonicalizer::to_string(self) {
            Ok(text) => text,
            Err(error) => unreachable!("a map of strings to strings is JSON: {error}"),
        }
    }

    /// The module digest: the SHA-256 of [`Manifest::canonical`].
    pub fn digest(&self) -> Digest {
        Digest::of(self.canonical().as_bytes())
    }

    /// Reads a manifest from its canonical form.
    ///
    /// # Errors
    ///
    /// [`InvalidManifest`] for any other bytes, also for the same JSON written differently.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.canonical().as_bytes() == bytes {
            Ok(manifest)
        } else {
            Err(InvalidManifest::NotCanonical)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `printf '\0asm\1\0\0\0' | sha256sum`
    const EMPTY_WASM: &str =
        "sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";

    /// `printf '{"links":{},"wasm":"sha256:93a4…"}' | sha256sum`
    const LEAF: &str = "sha256:566a27fb67c5350b6f86339789d1b2f8300809e8d4766f343c0a3392ee0c3f31";

    /// `printf '{"links":{"utils":"sha256:…leaf…"},"wasm":"sha256:93a4…"}' | sha256sum`
    const ROOT: &str = "sha256:79f1911f694f495f34f96a75e97ce8b4963a2d21949fade39123a7550b412095";

    fn manifest(links: &[(&str, &[u8])]) -> Manifest {
        Manifest {
            links: links
                .iter()
                .map(|(import, of)| ((*import).to_owned(), Digest::of(of)))
                .collect(),
            wasm: Digest::of(b"\0asm\x01\0\0\0"),
        }
    }

    #[test]
    fn digest_is_what_sha256sum_says() {
        let leaf = manifest(&[]);
        assert_eq!(leaf.canonical(), format!("{{\"links\":{{}},\"wasm\":\"{EMPTY_WASM}\"}}"));
        assert_eq!(leaf.digest().to_string(), LEAF);

        let mut root = manifest(&[]);
        root.links.insert("utils".into(), leaf.digest());
        assert_eq!(
            root.canonical(),
            format!("{{\"links\":{{\"utils\":\"{LEAF}\"}},\"wasm\":\"{EMPTY_WASM}\"}}")
        );
        assert_eq!(root.digest().to_string(), ROOT);
    }

    /// U+1F600 is the surrogates D83D DE00, so in UTF-16 it sorts before U+FB33, and in UTF-8, as
    /// a `BTreeMap` sorts, after it. These are RFC 8785's own examples.
    #[test]
    fn keys_sort_by_utf16_units() {
        let manifest = manifest(&[
            ("\u{fb33}", b"1"),
            ("\u{1f600}", b"2"),
            ("\u{80}", b"3"),
            ("\u{20ac}", b"4"),
            ("\u{f6}", b"5"),
            ("1", b"6"),
            ("\r", b"7"),
        ]);
        let text = manifest.canonical();
        let keys = [
            "\"\\r\"",
            "\"1\"",
            "\"\u{80}\"",
            "\"\u{f6}\"",
            "\"\u{20ac}\"",
            "\"\u{1f600}\"",
            "\"\u{fb33}\"",
        ];
        let found: Vec<usize> = keys.iter().map(|key| text.find(key).expect(key)).collect();
        assert!(found.is_sorted(), "{text}");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn parses_nothing_but_the_canonical_form() {
        let text = manifest(&[("a", b"1"), ("b", b"2")]).canonical();
        assert!(Manifest::parse(text.as_bytes()).is_ok());
        for other in [
            String::new(),
            "{}".to_owned(),
            format!("{text}\n"),
            format!(" {text}"),
            format!("{text}{text}"),
            text.replace(':', ": "),
            text.replace("\"a\"", "\"\\u0061\""),
            text.replace("\"b\"", "\"a\""),
            text.replace("\"a\"", "\"c\""),
            text.replace("\"wasm\"", "\"more\":1,\"wasm\""),
            text.replace("sha256:", "SHA256:"),
            text.replace("\"links\"", "\"link\""),
            text.to_uppercase(),
        ] {
            assert!(Manifest::parse(other.as_bytes()).is_err(), "{other}");
        }
        assert!(Manifest::parse(b"{\"links\":{},\"wasm\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn canonical_form_parses_back(
            links in prop::collection::btree_map(".{0,12}", any::<[u8; 32]>(), 0..8),
            wasm: [u8; 32],
        ) {
            let links = links
                .into_iter()
                .map(|(import, digest)| (import, Digest::from_bytes(digest)))
                .collect();
            let manifest = Manifest { links, wasm: Digest::from_bytes(wasm) };
            let text = manifest.canonical();
            prop_assert_eq!(&Manifest::parse(text.as_bytes()).unwrap(), &manifest);
            prop_assert_eq!(Digest::of(text.as_bytes()), manifest.digest());
        }
    }
}
