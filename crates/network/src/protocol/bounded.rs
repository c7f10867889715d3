//! Reads lists up to a longest length, so that a few bytes cannot become many: an empty list in a
//! list is one byte in CBOR, and twenty-four in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a list of at most `MAX` items.
pub(super) fn at_most<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(AtMost::<MAX, T>(PhantomData))
}

/// Reads a list of at most `OUTER` lists of at most `INNER` items each.
pub(super) fn lists_at_most<'de, const OUTER: usize, const INNER: usize, T, D>(
    deserializer: D,
) -> Result<Vec<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let lists: Vec<Bounded<INNER, T>> = at_most::<OUTER, _, _>(deserializer)?;
    Ok(lists.into_iter().map(|list| list.0).collect())
}

struct Bounded<const MAX: usize, T>(Vec<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Deserialize<'de> for Bounded<MAX, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        at_most::<MAX, _, _>(deserializer).map(Self)
    }
}

struct AtMost<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for AtMost<MAX, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MAX {
                return Err(Error::invalid_length(MAX + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_up_to_its_longest_length() {
        let read = |json: &str| {
            at_most::<2, u8, _>(&mut serde_json::Deserializer::from_str(json)).map_err(drop)
        };
        assert_eq!(read("[]"), Ok(vec![]));
        assert_eq!(read("[1,2]"), Ok(vec![1, 2]));
        assert_eq!(read("[1,2,3]"), Err(()));
    }

    #[test]
    fn so_are_lists_of_lists() {
        let read = |json: &str| {
            let mut json = serde_json::Deserializer::from_str(json);
            lists_at_most::<2, 1, u8, _>(&mut json).map_err(drop)
        };
        assert_eq!(read("[[1],[]]"), Ok(vec![vec![1], vec![]]));
        assert_eq!(read("[[1,2]]"), Err(()));
        assert_eq!(read("[[],[],[]]"), Err(()));
    }
}
