//! What holds for any bytes, as functions that panic when it does not.
//!
//! libFuzzer drives them in `libfuzzer/` (`just fuzz TARGET`); `tests/corpus.rs` runs them over the
//! seeds in `corpus/` and a bounded number of mutations, with every `cargo test`.

mod bodies;
// The binary's own, which nothing can depend on.
#[cfg(not(test))]
#[expect(dead_code, unused_imports, reason = "the settings are only read and written here")]
#[path = "../../src/cli"]
mod cli {
    pub(crate) mod config;
    mod output;
    pub(crate) mod settings;

    pub(crate) use output::{message, print, printable};
}
#[cfg(not(test))]
mod config;
mod connection;
#[cfg(not(test))]
mod frames;
mod keys;
mod manifests;
mod modules;
mod mutation;
mod names;
mod programs;
// Where tests are asked for, it asks for its own, which are not found from here.
#[cfg(not(test))]
#[expect(dead_code, reason = "a part of it is used by confined processes only")]
#[path = "../../crates/engine/src/compiler/protocol.rs"]
mod protocol;
mod service;
#[cfg(not(test))]
mod settings;
mod texts;
mod values;

pub use mutation::Random;

/// A law for any bytes. It panics when they break it.
pub type Target = fn(&[u8]);

/// Every target, by its name, which is also that of its folder in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("bodies", bodies::check),
    #[cfg(not(test))]
    ("config", settings::check),
    #[cfg(not(test))]
    ("frames", frames::check),
    ("keys", keys::check),
    ("manifests", manifests::check),
    ("modules", modules::check),
    ("names", names::check),
    ("programs", programs::check),
    ("texts", texts::check),
    ("values", values::check),
];

/// The target of this name.
///
/// # Panics
///
/// If there is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("there is no target {name:?}")).1
}
