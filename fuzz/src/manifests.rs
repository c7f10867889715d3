//! Manifests: what is read is in the only form there is, so that its digest is that of the bytes.

use wasm_exec_registry::{Digest, Manifest};

pub(crate) fn check(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        assert_eq!(manifest.canonical().as_bytes(), data);
        assert_eq!(manifest.digest(), Digest::of(data));
    }
}
