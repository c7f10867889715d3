//! The file of keys: TOML with a `[[key]]` for each key, and a `[[namespace]]` for each namespace of
//! which something is to be said.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{KeyRecord, Namespace};
use crate::reload::Stamp;

/// The most keys, and the most namespaces, of one file.
const MAX_KEYS: usize = 10_000;
const MAX_NAMESPACES: usize = 1_000;

/// The most bytes of a file: ten thousand keys with all their members take less.
const MAX_BYTES: u64 = 16 << 20;

/// What a file of keys says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keys; no two of the same name or id.
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyRecord>,
    /// The namespaces of which something is said; none twice.
    #[serde(default, rename = "namespace", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceRecord>,
}

/// What the file says of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRecord {
    /// The namespace.
    pub name: Namespace,
    /// Whether its modules exist only for keys that are bound to it, and for administrators.
    pub private: bool,
}

/// A text that is no file of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct InvalidKeyFile {
    /// The line at which that was found, from 1, if it was at one.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// A file of keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the file of keys {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no file of keys.
    #[error("{}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidKeyFile,
    },
}

impl KeyFile {
    /// Reads a file of keys.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        Ok(Self::read_stamped(path)?.0)
    }

    /// Reads a file of keys, and says by what a change of it will be known.
    pub(super) fn read_stamped(path: &Path) -> Result<(Self, Stamp), KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        // Before it is read, so that what is written while it is being read is seen as a change.
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        let file = Self::parse(&text)
            .map_err(|source| KeyFileError::Invalid { path: path.to_owned(), source })?;
        Ok((file, stamp))
    }

    /// Reads the text of a file of keys.
    ///
    /// # Errors
    ///
    /// When it is not TOML of the right shape, has something twice, or is too large.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyFile> {
        if text.len() as u64 > MAX_BYTES {
            return Err(InvalidKeyFile::new(format!("it has more than {MAX_BYTES} bytes")));
        }
        let file: Self = toml::from_str(text).map_err(|error| InvalidKeyFile {
            line: error.span().map(|span| line(text, span.start)),
            reason: error.message().trim().to_owned(),
        })?;
        file.check()?;
        Ok(file)
    }

    /// The namespaces that are private.
    pub(super) fn private(&self) -> BTreeSet<String> {
        let private = self.namespaces.iter().filter(|namespace| namespace.private);
        private.map(|namespace| namespace.name.to_string()).collect()
    }

    fn check(&self) -> Result<(), InvalidKeyFile> {
        if self.keys.len() > MAX_KEYS || self.namespaces.len() > MAX_NAMESPACES {
            let reason =
                format!("there are at most {MAX_KEYS} keys and {MAX_NAMESPACES} namespaces");
            return Err(InvalidKeyFile::new(reason));
        }
        let mut names = HashSet::new();
        // Keys are asked for by name or id, so one's name is not another's id either.
        for text in self.keys.iter().flat_map(|key| [key.name.to_string(), key.id.to_string()]) {
            if let Some(twice) = names.replace(text) {
                let reason = format!("there are two keys with the name or id {twice:?}");
                return Err(InvalidKeyFile::new(reason));
            }
        }
        let mut namespaces = HashSet::new();
        for NamespaceRecord { name, .. } in &self.namespaces {
            if !namespaces.insert(name) {
                let reason = format!("the namespace {:?} is there twice", name.as_str());
                return Err(InvalidKeyFile::new(reason));
            }
        }
        Ok(())
    }
}

impl InvalidKeyFile {
    fn new(reason: String) -> Self {
        Self { line: None, reason }
    }
}

fn line(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::token::ApiKey;

    /// A file of one key with these members besides those that it needs.
    fn with(members: &str) -> String {
        let key = ApiKey::generate().unwrap();
        format!(
            "[[key]]\nname = \"a\"\nid = \"{}\"\nhash = \"{}\"\n{members}\n",
            key.id(),
            key.hash()
        )
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = with(
            "scopes = [\"call\", \"register\"]\nnamespaces = [\"acme\"]\nrequests-per-second = 2\n\
             burst = 4\ncalls = 10\ncall-seconds = 60\nper = \"day\"\ntimeout-ms = 1\n\
             memory-bytes = 2\nfuel = 3\noutput-bytes = 4\n[[namespace]]\nname = \"acme\"\n\
             private = true",
        );
        let file = KeyFile::parse(&text).unwrap();
        assert_eq!(file.private(), BTreeSet::from(["acme".to_owned()]));
        assert_eq!(file.keys[0].maxima.output_bytes, Some(4));
        let again = KeyFile::parse(&toml::to_string(&file).unwrap()).unwrap();
        assert_eq!(again, file);
        assert_eq!(KeyFile::parse("").unwrap(), KeyFile::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (members, line, reason) in [
            ("", Some(1), "missing field `scopes`"),
            ("scopes = [\"fly\"]", Some(5), "unknown variant `fly`, expected one of"),
            ("scopes = []", Some(1), "scopes is empty"),
            ("scopes = [\"call\"]\nscope = 1", Some(6), "unknown field `scope`"),
            ("scopes = [\"call\"]\nburst = 1", Some(1), "burst needs requests-per-second"),
            ("scopes = [\"call\"]\ncalls = 1", Some(1), "need per"),
            ("scopes = [\"call\"]\nper = \"day\"", Some(1), "per needs calls or call-seconds"),
            ("scopes = [\"call\"]\nper = \"year\"", Some(6), "unknown variant `year`"),
            ("scopes = [\"call\"]\nfuel = 0", Some(6), "nonzero"),
            ("scopes = [\"call\"]\nrequests-per-second = nan", Some(1), "0.001 to 1000000"),
            ("scopes = [\"call\"]\nnamespaces = [\"a:b\"]", Some(6), "not a namespace"),
            ("scopes = [\"call\"]\nx =", Some(6), ""),
            (
                "scopes = [\"call\"]\n[[namespace]]\nname = \"n\"",
                Some(6),
                "missing field `private`",
            ),
        ] {
            let error = KeyFile::parse(&with(members)).unwrap_err();
            assert!(error.reason.contains(reason), "{members}: {error}");
            assert_eq!(error.line, line, "{members}: {error}");
        }
        let two = [with("scopes = [\"call\"]"), with("scopes = [\"call\"]")].concat();
        let error = KeyFile::parse(&two).unwrap_err();
        assert_eq!(error.to_string(), "there are two keys with the name or id \"a\"");
        let namespace = "[[namespace]]\nname = \"n\"\nprivate = false\n";
        let error = KeyFile::parse(&namespace.repeat(2)).unwrap_err();
        assert_eq!(error.to_string(), "the namespace \"n\" is there twice");
    }
}
