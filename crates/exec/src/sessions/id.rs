//! Ids of sessions: whoever knows one can use the session, where no keys are asked for.

/// How many random bytes an id has.
const BYTES: usize = 16;

/// A new id: 128 random bits as lower-case hex digits.
///
/// # Errors
///
/// When the system gives no random bytes.
pub(super) fn generate() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(const_hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }
}
