//! Settings of what one call may use.

use clap::Args;
use wasm_exec::Setting;

use super::SettingsError;
use super::sources::Sources;
use super::values::{Period, Size};

/// More fuel than this is not a number that every JSON parser keeps.
pub(super) const MOST_FUEL: u64 = (1 << 53) - 1;

/// A stack that no program asks for: threads, which have it too, could not be started with any size.
pub(super) const MOST_STACK: Size = Size::mib(64);

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of a call")]
pub(super) struct CallOptions {
    /// Time of a call that asks for no limit [default: 1s]
    #[arg(long, env = "WASM_EXEC_TIMEOUT_DEFAULT", value_name = "TIME")]
    timeout_default: Option<Period>,
    /// Most time a call may ask for [default: 1m]
    #[arg(long, env = "WASM_EXEC_TIMEOUT_MAXIMUM", value_name = "TIME")]
    timeout_maximum: Option<Period>,
    /// Memory of a call that asks for no limit [default: 64MiB]
    #[arg(long, env = "WASM_EXEC_MEMORY_DEFAULT", value_name = "SIZE")]
    memory_default: Option<Size>,
    /// Most memory a call may ask for [default: 256MiB]
    #[arg(long, env = "WASM_EXEC_MEMORY_MAXIMUM", value_name = "SIZE")]
    memory_maximum: Option<Size>,
    /// Memory of all calls together [default: 4GiB]
    #[arg(long, env = "WASM_EXEC_GUEST_MEMORY", value_name = "SIZE")]
    guest_memory: Option<Size>,
    /// Most fuel a call may ask for [default: 9007199254740991]
    #[arg(long, env = "WASM_EXEC_FUEL_MAXIMUM", value_name = "N")]
    fuel_maximum: Option<u64>,
    /// Output of a call that asks for no limit [default: 1MiB]
    #[arg(long, env = "WASM_EXEC_OUTPUT_DEFAULT", value_name = "SIZE")]
    output_default: Option<Size>,
    /// Most output a call may ask for [default: 16MiB]
    #[arg(long, env = "WASM_EXEC_OUTPUT_MAXIMUM", value_name = "SIZE")]
    output_maximum: Option<Size>,
    /// Table elements of a call [default: 100000]
    #[arg(long, env = "WASM_EXEC_TABLE_ELEMENTS", value_name = "N")]
    table_elements: Option<usize>,
    /// Stack of a call [default: 512KiB]
    #[arg(long, env = "WASM_EXEC_STACK_BYTES", value_name = "SIZE")]
    stack_bytes: Option<Size>,
}

/// What one call may use.
#[derive(Debug)]
pub(crate) struct CallSettings {
    /// Time, in milliseconds.
    pub(crate) timeout_ms: Setting,
    /// Memory, in bytes.
    pub(crate) memory_bytes: Setting,
    /// Memory of all calls together, in bytes; at least what one may ask for.
    pub(crate) guest_memory: usize,
    /// The most fuel that can be asked for.
    pub(crate) fuel_maximum: u64,
    /// Output, in bytes.
    pub(crate) output_bytes: Setting,
    /// Table elements.
    pub(crate) table_elements: usize,
    /// Stack, in bytes.
    pub(crate) stack_bytes: usize,
}

impl CallOptions {
    pub(super) fn resolve(self, sources: &mut Sources<'_>) -> Result<CallSettings, SettingsError> {
        let Self {
            timeout_default,
            timeout_maximum,
            memory_default,
            memory_maximum,
            guest_memory,
            fuel_maximum,
            output_default,
            output_maximum,
            table_elements,
            stack_bytes,
        } = self;
        let timeout = sources.pick_pair(
            ["timeout-default", "timeout-maximum"],
            [timeout_default, timeout_maximum],
            [Period::seconds(1), Period::seconds(60)],
        )?;
        let memory = sources.pick_pair(
            ["memory-default", "memory-maximum"],
            [memory_default, memory_maximum],
            [Size::mib(64), Size::mib(256)],
        )?;
        let [_, most] = memory;
        let guest_memory = sources.pick("guest-memory", guest_memory, Size::gib(4).max(most))?;
        sources.at_most(("memory-maximum", most), ("guest-memory", guest_memory))?;
        let fuel_maximum = sources.pick("fuel-maximum", fuel_maximum, MOST_FUEL)?;
        if !(1..=MOST_FUEL).contains(&fuel_maximum) {
            return Err(SettingsError::FuelMaximum(fuel_maximum));
        }
        let output = sources.pick_pair(
            ["output-default", "output-maximum"],
            [output_default, output_maximum],
            [Size::mib(1), Size::mib(16)],
        )?;
        let stack_bytes = sources.pick("stack-bytes", stack_bytes, Size::kib(512))?;
        if stack_bytes > MOST_STACK {
            return Err(SettingsError::StackBytes(stack_bytes));
        }
        Ok(CallSettings {
            timeout_ms: setting(timeout.map(Period::milliseconds)),
            memory_bytes: setting(memory.map(Size::bytes)),
            guest_memory: guest_memory.in_memory(),
            fuel_maximum,
            output_bytes: setting(output.map(Size::bytes)),
            table_elements: sources.pick("table-elements", table_elements, 100_000)?,
            stack_bytes: stack_bytes.in_memory(),
        })
    }
}

fn setting([default, maximum]: [u64; 2]) -> Setting {
    Setting { default, maximum }
}
