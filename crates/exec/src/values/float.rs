//! Floats in JSON: numbers where JSON has them, strings for infinities and NaNs.

use std::fmt::Display;
use std::num::ParseFloatError;
use std::str::FromStr;

use super::Reason;
use super::decode::string;

/// A float format: `f32` or `f64`.
pub(super) trait Float: FromStr<Err = ParseFloatError> + Copy {
    /// The bits of one value.
    type Bits: Copy + Display;
    /// Bits of the significand that are stored.
    const SIGNIFICAND: u32;

    fn is_infinite(self) -> bool;
    fn to_bits(self) -> Self::Bits;
    /// Builds a value from its sign, with all exponent bits set, and a payload: 0 is infinity.
    fn special(negative: bool, payload: u64) -> Self::Bits;
    fn zero(negative: bool) -> Self::Bits;
}

impl Float for f32 {
    type Bits = u32;
    const SIGNIFICAND: u32 = 23;

    fn is_infinite(self) -> bool {
        self.is_infinite()
    }

    fn to_bits(self) -> u32 {
        self.to_bits()
    }

    fn special(negative: bool, payload: u64) -> u32 {
        Self::zero(negative) | (0xff << Self::SIGNIFICAND) | payload as u32
    }

    fn zero(negative: bool) -> u32 {
        u32::from(negative) << 31
    }
}

impl Float for f64 {
    type Bits = u64;
    const SIGNIFICAND: u32 = 52;

    fn is_infinite(self) -> bool {
        self.is_infinite()
    }

    fn to_bits(self) -> u64 {
        self.to_bits()
    }

    fn special(negative: bool, payload: u64) -> u64 {
        Self::zero(negative) | (0x7ff << Self::SIGNIFICAND) | payload
    }

    fn zero(negative: bool) -> u64 {
        u64::from(negative) << 63
    }
}

/// The payload of the canonical NaN: the significand's highest bit.
fn canonical<F: Float>() -> u64 {
    1 << (F::SIGNIFICAND - 1)
}

/// Decodes a JSON number or one of the strings `inf`, `nan`, `nan:0x…`, `0`, each also with `-`
/// (a positive zero only as a number).
pub(super) fn decode<F: Float>(json: &str) -> Result<F::Bits, Reason> {
    if json.starts_with('"') {
        let text = string(json).ok_or(Reason::Type)?;
        return special::<F>(&text);
    }
    if !json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(Reason::Type);
    }
    // Straight to the format, so that an `f32` is rounded once.
    let value: F = json.parse().map_err(|_| Reason::Type)?;
    if value.is_infinite() { Err(Reason::Range) } else { Ok(value.to_bits()) }
}

fn special<F: Float>(text: &str) -> Result<F::Bits, Reason> {
    let negative = text.starts_with('-');
    match text.strip_prefix('-').unwrap_or(text) {
        "inf" => Ok(F::special(negative, 0)),
        "nan" => Ok(F::special(negative, canonical::<F>())),
        "0" if negative => Ok(F::zero(true)),
        text => {
            let digits = text.strip_prefix("nan:0x").ok_or(Reason::Notation)?;
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Reason::Notation);
            }
            let payload = u64::from_str_radix(digits, 16).map_err(|_| Reason::Range)?;
            // A payload of zero would be infinity.
            if payload == 0 || payload >> F::SIGNIFICAND != 0 {
                return Err(Reason::Range);
            }
            Ok(F::special(negative, payload))
        }
    }
}

/// The notation of a value that JSON has no number for, or `None` for one that it has.
pub(super) fn special_notation<F: Float>(bits: u64, width: u32) -> Option<String> {
    let significand = (1 << F::SIGNIFICAND) - 1;
    let sign = if bits >> (width - 1) == 1 { "-" } else { "" };
    let exponent_ones = (1u64 << (width - 1 - F::SIGNIFICAND)) - 1;
    if (bits >> F::SIGNIFICAND) & exponent_ones != exponent_ones {
        return None;
    }
    Some(match bits & significand {
        0 => format!("{sign}inf"),
        payload => format!("{sign}nan:0x{payload:x}"),
    })
}
