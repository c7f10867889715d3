//! What is asked of a registry and what it answers, as plain data.
//!
//! Times are kept to the second.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use crate::{Digest, Manifest, Name};

/// The most names a [`ModuleRecord`] lists, so that a module with a million of them stays small to
/// describe.
pub const MAX_LISTED_NAMES: usize = 100;

/// The most modules on one [`Page`].
pub const MAX_PAGE: usize = 1000;

/// A name as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The registered name, with its version if it has one.
    pub name: Name,
    /// The module it points to.
    pub digest: Digest,
    /// When the name was registered.
    pub registered_at: SystemTime,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The module digest.
    pub digest: Digest,
    /// The registered name that the reference led to: for a bare label its highest release.
    /// `None` for a reference by digest.
    pub name: Option<Entry>,
}

/// What is known of a registered module, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRecord {
    /// The module digest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// The size of its blob, in bytes.
    pub wasm_size: u64,
    /// The names that point to it, in name order, the first [`MAX_LISTED_NAMES`] of them.
    pub names: Vec<Name>,
    /// When its content was first registered.
    pub registered_at: SystemTime,
    /// Whether it is registered without a name, so that it stays until deleted by digest.
    pub unnamed: bool,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The name; `None` in a listing of what is registered without one.
    pub name: Option<Name>,
    /// The module digest.
    pub digest: Digest,
    /// The digest of its blob.
    pub wasm: Digest,
    /// The size of its blob, in bytes.
    pub wasm_size: u64,
    /// When this name, or the module without a name, was registered.
    pub registered_at: SystemTime,
}

/// Which modules to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Only names, or printed digests, that start with this. Empty: all.
    pub prefix: String,
    /// The most modules on the page; less than 1 is read as 1, more than [`MAX_PAGE`] as that.
    pub limit: usize,
    /// Where the page starts: after this name, or printed digest. Any text is taken; it need not
    /// be registered (any more).
    pub after: Option<String>,
    /// List what is registered without a name, in digest order, instead of the names.
    pub unnamed: bool,
}

impl Default for ListQuery {
    /// The first hundred names.
    fn default() -> Self {
        Self { prefix: String::new(), limit: 100, after: None, unnamed: false }
    }
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the byte order of the printed names, or digests.
    pub modules: Vec<Summary>,
    /// The next page's [`ListQuery::after`]; `None` on the last page.
    pub next: Option<String>,
}

/// What to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The name; `None` keeps the module under its digest alone.
    pub name: Option<Name>,
    /// Import module → the manifest that satisfies it.
    pub links: BTreeMap<String, Digest>,
    /// The Wasm bytes. What they hold is not looked at.
    pub wasm: Bytes,
}

/// What was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The module digest.
    pub digest: Digest,
    /// False if the very same was registered before.
    pub created: bool,
    /// When the name, or the module without a name, was first registered.
    pub registered_at: SystemTime,
}
