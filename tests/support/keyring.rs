//! Files of keys, and the servers that ask for them.

use std::path::PathBuf;

use tempfile::TempDir;
use wasm_exec_server::{ApiKey, ApiKeys};

use super::server::{Server, Setup};

/// A file of keys in a directory of its own.
#[derive(Debug)]
pub(crate) struct Keyring {
    directory: TempDir,
    text: String,
}

impl Keyring {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), text: String::new() }
    }

    /// One more key, with these members besides those that it needs.
    pub(crate) fn add(&mut self, members: &str) -> String {
        let key = ApiKey::generate().unwrap();
        let (id, hash) = (key.id(), key.hash());
        let record = format!("[[key]]\nname = \"n-{id}\"\nid = \"{id}\"\nhash = \"{hash}\"");
        self.say(&format!("{record}\n{members}"));
        key.reveal().to_owned()
    }

    /// A key with these scopes and nothing else.
    pub(crate) fn scoped(&mut self, scopes: &str) -> String {
        let scopes: Vec<_> = scopes.split(' ').map(|scope| format!("{scope:?}")).collect();
        self.add(&format!("scopes = [{}]", scopes.join(", ")))
    }

    /// One more piece of the file.
    pub(crate) fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        self.write(&self.text);
    }

    /// Has the file hold this instead of what was said.
    pub(crate) fn write(&self, text: &str) {
        // Renamed, as whoever changes a file that is in use does.
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys.toml")
    }

    /// A server that asks for these keys.
    pub(crate) async fn server(&self) -> Server {
        self.server_with(|_| {}).await
    }

    /// The same, for web pages of an origin too.
    pub(crate) async fn server_for(&self, origin: &str) -> Server {
        self.server_with(|setup| setup.server.origins = vec![origin.to_owned()]).await
    }

    /// The same, set up differently.
    pub(crate) async fn server_with(&self, change: impl FnOnce(&mut Setup)) -> Server {
        let keys = ApiKeys::open(&self.path()).unwrap();
        Server::with(|setup| {
            setup.server.keys = Some(keys);
            change(setup);
        })
        .await
    }
}
