//! Settings of where modules and compiled code are kept.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use etcetera::BaseStrategy;

use super::SettingsError;
use super::sources::Sources;
use super::values::Size;

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Storage")]
pub(super) struct StorageOptions {
    /// Keep everything in this directory [default: wasm-exec-api in the user's data directory]
    #[arg(short, long, env = "WASM_EXEC_DATA_DIRECTORY", value_name = "DIR")]
    data_directory: Option<PathBuf>,
    /// Keep everything in memory, and nothing past the end; the data directory is not used
    #[arg(
        short,
        long,
        env = "WASM_EXEC_MEMORY",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    memory: Option<bool>,
    /// Memory for the database's cache [default: 64MiB]
    #[arg(long, env = "WASM_EXEC_STORE_CACHE_BYTES", value_name = "SIZE")]
    store_cache_bytes: Option<Size>,
    /// Compiled code to keep, on disk or in memory [default: 4GiB; 256MiB in memory]
    #[arg(long, env = "WASM_EXEC_ARTIFACTS_BYTES", value_name = "SIZE")]
    artifacts_bytes: Option<Size>,
}

/// Where modules and compiled code are kept.
#[derive(Debug)]
pub(crate) struct Storage {
    /// The data directory; `None` keeps everything in memory.
    pub(crate) directory: Option<PathBuf>,
    /// Memory for the database's cache, in bytes.
    pub(crate) cache_bytes: usize,
    /// The most compiled code that is kept, in bytes.
    pub(crate) artifacts_bytes: u64,
}

impl StorageOptions {
    pub(super) fn resolve(self, sources: &mut Sources<'_>) -> Result<Storage, SettingsError> {
        let Self { data_directory, memory, store_cache_bytes, artifacts_bytes } = self;
        let memory = sources.pick("memory", memory, false)?;
        let directory = match sources.find("data-directory", data_directory)? {
            _ if memory => None,
            Some(directory) => Some(directory),
            None => Some(sources.default("data-directory", default_directory()?)),
        };
        let artifacts = if memory { Size::mib(256) } else { Size::gib(4) };
        let cache = sources.pick("store-cache-bytes", store_cache_bytes, Size::mib(64))?;
        let artifacts = sources.pick("artifacts-bytes", artifacts_bytes, artifacts)?;
        Ok(Storage {
            directory,
            cache_bytes: cache.in_memory(),
            artifacts_bytes: artifacts.bytes(),
        })
    }
}

fn default_directory() -> Result<PathBuf, SettingsError> {
    let strategy = etcetera::base_strategy::choose_native_strategy();
    let strategy = strategy.map_err(|_| SettingsError::NoDataDirectory)?;
    Ok(strategy.data_dir().join(env!("CARGO_PKG_NAME")))
}
