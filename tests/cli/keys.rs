//! `keys`: files of keys, and serving with them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use tempfile::{TempDir, tempdir};

use crate::support::{Server, Test, wait_for};

/// A file of keys in a directory of its own.
struct File {
    directory: TempDir,
}

impl File {
    fn new() -> Self {
        Self { directory: tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// A call of `keys` for this file.
    fn keys(&self, command: &str, arguments: &str) -> Test {
        Test::new(&format!("keys {command} --file {} {arguments}", self.path().display()))
    }

    /// Makes a key, and gives it.
    fn create(&self, arguments: &str) -> String {
        let printed = self.keys("create", arguments).run();
        let key = printed.strip_suffix('\n').unwrap();
        assert!(key.starts_with("wxk_") && key.len() == 58, "{key}");
        key.to_owned()
    }
}

#[test]
fn a_key_is_printed_once_and_only_its_hash_is_kept() {
    let file = File::new();
    let key = file.create("--name ci --scope call");
    let (id, secret) = (&key[4..14], &key[15..]);
    assert!(file.text().contains(id) && !file.text().contains(secret), "{}", file.text());
    assert!(file.text().contains("hash = \"sha256:"), "{}", file.text());
    let mode = fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    file.keys("list", "").stdout(&format!("ci {id} call\n")).run();
}

#[test]
fn a_key_is_listed_with_all_that_restricts_it() {
    let file = File::new();
    let key = file.create(
        "--name ci --scope register,call --scope call --namespace acme --namespace beta \
         --requests-per-second 2.5 --calls 10 --call-seconds 60 --per day --timeout-maximum 2s \
         --stored-bytes 1GiB --memory-maximum 1MiB --fuel-maximum 7 --output-maximum 4KiB",
    );
    file.keys("list", "")
        .stdout(&format!(
            "ci {} call,register burst=3 call-seconds=60 calls=10 fuel=7 memory-bytes=1048576 \
             namespaces=[\"acme\", \"beta\"] output-bytes=4096 per=\"day\" \
             requests-per-second=2.5 stored-bytes=1073741824 timeout-ms=2000\n",
            &key[4..14]
        ))
        .run();
}

#[test]
fn a_key_is_revoked_by_name_or_id_and_nothing_else_changes() {
    let file = File::new();
    let private = "# Ours alone.\n[[namespace]]\nname = \"acme\"\nprivate = true\n";
    fs::write(file.path(), private).unwrap();
    file.create("--name a --scope call");
    let b = file.create("--name b --scope call");
    file.create("--name c --scope call");
    file.keys("revoke", "a").stdout("").run();
    file.keys("revoke", &b[4..14]).stdout("").run();
    let list = file.keys("list", "").run();
    assert!(list.starts_with("c ") && list.lines().count() == 1, "{list}");
    assert!(file.text().starts_with(private), "{}", file.text());
    file.keys("revoke", "a")
        .status(1)
        .stderr_has("there is no key with the name or id \"a\"")
        .run();
    file.create("--name a --scope call");
}

#[test]
fn what_is_written_above_all_keys_stays_when_the_first_is_revoked() {
    let file = File::new();
    file.create("--name a --scope call");
    file.create("--name b --scope call");
    let heading = "# Ask the operators before you change this.\n# They know.\n\n";
    let text = file.text();
    fs::write(file.path(), format!("{heading}# Of a alone.\n{text}")).unwrap();
    file.keys("revoke", "a").run();
    let text = file.text();
    assert!(text.starts_with(&format!("{heading}[[key]]\nname = \"b\"")), "{text}");
    file.keys("revoke", "b").run();
    assert_eq!(file.text().trim_end(), heading.trim_end());
}

#[test]
fn keys_that_are_made_at_the_same_time_are_all_kept() {
    const KEYS: usize = 12;
    let file = File::new();
    thread::scope(|scope| {
        for number in 0..KEYS {
            let file = &file;
            scope.spawn(move || file.create(&format!("--name key-{number} --scope call")));
        }
    });
    assert_eq!(file.keys("list", "").run().lines().count(), KEYS);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let file = File::new();
    let key = file.create("--name ci --scope call");
    let before = file.text();
    for (arguments, status, message) in [
        ("--name ci --scope call", 1, "there is a key with the name or id ci in "),
        (&*format!("--name {} --scope call", &key[4..14]), 1, "there is a key with the name or id"),
        ("--name x --scope fly", 2, "unknown scope, expected call, register or admin"),
        ("--name x", 2, "--scope"),
        ("--scope call", 2, "--name"),
        ("--name a/b --scope call", 2, "the name of a key is 1 to 64"),
        ("--name x --scope call --namespace sha256", 2, "not a namespace"),
        ("--name x --scope call --calls 5", 2, "--per"),
        ("--name x --scope call --per day", 1, "error: per needs calls or call-seconds\n"),
        ("--name x --scope call --requests-per-second 0", 1, "can be 0.001 to 1000000\n"),
        ("--name x --scope call --burst 5", 2, "--requests-per-second"),
    ] {
        file.keys("create", arguments).status(status).stdout("").stderr_has(message).run();
    }
    assert_eq!(file.text(), before);
}

#[test]
fn a_broken_file_is_told_with_its_line() {
    let file = File::new();
    fs::write(file.path(), "[[key]]\nname = \"ci\"\nscope = 1\n").unwrap();
    for (command, arguments) in
        [("create", "--name x --scope call"), ("list", ""), ("revoke", "ci")]
    {
        let test = file.keys(command, arguments).status(1).stdout("");
        test.stderr_has("keys.toml: line 3: unknown field `scope`").run();
    }
    Test::new("-m -p 0 --listen 127.0.0.1 --api-keys keys.toml")
        .file("keys.toml", "[[key]]\nname = \"ci\"\nscope = 1\n")
        .status(1)
        .stderr_has("error: keys.toml: line 3: unknown field `scope`")
        .run();
    let missing = "error: cannot read the file of keys missing.toml: No such file";
    Test::new("keys list --file missing.toml").status(1).stderr_has(missing).run();
    Test::new("keys revoke --file missing.toml x").status(1).stderr_has(missing).run();
    Test::new("-m -p 0 --api-keys missing.toml").status(1).stderr_has(missing).run();
}

#[test]
fn the_setting_is_one_like_the_others() {
    Test::new("config --listen 0.0.0.0")
        .environment("WASM_EXEC_API_KEYS", "/etc/keys.toml")
        .stdout_has("api-keys = \"/etc/keys.toml\" # environment WASM_EXEC_API_KEYS\n")
        .run();
    Test::new("config --config server.toml")
        .file("server.toml", "listen = [\"0.0.0.0\"]\napi-keys = \"keys.toml\"")
        .stdout_has("api-keys = \"keys.toml\" # file server.toml\n")
        .run();
    Test::new("config --listen 0.0.0.0").status(1).stderr_has("--api-keys").run();
}

#[test]
fn with_keys_a_server_listens_beyond_the_machine_and_asks_for_them() {
    let file = File::new();
    let key = file.create("--name ci --scope call");
    let flags = format!("-m -p 0 --listen 0.0.0.0 --api-keys {}", file.path().display());
    let server = Server::start(file.directory.path(), &flags);
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(server.get("/v1/modules").starts_with("HTTP/1.1 401 "));
    assert!(server.get_with_key("/v1/modules", &key).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_file_that_breaks_changes_nothing_and_the_log_names_keys() {
    let file = File::new();
    let key = file.create("--name ci --scope call");
    let flags = format!("-m -p 0 --listen 127.0.0.1 --api-keys {}", file.path().display());
    let log = file.directory.path().join("log");
    let server = Server::start_logging(file.directory.path(), &flags, &log);
    fs::write(file.path(), "[[key]]\nname = 1\n").unwrap();
    wait_for(&log, "keys.toml: line 2: ");
    assert!(server.get_with_key("/v1/modules", &key).starts_with("HTTP/1.1 200 "));
    assert!(server.get_with_key("/metrics", &key).starts_with("HTTP/1.1 403 "));
    wait_for(&log, "\"key\":\"ci\"");
    assert!(!fs::read_to_string(&log).unwrap().contains(&key[15..]));
}

#[test]
fn the_log_does_not_tell_how_to_use_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let server = Server::start_logging(directory.path(), "-m -p 0 --listen 127.0.0.1", &log);
    let json = "content-type: application/json\r\ncontent-length: 2\r\n";
    let made = server.answer("POST /v1/sessions", json, "{}");
    let id = made.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    assert!(server.answer(&format!("DELETE /v1/sessions/{id}"), "", "").contains(" 204 "));
    wait_for(&log, "\"path\":\"/v1/sessions/");
    let logged = fs::read_to_string(&log).unwrap();
    assert!(logged.contains(&id[..8]) && !logged.contains(&id[..12]), "{logged}");
}
