//! Bytes in JSON, as parameters and in memories: `{"utf8": TEXT}` or `{"base64": TEXT}`.

use std::borrow::Cow;
use std::fmt;

use base64::DecodeError;
use base64::Engine as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use wasm_exec_engine::{BytesParam, Value, ValueType, Values};

use super::{InvalidParams, Reason, decode};
use crate::source::BASE64;

/// Bytes in one of their notations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BytesText<'a> {
    /// The UTF-8 of a text.
    Utf8(Cow<'a, str>),
    /// Base64 with the standard alphabet, padded or not.
    Base64(Cow<'a, str>),
}

/// A text is not base64.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("base64: {reason}")]
pub struct NotBase64 {
    /// What is wrong.
    pub reason: String,
    /// Where, in bytes from the text's start, if it is in one place.
    pub position: Option<usize>,
}

/// A call's parameters of which some are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithBytes<'a, V = Values> {
    /// A value for each parameter of the function; where bytes are passed, those of the address and
    /// the length are zero.
    pub values: V,
    /// The bytes.
    pub bytes: Vec<PassedBytes<'a>>,
}

/// Bytes that are passed as two parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedBytes<'a> {
    /// Which element of the call's list of parameters they are.
    pub element: usize,
    /// Which parameter of the function is their address; the next is their length.
    pub param: usize,
    /// The bytes.
    pub text: BytesText<'a>,
}

impl BytesText<'_> {
    /// The bytes.
    ///
    /// # Errors
    ///
    /// When they are not base64, saying where.
    pub fn decode(self) -> Result<Vec<u8>, NotBase64> {
        match self {
            Self::Utf8(text) => Ok(text.into_owned().into_bytes()),
            Self::Base64(text) => BASE64.decode(text.as_bytes()).map_err(NotBase64::from),
        }
    }

    /// The length of the text, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Utf8(text) | Self::Base64(text) => text.len(),
        }
    }

    /// The same, independent of the request that it came with.
    pub(crate) fn into_owned(self) -> BytesText<'static> {
        match self {
            Self::Utf8(text) => BytesText::Utf8(text.into_owned().into()),
            Self::Base64(text) => BytesText::Base64(text.into_owned().into()),
        }
    }
}

impl From<DecodeError> for NotBase64 {
    fn from(error: DecodeError) -> Self {
        let position = match error {
            DecodeError::InvalidByte(position, _) | DecodeError::InvalidLastSymbol(position, _) => {
                Some(position)
            }
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => None,
        };
        let reason = error.to_string();
        Self { reason: reason.trim_end_matches('.').to_owned(), position }
    }
}

impl PassedBytes<'_> {
    /// What the engine passes.
    ///
    /// # Errors
    ///
    /// When they are not base64, saying which and where.
    pub(crate) fn decode(self) -> Result<BytesParam, InvalidParams> {
        let Self { element, param, text } = self;
        match text.decode() {
            Ok(bytes) => Ok(BytesParam { index: param, bytes }),
            Err(error) => Err(InvalidParams::Base64 { index: element, error }),
        }
    }

    pub(crate) fn into_owned(self) -> PassedBytes<'static> {
        let Self { element, param, text } = self;
        PassedBytes { element, param, text: text.into_owned() }
    }
}

/// The two notations, of which an object has exactly one.
#[derive(Deserialize)]
enum Notation<'a> {
    #[serde(rename = "utf8")]
    Utf8(#[serde(borrow)] Text<'a>),
    #[serde(rename = "base64")]
    Base64(#[serde(borrow)] Text<'a>),
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether an object has a member that only bytes have.
struct Meant(bool);

impl<'de> Deserialize<'de> for Meant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Meant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meant, A::Error> {
                let mut meant = false;
                while let Some((member, IgnoredAny)) = map.next_entry()? {
                    meant |= matches!(member, Member::Utf8 | Member::Base64);
                }
                Ok(Meant(meant))
            }
        }

        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "lowercase")]
        enum Member {
            Utf8,
            Base64,
            #[serde(other)]
            Other,
        }

        deserializer.deserialize_map(Members)
    }
}

/// The bytes that an element of a list of parameters is; `None` if it is something else.
fn parse(json: &str) -> Option<Result<BytesText<'_>, Reason>> {
    if !json.starts_with('{') {
        return None;
    }
    match serde_json::from_str(json) {
        Ok(Notation::Utf8(text)) => Some(Ok(BytesText::Utf8(text.0))),
        Ok(Notation::Base64(text)) => Some(Ok(BytesText::Base64(text.0))),
        Err(_) => {
            let Meant(meant) = serde_json::from_str(json).ok()?;
            meant.then_some(Err(Reason::Bytes))
        }
    }
}

/// Decodes a call's parameters, those that are not bytes by `decode_one`; `None` if none is bytes.
/// `plain` makes of the zeros in their place what the others are.
pub(super) fn decode_with<'a, T, V: Default + Extend<T>>(
    params: &[&'a RawValue],
    types: &[ValueType],
    decode_one: impl Fn(usize, &RawValue, ValueType) -> Result<T, InvalidParams>,
    plain: impl Fn(Value) -> T,
) -> Result<Option<WithBytes<'a, V>>, InvalidParams> {
    let parsed: Vec<_> = params.iter().map(|param| parse(param.get())).collect();
    let bytes = parsed.iter().flatten().count();
    if bytes == 0 {
        return Ok(None);
    }
    let (expected, found) = (types.len(), params.len() + bytes);
    if found != expected {
        return Err(InvalidParams::Count { expected, found, bytes });
    }
    let mut decoded = WithBytes { values: V::default(), bytes: Vec::with_capacity(bytes) };
    let mut param = 0;
    for (element, (json, parsed)) in params.iter().zip(parsed).enumerate() {
        let Some(text) = parsed else {
            decoded.values.extend([decode_one(element, json, types[param])?]);
            param += 1;
            continue;
        };
        // There are as many types as were counted.
        let pair = [types[param], types[param + 1]];
        let wrong = |reason| InvalidParams::Value {
            index: element,
            expected: pair.map(|ty| ty.to_string()).join(" "),
            found: decode::quote(json.get()),
            reason,
        };
        let zero = match pair {
            [ValueType::I32, ValueType::I32] => Value::I32(0),
            [ValueType::I64, ValueType::I64] => Value::I64(0),
            _ => return Err(wrong(Reason::NoPair)),
        };
        decoded.bytes.push(PassedBytes { element, param, text: text.map_err(wrong)? });
        decoded.values.extend([plain(zero), plain(zero)]);
        param += 2;
    }
    Ok(Some(decoded))
}
