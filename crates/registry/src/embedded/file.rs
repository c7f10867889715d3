//! The database's file, and whether it is still where it was opened.
//!
//! A file that is removed or replaced while it is open takes writes as before, and nobody finds
//! them again. So a commit is acknowledged only while the path leads to the file that was opened.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Which file it is, whatever its path: device and inode. `None` where files have no such numbers.
type Identity = Option<(u64, u64)>;

#[derive(Debug, Clone)]
pub(super) struct StoreFile {
    path: PathBuf,
    identity: Identity,
}

impl StoreFile {
    /// The file that is at `path` now.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let identity = identity(&path.metadata()?);
        Ok(Self { path: path.to_owned(), identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `path` still leads to this file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if not.
    pub(super) fn check_in_place(&self) -> io::Result<()> {
        match self.path.metadata() {
            Ok(metadata) if identity(&metadata) == self.identity => Ok(()),
            Ok(_) => Err(self.misplaced("replaced")),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.misplaced("removed")),
            Err(error) => Err(error),
        }
    }

    fn misplaced(&self, how: &str) -> io::Error {
        let path = self.path.display();
        io::Error::new(ErrorKind::NotFound, format!("{path} was {how} while it was open"))
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;

    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    None
}
