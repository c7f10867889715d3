//! The kinds of values that settings have, each written the same in a flag, a variable and a file.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A count that is known to be above zero.
pub(crate) const fn count(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(count) => count,
        None => panic!("this is for constants above zero only"),
    }
}

/// A text that is not the value it should be. The message says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidValue(&'static str);

/// A number of bytes, not zero: `4096`, `512KiB`, `64MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(u64);

/// A duration in whole milliseconds, not zero: `500ms`, `1s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Period(Duration);

/// Where to listen: an IP address, which takes the port of the settings, or one with its own port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// `127.0.0.1`, `::1` or `[::1]`.
    Ip(IpAddr),
    /// `127.0.0.1:4000` or `[::1]:4000`.
    Socket(SocketAddr),
}

/// A host as requests name it in `Host`, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostName(String);

/// A web origin as requests name it in `Origin`: `https://example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebOrigin(String);

/// The units of sizes, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Size {
    const SYNTAX: InvalidValue =
        InvalidValue("expected a number of bytes above 0, such as 65536, 64KiB, 64MiB or 1GiB");

    pub(crate) const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    pub(crate) const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub(crate) const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// Three times the size and one mebibyte: what holds a module in any notation of a request.
    pub(crate) const fn of_request(self) -> Self {
        Self(self.0.saturating_mul(3).saturating_add(1 << 20))
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }

    /// The size as the machine counts memory: more than it can have becomes the most.
    pub(crate) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let unit = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
        let (count, unit) = unit.unwrap_or((text, 1));
        let count: u64 = count.parse().map_err(|_| Self::SYNTAX)?;
        match count.checked_mul(unit) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err(Self::SYNTAX),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes above 0, or text such as \"64MiB\"")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let size = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
                size.map(Size).ok_or_else(|| E::custom(Size::SYNTAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

impl Period {
    pub(crate) const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    pub(crate) const fn duration(self) -> Duration {
        self.0
    }

    pub(crate) fn milliseconds(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Period {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let whole = |period: &Duration| {
            *period > Duration::ZERO && period.subsec_nanos().is_multiple_of(1_000_000)
        };
        let period = humantime::parse_duration(text).ok().filter(whole);
        period.map(Self).ok_or(InvalidValue(
            "expected whole milliseconds above 0 with a unit, such as 500ms, 1s or 2m",
        ))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl ListenAddress {
    /// The address to bind, with `port` if it has none.
    pub(crate) fn with_port(self, port: u16) -> SocketAddr {
        match self {
            Self::Ip(ip) => SocketAddr::new(ip, port),
            Self::Socket(address) => address,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let ip = match bracketed {
            Some(ip) => ip.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => text.parse(),
        };
        ip.map(Self::Ip).map_err(|_| {
            InvalidValue("expected an IP address, or one with a port: 127.0.0.1:4000, [::1]:4000")
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Socket(address) => address.fmt(f),
        }
    }
}

impl FromStr for HostName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        match !text.is_empty() && text.bytes().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidValue("expected a host name without a port: wasm.example.org")),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WebOrigin {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let authority = |byte: u8| byte.is_ascii_graphic() && !b"/?#@".contains(&byte);
        match text.split_once("://") {
            Some((scheme, host))
                if !host.is_empty()
                    && host.bytes().all(authority)
                    && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                    && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidValue("expected an origin without a path: https://example.org")),
        }
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In a file, these values are the text that `FromStr` reads and `Display` writes.
macro_rules! write_as_text {
    ($($value:ty),+) => {$(
        impl Serialize for $value {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

macro_rules! read_from_text {
    ($($value:ty),+) => {$(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

write_as_text!(Size, Period, ListenAddress, HostName, WebOrigin);
read_from_text!(Period, ListenAddress, HostName, WebOrigin);

#[cfg(test)]
mod tests;
