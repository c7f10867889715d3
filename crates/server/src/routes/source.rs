//! Wasm inside JSON: exactly one of `wasm_hex`, `wasm_base64` and `wat`; and maps of links.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wasm_exec::Source;

use crate::problem::Problem;

/// A JSON string, borrowed from the request where it has no escapes.
#[derive(Debug, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The one source that is given, if any.
///
/// # Errors
///
/// When there are several.
pub(crate) fn at_most_one<'a>(
    hex: &'a Option<Text<'_>>,
    base64: &'a Option<Text<'_>>,
    wat: &'a Option<Text<'_>>,
) -> Result<Option<Source<'a>>, Problem> {
    let given = [
        hex.as_ref().map(|text| Source::Hex(&text.0)),
        base64.as_ref().map(|text| Source::Base64(&text.0)),
        wat.as_ref().map(|text| Source::Wat(&text.0)),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (source, None) => Ok(source),
        (_, Some(_)) => Err(Problem::invalid_request(
            "more than one of `wasm_hex`, `wasm_base64` and `wat` is given",
        )),
    }
}

/// The one source that has to be given.
///
/// # Errors
///
/// When there are several or none.
pub(crate) fn exactly_one<'a>(
    hex: &'a Option<Text<'_>>,
    base64: &'a Option<Text<'_>>,
    wat: &'a Option<Text<'_>>,
) -> Result<Source<'a>, Problem> {
    at_most_one(hex, base64, wat)?.ok_or_else(|| {
        Problem::invalid_request("one of `wasm_hex`, `wasm_base64` and `wat` has to be given")
    })
}

/// How many elements a list in a request may have. WebAssembly functions have at most 1,000
/// parameters.
pub(crate) const MAXIMUM_ELEMENTS: usize = 1000;

/// Reads a list, and refuses it once it is too long instead of collecting millions of elements.
pub(crate) fn short_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                if list.len() == MAXIMUM_ELEMENTS {
                    let message = format!("an array of more than {MAXIMUM_ELEMENTS} elements");
                    return Err(serde::de::Error::custom(message));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(List(PhantomData))
}

/// Import module → what satisfies it, mostly a name or a digest. A key that comes twice is refused:
/// one of the two would be ignored silently.
#[derive(Debug)]
pub(crate) struct LinkMap<T = String>(pub(crate) Vec<(String, T)>);

impl<T> Default for LinkMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// How many links a request may have.
pub(crate) const MAXIMUM_LINKS: usize = 1024;

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LinkMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LinkVisitor(PhantomData))
    }
}

struct LinkVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LinkVisitor<T> {
    type Value = LinkMap<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of import modules and the modules that satisfy them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LinkMap<T>, A::Error> {
        let mut links: Vec<(String, T)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((import, module)) = map.next_entry::<String, T>()? {
            if !seen.insert(import.clone()) {
                return Err(serde::de::Error::custom(format!("duplicate link {import:?}")));
            }
            if links.len() == MAXIMUM_LINKS {
                let message = format!("more than {MAXIMUM_LINKS} links");
                return Err(serde::de::Error::custom(message));
            }
            links.push((import, module));
        }
        Ok(LinkMap(links))
    }
}
