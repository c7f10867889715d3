//! Directories that can be used, and those that cannot and why.

use super::*;

fn open_in(root: &tempfile::TempDir) -> Result<DataDirectory, DataDirectoryError> {
    DataDirectory::open(root.path().join("a/b"))
}

#[test]
fn makes_what_is_missing_and_says_where_things_are() {
    let root = tempfile::tempdir().unwrap();
    let directory = open_in(&root).unwrap();
    let path = root.path().join("a/b");
    assert_eq!(directory.path(), path);
    assert_eq!(directory.registry_path(), path.join("registry.redb"));
    assert_eq!(directory.artifacts_path(), path.join("artifacts"));
    assert_eq!(fs::read_to_string(path.join("format")).unwrap(), "2\n");
    let pid = fs::read_to_string(path.join("lock")).unwrap();
    assert_eq!(pid, format!("{}\n", std::process::id()));
}

#[cfg(unix)]
#[test]
fn is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let directory = open_in(&root).unwrap();
    let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_one_is_told_who_holds_it() {
    let root = tempfile::tempdir().unwrap();
    let first = open_in(&root).unwrap();
    let error = open_in(&root).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(&error, DataDirectoryError::Locked { path, pid: Some(holder) }
            if path == first.path() && *holder == pid),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!("the data directory {} is in use by the process {pid}", first.path().display())
    );
}

#[test]
fn is_free_again_when_dropped() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let directory = open_in(&root).unwrap();
        let lock = directory.path().join("lock");
        drop(directory);
        assert_eq!(fs::read(lock).unwrap(), b"");
    }
}

#[test]
fn a_stale_lock_file_is_no_lock() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("lock"), "4294967295\n and more\n").unwrap();
    let directory = DataDirectory::open(root.path()).unwrap();
    let pid = fs::read_to_string(directory.path().join("lock")).unwrap();
    assert_eq!(pid, format!("{}\n", std::process::id()));
}

#[test]
fn a_former_format_becomes_this_one() {
    let root = tempfile::tempdir().unwrap();
    let format = root.path().join("format");
    fs::write(&format, "1\n").unwrap();
    drop(DataDirectory::open(root.path()).unwrap());
    assert_eq!(fs::read_to_string(format).unwrap(), "2\n");
}

#[test]
fn refuses_formats_it_does_not_know() {
    for format in ["3\n", "", "one", "1 \n2"] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("format"), format).unwrap();
        let error = DataDirectory::open(root.path()).unwrap_err();
        assert!(
            matches!(&error, DataDirectoryError::UnknownFormat { found, .. }
                if found == format.trim()),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(message.contains(&root.path().display().to_string()), "{message}");
        assert!(message.contains("or another directory"), "{message}");
    }
}

#[test]
fn what_is_no_directory_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    fs::write(&path, "").unwrap();
    let error = DataDirectory::open(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}", path.display()));
}
