//! Changing a file of keys: one at a time, and whole or not at all.
//!
//! A lock beside the file keeps two changes from losing one of them. The new content is written
//! beside it too, made durable and renamed, so a server that reads the file meanwhile sees the old
//! or the new. What people wrote into it, comments included, stays.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TomlError};
use wasm_exec_server::{KeyFile, KeyFileError, KeyRecord};

use super::KeysError;

/// What a file that does not exist is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// One without keys.
    IsEmpty,
    /// A mistake.
    IsAnError,
}

/// Replaces the text of the file by what `change` makes of it.
///
/// # Errors
///
/// When the file cannot be read, locked or written, or would be no file of keys; then it stays as it
/// is.
pub(super) fn edit(
    path: &Path,
    missing: Missing,
    change: impl FnOnce(&KeyFile, &str) -> Result<String, KeysError>,
) -> Result<(), KeysError> {
    // A link is not replaced, but what it leads to.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let _lock = lock(&target)?;
    let read = |source| KeyFileError::Read { path: path.to_owned(), source };
    let (text, old) = match fs::metadata(&target) {
        Ok(old) => (fs::read_to_string(&target).map_err(read)?, Some(old)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::IsEmpty => {
            (String::new(), None)
        }
        Err(error) => return Err(read(error).into()),
    };
    let file = KeyFile::parse(&text)
        .map_err(|source| KeyFileError::Invalid { path: path.to_owned(), source })?;
    let text = change(&file, &text)?;
    KeyFile::parse(&text).map_err(|source| KeysError::Refused { path: path.to_owned(), source })?;
    replace(&target, &text, old.as_ref())
}

/// The text with one more key.
///
/// # Errors
///
/// When TOML cannot hold the record.
pub(super) fn append(text: &str, record: KeyRecord) -> Result<String, KeysError> {
    let record = toml::to_string(&KeyFile { keys: vec![record], namespaces: Vec::new() })?;
    Ok(match text.trim_end() {
        "" => record,
        text => format!("{text}\n\n{record}"),
    })
}

/// The text without the key at this place.
///
/// # Errors
///
/// When the text is not TOML.
pub(super) fn remove(text: &str, index: usize) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    match document.get_mut("key") {
        Some(Item::ArrayOfTables(keys)) if index < keys.len() => {
            keys.remove(index);
        }
        Some(Item::Value(keys)) => {
            if let Some(keys) = keys.as_array_mut().filter(|keys| index < keys.len()) {
                keys.remove(index);
            }
        }
        _ => {}
    }
    // To the parser, all that stands before a table is that table's.
    let (heading, rest) = (heading(text), document.to_string());
    match rest.starts_with(heading) {
        true => Ok(rest),
        false => Ok(format!("{heading}{}", rest.trim_start())),
    }
}

/// The comments that a text begins with, up to the last empty line of them: they are the file's, and
/// what follows is of the key or namespace that comes first.
fn heading(text: &str) -> &str {
    let (mut end, mut heading) = (0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        match line.trim() {
            "" => heading = end,
            comment if comment.starts_with('#') => {}
            _ => break,
        }
    }
    &text[..heading]
}

/// Waits until nobody else changes the file. The lock ends with the file that is returned, however
/// the process does.
fn lock(path: &Path) -> Result<File, KeysError> {
    let path = beside(path, "lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed("create", &path))?;
    file.lock().map_err(failed("lock", &path))?;
    Ok(file)
}

fn replace(path: &Path, text: &str, old: Option<&Metadata>) -> Result<(), KeysError> {
    let new = beside(path, "new");
    // One that was left over is no more than that, since the lock is held.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &new)(error));
        }
        _ => {}
    }
    write(&new, text, old).map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", directory))
}

/// Writes a file with the owner and the permissions of the old one, which the server has to be able to
/// read; a first one can only be read by its owner.
fn write(path: &Path, text: &str, old: Option<&Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let new = file.metadata()?;
    if let Some(old) = old
        && (old.uid(), old.gid()) != (new.uid(), new.gid())
    {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    if let Some(old) = old {
        // The server may read it as a member of its group.
        file.set_permissions(old.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The path with one more extension.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |source| KeysError::Write { action, path, source }
}
