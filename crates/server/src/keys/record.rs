//! The record of a key: what the file of keys says of it, and never the key itself.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasm_exec::{Digest, Name, RequestedLimits};

use super::scope::Scope;
use super::token::KeyId;

/// The most characters of a key's name.
const MAX_NAME: usize = 64;

/// What the file of keys says of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct KeyRecord {
    /// What people call it; also in the log.
    pub name: KeyName,
    /// The part of the key that is not secret.
    pub id: KeyId,
    /// The SHA-256 of the key.
    pub hash: Digest,
    /// What it lets its holder do; at least one.
    pub scopes: Vec<Scope>,
    /// The only namespaces it can write to; `None` is all that are not private.
    pub namespaces: Option<BTreeSet<Namespace>>,
    /// How many requests it can make; `None` is any number.
    pub rate: Option<RequestRate>,
    /// How much it can call; `None` is any amount.
    pub quota: Option<CallQuota>,
    /// How many bytes its registrations may hold, as [`Account`](wasm_exec::Account) counts them;
    /// `None` is any number.
    pub stored_bytes: Option<NonZeroU64>,
    /// The most that one of its calls can ask for, where that is less than the operator's maximum.
    pub maxima: RequestedLimits,
}

/// A member of a record that is no good, or that lacks another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRecord(&'static str);

/// What people call a key: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

/// The namespace of names: `acme` of `acme:utils`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

/// Requests per second, and how many more at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestRate {
    pub(super) per_second: f64,
    pub(super) burst: u32,
}

/// What a key can call in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallQuota {
    pub(super) per: Per,
    pub(super) calls: Option<NonZeroU64>,
    pub(super) call_seconds: Option<NonZeroU64>,
}

/// The period of a quota. It begins with the first call after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
}

impl RequestRate {
    /// One request in a thousand seconds.
    pub(super) const SLOWEST: f64 = 0.001;
    pub(super) const FASTEST: f64 = 1_000_000.0;
    pub(super) const LARGEST_BURST: u32 = 1_000_000;

    /// So many requests per second (0.001 to 1,000,000) and at most `burst` (1 to 1,000,000) at once;
    /// `None` is as many as in a second.
    ///
    /// # Errors
    ///
    /// When one of them is out of range.
    pub fn new(per_second: f64, burst: Option<u32>) -> Result<Self, InvalidRecord> {
        if !(Self::SLOWEST..=Self::FASTEST).contains(&per_second) {
            return Err(InvalidRecord("requests-per-second can be 0.001 to 1000000"));
        }
        // In range, so nothing is cut off.
        let burst = burst.unwrap_or(per_second.ceil() as u32);
        if !(1..=Self::LARGEST_BURST).contains(&burst) {
            return Err(InvalidRecord("burst can be 1 to 1000000"));
        }
        Ok(Self { per_second, burst })
    }
}

impl CallQuota {
    /// So many calls, and so many seconds of them, in each period; `None` is any number.
    ///
    /// # Errors
    ///
    /// When both are `None`.
    pub fn new(
        per: Per,
        calls: Option<NonZeroU64>,
        call_seconds: Option<NonZeroU64>,
    ) -> Result<Self, InvalidRecord> {
        match (calls, call_seconds) {
            (None, None) => Err(InvalidRecord("per needs calls or call-seconds")),
            _ => Ok(Self { per, calls, call_seconds }),
        }
    }
}

impl Per {
    pub(super) fn duration(self) -> Duration {
        const HOUR: u64 = 60 * 60;
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Week => 7 * 24 * HOUR,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

impl FromStr for Per {
    type Err = InvalidRecord;

    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        let known = [Self::Minute, Self::Hour, Self::Day, Self::Week];
        known
            .into_iter()
            .find(|per| per.as_str() == text)
            .ok_or(InvalidRecord("expected minute, hour, day or week"))
    }
}

impl FromStr for KeyName {
    type Err = InvalidRecord;

    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidRecord(
                "the name of a key is 1 to 64 letters, digits, dots, underscores and hyphens",
            )),
        }
    }
}

impl FromStr for Namespace {
    type Err = InvalidRecord;

    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        // What a name says of its namespace is what a namespace is.
        match format!("{text}:label").parse::<Name>() {
            Ok(name) if name.namespace() == Some(text) => Ok(Self(text.to_owned())),
            _ => Err(InvalidRecord("not a namespace that names can have")),
        }
    }
}

macro_rules! is_text {
    ($($type:ty),+) => {$(
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidRecord;

            fn try_from(text: String) -> Result<Self, InvalidRecord> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(text: $type) -> Self {
                text.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

is_text!(KeyName, Namespace);

/// A record as TOML has it: flat, so that each is one table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    name: KeyName,
    id: KeyId,
    hash: Digest,
    scopes: Vec<Scope>,
    namespaces: Option<BTreeSet<Namespace>>,
    requests_per_second: Option<f64>,
    burst: Option<u32>,
    calls: Option<NonZeroU64>,
    call_seconds: Option<NonZeroU64>,
    per: Option<Per>,
    stored_bytes: Option<NonZeroU64>,
    timeout_ms: Option<NonZeroU64>,
    memory_bytes: Option<NonZeroU64>,
    fuel: Option<NonZeroU64>,
    output_bytes: Option<NonZeroU64>,
}

impl TryFrom<Raw> for KeyRecord {
    type Error = InvalidRecord;

    fn try_from(raw: Raw) -> Result<Self, InvalidRecord> {
        if raw.scopes.is_empty() {
            return Err(InvalidRecord("scopes is empty: a key without scopes can do nothing"));
        }
        let rate = match (raw.requests_per_second, raw.burst) {
            (Some(per_second), burst) => Some(RequestRate::new(per_second, burst)?),
            (None, Some(_)) => return Err(InvalidRecord("burst needs requests-per-second")),
            (None, None) => None,
        };
        let quota = match (raw.per, raw.calls, raw.call_seconds) {
            (Some(per), calls, seconds) => Some(CallQuota::new(per, calls, seconds)?),
            (None, None, None) => None,
            (None, _, _) => return Err(InvalidRecord("calls and call-seconds need per")),
        };
        let limit = |limit: Option<NonZeroU64>| limit.map(NonZeroU64::get);
        Ok(Self {
            name: raw.name,
            id: raw.id,
            hash: raw.hash,
            scopes: raw.scopes,
            namespaces: raw.namespaces,
            rate,
            quota,
            stored_bytes: raw.stored_bytes,
            maxima: RequestedLimits {
                timeout_ms: limit(raw.timeout_ms),
                memory_bytes: limit(raw.memory_bytes),
                fuel: limit(raw.fuel),
                output_bytes: limit(raw.output_bytes),
            },
        })
    }
}

impl From<KeyRecord> for Raw {
    fn from(record: KeyRecord) -> Self {
        let KeyRecord { name, id, hash, scopes, namespaces, rate, quota, stored_bytes, maxima } =
            record;
        let RequestedLimits { timeout_ms, memory_bytes, fuel, output_bytes } = maxima;
        let limit = |limit: Option<u64>| limit.and_then(NonZeroU64::new);
        Self {
            name,
            id,
            hash,
            scopes,
            namespaces,
            requests_per_second: rate.map(|rate| rate.per_second),
            burst: rate.map(|rate| rate.burst),
            calls: quota.and_then(|quota| quota.calls),
            call_seconds: quota.and_then(|quota| quota.call_seconds),
            per: quota.map(|quota| quota.per),
            stored_bytes,
            timeout_ms: limit(timeout_ms),
            memory_bytes: limit(memory_bytes),
            fuel: limit(fuel),
            output_bytes: limit(output_bytes),
        }
    }
}
