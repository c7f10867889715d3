//! Registering a module, and how links are read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wasm_exec_engine::{ClientKey, Description, Profile};
use wasm_exec_registry::{Digest, Manifest, Name, Registration};

use crate::describe::ModuleDescription;
use crate::error::Error;
use crate::exec::Exec;

/// The most bytes that the names of a module's links may take in its manifest.
const MAXIMUM_LINK_NAMES: usize = 256 << 10;

/// What satisfies a module's imports.
#[derive(Clone, Debug)]
pub enum Links {
    /// Import module → name or digest of a registered module. Each has to be used.
    Named(Vec<(String, String)>),
    /// Names of registered modules, as the original takes them: `ns:label@version` satisfies the
    /// import module `label` or the full string, whichever is imported. One that no import uses is
    /// dropped.
    HostModules(Vec<String>),
}

impl Links {
    /// No links.
    pub const fn none() -> Self {
        Self::Named(Vec::new())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Named(links) => links.is_empty(),
            Self::HostModules(names) => names.is_empty(),
        }
    }
}

/// What was registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Whether it was not registered before.
    pub created: bool,
    /// What it is.
    pub module: ModuleDescription,
}

impl Exec {
    /// Registers a module under a name, or only by its digest.
    ///
    /// Everything that can be checked before a call is: the module is valid and compiles, each
    /// import is satisfied with the right type, each link is used, the graph is within its limits.
    /// Registering the same again succeeds. `client` is whom it is for, so that none takes all places
    /// of the compiler; `None` may.
    ///
    /// # Errors
    ///
    /// When a check fails or the name is taken; then nothing is kept.
    pub async fn register(
        &self,
        name: Option<&str>,
        wasm: Bytes,
        links: Links,
        client: Option<ClientKey>,
    ) -> Result<Registered, Error> {
        let name: Option<Name> = name.map(str::parse).transpose()?;
        let digest = self.digest(&wasm).await?;
        let description = self.validate_once(&wasm, digest).await?;
        let links = self.resolve_links(links, &description).await?;
        small_enough(&links)?;
        let manifest = Manifest { links, wasm: digest };
        let ready = self.inline_program(&manifest, &wasm, Profile::Fast, client).await?;
        let blob = manifest.wasm;
        let registration = Registration { name: name.clone(), links: manifest.links, wasm };
        let registered = self.registry().register(registration).await?;
        self.keep(&ready, blob).await;
        let module = self
            .description(registered.digest, name, description, registered.registered_at)
            .await?;
        Ok(Registered { created: registered.created, module })
    }

    /// The manifest of a module that was sent along for one call.
    pub(crate) async fn manifest(&self, wasm: &Bytes, links: Links) -> Result<Manifest, Error> {
        let mut manifest = Manifest { links: BTreeMap::new(), wasm: self.digest(wasm).await? };
        if !links.is_empty() {
            let description = self.validate_once(wasm, manifest.wasm).await?;
            manifest.links = self.resolve_links(links, &description).await?;
        }
        Ok(manifest)
    }

    /// Pins links to digests.
    async fn resolve_links(
        &self,
        links: Links,
        description: &Description,
    ) -> Result<BTreeMap<String, Digest>, Error> {
        let mut pinned = BTreeMap::new();
        match links {
            Links::Named(links) => {
                for (import, module) in links {
                    let digest = self.resolve(&module).await?;
                    if pinned.insert(import.clone(), digest).is_some() {
                        return Err(Error::Links(format!("link {import:?} is given twice")));
                    }
                }
            }
            Links::HostModules(names) => {
                let imports: BTreeSet<&str> =
                    description.imports.iter().map(|import| import.module.as_str()).collect();
                for entry in names {
                    let name: Name = entry.parse()?;
                    let digest = self.resolve(&entry).await?;
                    let Some(import) = imported_as(&name, &imports)? else { continue };
                    match pinned.insert(import.to_owned(), digest) {
                        Some(other) if other != digest => {
                            return Err(Error::Links(format!(
                                "host_modules: two different modules for import {import:?}"
                            )));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(pinned)
    }
}

/// Manifests are read, checked and hashed wherever their module is used, so they stay small.
fn small_enough(links: &BTreeMap<String, Digest>) -> Result<(), Error> {
    // A control character takes six bytes in JSON.
    let bytes: usize = links.keys().map(|import| import.len() * 6).sum();
    if bytes > MAXIMUM_LINK_NAMES {
        let detail = format!(
            "the names of the links take {bytes} bytes as JSON at most; {MAXIMUM_LINK_NAMES} is the maximum"
        );
        return Err(Error::Links(detail));
    }
    Ok(())
}

/// The import module that a host module satisfies, if any.
fn imported_as<'a>(name: &'a Name, imports: &BTreeSet<&str>) -> Result<Option<&'a str>, Error> {
    let (full, label) = (name.as_str(), name.label());
    match (imports.contains(full), imports.contains(label)) {
        (true, true) if full != label => Err(Error::Links(format!(
            "host_modules: {full:?} could satisfy import {full:?} and import {label:?}"
        ))),
        (true, _) => Ok(Some(full)),
        (false, true) => Ok(Some(label)),
        (false, false) => Ok(None),
    }
}
