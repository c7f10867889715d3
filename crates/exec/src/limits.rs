//! What one request may use: the operator's defaults and maxima, and what a request asks for.

use std::time::Duration;

use wasm_exec_engine::CallLimits;
use wasm_exec_registry::GraphLimits;

use crate::exec::{LOADS, NOTATIONS, READS, TEXTS};
use crate::source::{MAXIMUM_TEXT, TEXT_TIMES};

/// What a request gets if it asks for nothing, and the most it can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What a request gets that asks for nothing.
    pub default: u64,
    /// The most a request can ask for.
    pub maximum: u64,
}

/// The operator's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a call, in milliseconds, waiting and compiling not included.
    pub timeout_ms: Setting,
    /// Memory of a call, in bytes, summed over its graph.
    pub memory_bytes: Setting,
    /// The most fuel a call can ask for; without asking, it is not metered.
    pub fuel_maximum: u64,
    /// Output of a call, in bytes: the JSON text of its results.
    pub output_bytes: Setting,
    /// The most bytes a Wasm binary may have, and as many its text.
    pub wasm_bytes: u64,
    /// How large a linked graph may be.
    pub graph: GraphLimits,
    /// How many programs are kept ready.
    pub ready_programs: u64,
    /// How much memory and mapped file ready programs may take, in bytes.
    pub ready_bytes: u64,
    /// How many memory mappings ready programs may take.
    pub ready_mappings: u64,
    /// What sessions may be.
    pub sessions: SessionSettings,
}

/// The operator's settings of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// How many there may be.
    pub sessions: usize,
    /// How many of them one key may have, or one client where there are no keys.
    pub per_client: usize,
    /// For how long one may be idle, in milliseconds.
    pub idle_timeout_ms: Setting,
    /// How many instances one may have, those of linked modules included, and as many memories.
    pub instances: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            sessions: 1_000,
            per_client: 500,
            idle_timeout_ms: Setting { default: 300_000, maximum: 3_600_000 },
            instances: 1_024,
        }
    }
}

impl Setting {
    fn capped(self, maximum: Option<u64>) -> Self {
        let maximum = maximum.unwrap_or(u64::MAX);
        Self { default: self.default.min(maximum), maximum: self.maximum.min(maximum) }
    }

    /// What a request asks for, or the default.
    ///
    /// # Errors
    ///
    /// When it asks for more than the maximum.
    pub(crate) fn pick(self, limit: &'static str, asked: Option<u64>) -> Result<u64, LimitTooHigh> {
        match asked {
            Some(asked) if asked > self.maximum => {
                Err(LimitTooHigh { limit, asked, maximum: self.maximum })
            }
            Some(asked) => Ok(asked),
            None => Ok(self.default),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: Setting { default: 1_000, maximum: 60_000 },
            memory_bytes: Setting { default: 64 << 20, maximum: 256 << 20 },
            fuel_maximum: (1 << 53) - 1,
            output_bytes: Setting { default: 1 << 20, maximum: 16 << 20 },
            wasm_bytes: 32 << 20,
            graph: GraphLimits::default(),
            ready_programs: 10_000,
            ready_bytes: 1 << 30,
            // Of 65,530 that Linux gives a process; the pool of instances needs the others.
            ready_mappings: 32_768,
            sessions: SessionSettings::default(),
        }
    }
}

/// What a request asks for; `None` is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestedLimits {
    /// Milliseconds.
    pub timeout_ms: Option<u64>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Fuel; a call that asks for some is metered.
    pub fuel: Option<u64>,
    /// Bytes.
    pub output_bytes: Option<u64>,
}

/// A request asks for more than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{limit}: {asked} is more than the maximum of {maximum}")]
pub struct LimitTooHigh {
    /// The limit's name in requests.
    pub limit: &'static str,
    /// What was asked for.
    pub asked: u64,
    /// The most it may be.
    pub maximum: u64,
}

impl Limits {
    /// What may be in memory at most besides guests, in bytes, by what it is for; `request_bytes` is the
    /// most that a request may have.
    pub fn memory(&self, request_bytes: u64) -> [(&'static str, u64); 4] {
        let times = |count: u32, bytes: u64| u64::from(count).saturating_mul(bytes);
        let text = MAXIMUM_TEXT.min(self.wasm_bytes).saturating_mul(TEXT_TIMES);
        [
            ("ready programs", self.ready_bytes),
            ("modules that are loaded or given out", times(LOADS + READS, self.wasm_bytes)),
            ("hex and base64", times(NOTATIONS, request_bytes.saturating_add(self.wasm_bytes))),
            ("texts", times(TEXTS, text)),
        ]
    }

    /// These limits with maxima, and defaults, of at most so much; `None` leaves one as it is.
    pub(crate) fn capped(mut self, maxima: &RequestedLimits) -> Self {
        let RequestedLimits { timeout_ms, memory_bytes, fuel, output_bytes } = *maxima;
        self.timeout_ms = self.timeout_ms.capped(timeout_ms);
        self.memory_bytes = self.memory_bytes.capped(memory_bytes);
        self.fuel_maximum = self.fuel_maximum.min(fuel.unwrap_or(u64::MAX));
        self.output_bytes = self.output_bytes.capped(output_bytes);
        self
    }

    /// A request's limits: what it asks for where it does, the defaults elsewhere.
    ///
    /// # Errors
    ///
    /// When it asks for more than the maximum.
    pub(crate) fn grant(&self, asked: &RequestedLimits) -> Result<Granted, LimitTooHigh> {
        let timeout = self.timeout_ms.pick("timeout_ms", asked.timeout_ms)?;
        let memory = self.memory_bytes.pick("memory_bytes", asked.memory_bytes)?;
        let output = self.output_bytes.pick("output_bytes", asked.output_bytes)?;
        let fuel = match asked.fuel {
            Some(asked) if asked > self.fuel_maximum => {
                return Err(LimitTooHigh { limit: "fuel", asked, maximum: self.fuel_maximum });
            }
            fuel => fuel,
        };
        Ok(Granted {
            call: CallLimits {
                timeout: Duration::from_millis(timeout),
                memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
                fuel,
            },
            output_bytes: usize::try_from(output).unwrap_or(usize::MAX),
        })
    }
}

/// The limits that a call runs with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    pub(crate) call: CallLimits,
    pub(crate) output_bytes: usize,
}
