//! What scripts call traps, and what the API calls them.

/// The reference interpreter's texts, which scripts abbreviate and add to, and the kinds of traps.
const KINDS: [(&str, &str); 19] = [
    ("unreachable", "unreachable"),
    ("integer divide by zero", "integer-divide-by-zero"),
    ("integer overflow", "integer-overflow"),
    ("invalid conversion to integer", "bad-conversion-to-integer"),
    ("out of bounds memory access", "memory-out-of-bounds"),
    ("data segment does not fit", "memory-out-of-bounds"),
    ("out of bounds table access", "table-out-of-bounds"),
    ("elements segment does not fit", "table-out-of-bounds"),
    ("undefined element", "table-out-of-bounds"),
    ("uninitialized element", "indirect-call-to-null"),
    ("indirect call type mismatch", "bad-signature"),
    ("out of bounds array access", "array-out-of-bounds"),
    ("cast failure", "cast-failure"),
    ("null reference", "null-reference"),
    ("null function reference", "null-reference"),
    ("null structure reference", "null-reference"),
    ("null array reference", "null-reference"),
    ("null i31 reference", "null-reference"),
    ("null exception reference", "null-reference"),
];

/// The kinds of traps that a script's text may mean.
pub(crate) fn kinds(message: &str) -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .filter(move |(text, _)| text.starts_with(message) || message.starts_with(text))
        .map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_can_be_shorter_or_longer() {
        let kinds = |message| kinds(message).collect::<Vec<_>>();
        assert_eq!(kinds("undefined"), ["table-out-of-bounds"]);
        assert_eq!(kinds("uninitialized element 2"), ["indirect-call-to-null"]);
        assert_eq!(kinds("no such text"), [""; 0]);
    }
}
