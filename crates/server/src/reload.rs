//! Files that are read again when they change.
//!
//! They are looked at again and again: that works the same wherever files come from (a mounted
//! secret, an editor, a program that renews certificates), and needs no signal and no library.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How often files are looked at for a change.
const INTERVAL: Duration = Duration::from_secs(2);

/// What a file's change is known by. A file that is written anew and renamed has another inode, so
/// two changes within one tick of the clock are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// The stamp of what is at a path now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&std::fs::metadata(path)?))
    }

    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), length: metadata.len(), inode }
    }
}

/// Has `look` look, again and again, at what it saw the time before, where it may block.
pub(crate) async fn watch<S: Copy + Send + 'static>(
    mut seen: S,
    look: impl Fn(S) -> S + Clone + Send + 'static,
) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let look = look.clone();
        match tokio::task::spawn_blocking(move || look(seen)).await {
            Ok(now) => seen = now,
            // The runtime ends.
            Err(_) => return,
        }
    }
}
