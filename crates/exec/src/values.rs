//! Between a guest's values and JSON.
//!
//! Each parameter is decoded straight from its JSON text by the type the function wants, so no digit
//! is lost on the way through a number type of the JSON library. What comes out can be put in again:
//! Wasm → JSON → Wasm is the identity on bits, NaN payloads and the sign of zero included.
//!
//! Two styles: *plain* (`4`, `"-7"`, `"nan:0x200000"`), and *tagged*, the original's (`{"I32":4}`).

mod bytes;
mod decode;
mod encode;
mod float;
mod schema;

use std::fmt;

pub use bytes::{BytesText, NotBase64, PassedBytes, WithBytes};
pub use decode::{Params, decode, decode_session};
pub use encode::{encode, encode_session, encode_session_value, encode_value};
pub use schema::{Direction, schema};

/// How values are written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The value alone; 64-bit integers are decimal strings in answers.
    Plain,
    /// Answers name the type: `{"I32":4}`. Parameters may.
    Tagged,
}

/// Parameters that are not what a function takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidParams {
    /// Too many or too few.
    Count {
        /// How many the function takes.
        expected: usize,
        /// How many were given, bytes counting as two.
        found: usize,
        /// How many of them are bytes.
        bytes: usize,
    },
    /// One does not fit its type.
    Value {
        /// Which parameter, from 0.
        index: usize,
        /// Its type, in the syntax of the text format.
        expected: String,
        /// What was given, shortened if it is long.
        found: String,
        /// What is wrong with it.
        reason: Reason,
    },
    /// The base64 of one is broken.
    Base64 {
        /// Which parameter, from 0.
        index: usize,
        /// What is wrong.
        error: NotBase64,
    },
}

/// What is wrong with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is another kind of JSON value.
    Type,
    /// It is a number the type cannot hold.
    Range,
    /// An integer has to be written with digits only.
    NotAnInteger,
    /// A string that is none of the type's notations.
    Notation,
    /// The type has no value that can be passed.
    NoValue,
    /// The tag names another type.
    Tag,
    /// In a session, null or a host value can be passed.
    NoHostValue,
    /// Bytes are given where there are no two parameters of one integer type.
    NoPair,
    /// Bytes are not given in one of the two ways.
    Bytes,
}

impl Reason {
    fn hint(self) -> &'static str {
        match self {
            Self::Type => "",
            Self::Range => " (out of range)",
            Self::NotAnInteger => " (an integer is written with digits only)",
            Self::Notation => " (not a notation of this type)",
            Self::NoValue => " (no reference but null can be passed)",
            Self::Tag => " (the tag names another type)",
            Self::NoHostValue => " (null, or a host value: {\"extern\": any JSON})",
            Self::NoPair => {
                " (bytes stand for two parameters, an address and a length, both i32 or both i64)"
            }
            Self::Bytes => " (bytes are {\"utf8\": TEXT} or {\"base64\": TEXT} and nothing else)",
        }
    }
}

impl fmt::Display for InvalidParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { expected, found, bytes } => {
                let s = if *expected == 1 { "" } else { "s" };
                let hint = if *bytes > 0 { " (bytes count as two)" } else { "" };
                write!(f, "params: the function takes {expected} parameter{s}, got {found}{hint}")
            }
            Self::Value { index, expected, found, reason } => {
                write!(f, "params[{index}]: expected {expected}, got {found}{}", reason.hint())
            }
            Self::Base64 { index, error } => write!(f, "params[{index}]: {error}"),
        }
    }
}

impl std::error::Error for InvalidParams {}

#[cfg(test)]
mod tests;
