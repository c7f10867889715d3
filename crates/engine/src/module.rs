//! Loading what was compiled.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::artifact::Artifact;
use crate::config::Profile;

/// A loaded module: executable, shared by every program that has it in its graph.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) inner: wasmtime::Module,
    pub(crate) profile: Profile,
    cost: Cost,
}

/// What keeping a module or a program loaded takes from the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Memory and mapped file, in bytes.
    pub bytes: u64,
    /// Entries in the kernel's table of mappings, of which a process has 65,530 by default.
    pub mappings: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.mappings += other.mappings;
    }
}

impl Module {
    /// What keeping it loaded takes.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

/// What a session has for a module that its calls do not count as memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    /// For the module once: its image.
    pub(crate) loaded: usize,
    /// For each instance: its functions, imports, globals, tables' and memories' records.
    pub(crate) instance: usize,
}

impl Footprint {
    /// Wasmtime does not tell how large an instance is. Of each thing that it has a record for there
    /// are some bytes in the image besides its code, at least half as many; and the limits of modules
    /// allow a few megabytes of records at most.
    pub(crate) fn of(module: &wasmtime::Module) -> Self {
        const BASE: usize = 8 << 10;
        const FUNCTION: usize = 32;
        const IMPORT: usize = 48;
        const MOST: usize = 8 << 20;
        let image = module.image_range();
        let loaded = image.end as usize - image.start as usize;
        let records = loaded.saturating_sub(module.text().len()).saturating_mul(2);
        let counted = module.functions().count() * FUNCTION + module.imports().len() * IMPORT;
        Self { loaded, instance: BASE + counted + records.min(MOST) }
    }
}

/// A fixed part of what a loaded module takes besides its image: type registrations, export tables.
const OVERHEAD_BYTES: u64 = 8 << 10;

/// How many mappings a module has whose code is not in a file.
pub(crate) const MAPPINGS_IN_MEMORY: u64 = 2;

/// Makes an artifact executable.
///
/// # Errors
///
/// When the artifact does not fit this engine, or the module is more than the engine's pool takes.
#[expect(unsafe_code, reason = "Wasmtime cannot check native code; the argument is below")]
pub(crate) fn load(
    engine: &wasmtime::Engine,
    profile: Profile,
    artifact: Artifact,
) -> wasmtime::Result<Module> {
    // SAFETY: `deserialize` and `deserialize_open_file` must be given bytes that Wasmtime's own
    // `precompile_module` made and nobody changed. An `Artifact` is made in two places only. Bytes
    // come straight from the compiler and stay in this process's memory: from a thread of this
    // process, or from a compile worker, which is a child that executes our own program and answers
    // over a pipe of which nobody else has an end, checked against a hash keyed for that worker. A
    // worker that its input took over could break that; nothing but its confinement stands between,
    // as it would for a thread without any (docs/decisions.md). A file was checked through
    // this same handle against a keyed hash of its whole content, made by a process of this data
    // directory from its compiler's output, under a key that only our user can read; such files are
    // replaced by renaming and removed by unlinking, never written in place, so the content under
    // the handle is the content that was checked. Our own user could break that, but can run code
    // as us anyway. Whether the code fits this engine's version and settings is checked by Wasmtime.
    let (inner, mappings) = unsafe {
        match artifact {
            Artifact::Bytes(bytes) => {
                (wasmtime::Module::deserialize(engine, &bytes)?, MAPPINGS_IN_MEMORY)
            }
            Artifact::File(file) => (wasmtime::Module::deserialize_open_file(engine, file)?, 3),
        }
    };
    let cost = cost(&inner, mappings);
    Ok(Module { inner, profile, cost })
}

/// What keeping a module loaded takes that has so many mappings.
pub(crate) fn cost(module: &wasmtime::Module, mappings: u64) -> Cost {
    let image = module.image_range();
    let bytes = (image.end as usize - image.start as usize) as u64 + OVERHEAD_BYTES;
    Cost { bytes, mappings }
}

/// Identifies the engine's version and settings as far as generated code depends on them.
pub(crate) fn compatibility(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
