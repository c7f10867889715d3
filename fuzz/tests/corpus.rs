//! Every target, over its seeds and a bounded number of changes of them.
//!
//! The changes are the same in every run: `FUZZ_SEED` chooses others, `FUZZ_MUTATIONS` how many.

use std::fmt::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use wasm_exec_fuzz::{Random, TARGETS, Target};

/// How many changes of its seeds each target is run on.
const MUTATIONS: u64 = 3_000;

/// Of compiling there are fewer, since each takes milliseconds.
const PROGRAMS: u64 = MUTATIONS / 10;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    // The order of a folder is the file system's.
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn run(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let mut hex = String::new();
        input.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
        panic!("{name} fails on {:?}, which is {hex}", input.escape_ascii().to_string());
    }
}

#[test]
fn laws_hold_for_seeds_and_what_is_made_of_them() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| run(name, *target, seed));
        let mut random = Random::new(number("FUZZ_SEED").unwrap_or(1));
        let bounded = if *name == "programs" { PROGRAMS } else { MUTATIONS };
        for _ in 0..number("FUZZ_MUTATIONS").unwrap_or(bounded) {
            run(name, *target, &random.mutate(&seeds));
        }
    }
}

#[test]
fn libfuzzer_has_every_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let path = format!("targets/{name}.rs");
        let binary = format!("[[bin]]\nname = \"{name}\"\npath = \"{path}\"\n");
        assert!(manifest.contains(&binary), "{name} is no binary of {folder:?}");
        let source = std::fs::read_to_string(folder.join(path)).unwrap();
        assert!(source.contains(&format!("target(\"{name}\")")), "{source}");
    }
}
