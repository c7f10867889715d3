//! References: how a module is asked for, by name or by digest.

use std::fmt;
use std::str::FromStr;

use crate::syntax::SyntaxError;
use crate::{Digest, InvalidName, Name};

/// A name, or the digest of a manifest. What starts with `sha256:` is a digest; no name does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// Resolved through the names: a bare label that is versioned means its highest release.
    Name(Name),
    /// The module digest itself.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(Digest::PREFIX) {
            let digest = text.parse::<Digest>();
            return digest
                .map(Self::Digest)
                .map_err(|error| InvalidName::new(SyntaxError::from(error)));
        }
        text.parse().map(Self::Name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl From<Name> for Reference {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_tells_digests_from_names() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
        for text in ["utils", "acme:utils@1.2.0", "sha256"] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference, Reference::Name(text.parse().unwrap()));
            assert_eq!(reference.to_string(), text);
        }
        assert_eq!(Reference::from(digest).to_string(), digest.to_string());
    }

    #[test]
    fn a_bad_digest_is_not_a_name() {
        let error = "sha256:abc".parse::<Reference>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid digest \"sha256:abc\" at byte 10: expected a lower-case hex digit, found the \
             end"
        );
    }
}
