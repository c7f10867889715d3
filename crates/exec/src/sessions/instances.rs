//! Making instances in sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wasm_exec_engine::{
    ClientKey, Export, LinkedProgram, ModuleId, NewInstance, Profile, SessionLink, Usage,
};
use wasm_exec_registry::{Digest, Manifest, Name};

use super::{SessionError, SessionRef};
use crate::call::Failure;
use crate::error::Error;
use crate::exec::Exec;
use crate::programs::ReadyProgram;

/// An instance that is asked for.
#[derive(Clone, Debug)]
pub struct InstanceRequest<'a> {
    /// What it will be called; it follows the grammar of labels.
    pub name: &'a str,
    /// What it is an instance of.
    pub module: InstanceModule<'a>,
    /// Import module → what satisfies it. Each has to be used.
    pub links: Vec<(String, InstanceLink)>,
    /// Whom it is for, so that no client takes all places of the compiler; `None` may.
    pub client: Option<ClientKey>,
}

/// What an instance is made of.
#[derive(Clone, Debug)]
pub enum InstanceModule<'a> {
    /// A registered module, by name or digest, with the links it was registered with.
    Registered(&'a str),
    /// A module that was sent along.
    Inline(Bytes),
}

/// What satisfies the imports of one import module.
#[derive(Clone, Debug)]
pub enum InstanceLink {
    /// An instance of the session, by its name.
    Instance(String),
    /// A registered module, by name or digest: it gets an instance of its own.
    Module(String),
}

/// An instance that was made.
#[derive(Clone, Debug)]
pub struct InstanceReport {
    /// The digest of its module: of its Wasm and the registered modules that it links to.
    pub module: Digest,
    /// What it exports; or why there is none.
    pub result: Result<Vec<Export>, Failure>,
    /// What its start functions used; `None` if no guest code ran.
    pub usage: Option<Usage>,
}

impl Exec {
    /// Makes an instance in a session, and one of each registered module that it links to.
    ///
    /// # Errors
    ///
    /// When it could not be made; then the session is as before. Once guest code runs, whatever that
    /// does is in the report, and what it did stays.
    pub async fn instantiate(
        &self,
        session: SessionRef<'_>,
        request: InstanceRequest<'_>,
    ) -> Result<InstanceReport, Error> {
        let used = self.sessions().find(session)?;
        check_name(request.name)?;
        if used.session().instance(request.name).is_ok() {
            return Err(SessionError::NameTaken(request.name.to_owned()).into());
        }
        let (digest, new) = self.prepare(request).await?;
        let module = Arc::clone(&new.module);
        let timeout = used.limits().call.timeout;
        let made = used.session().instantiate(new, timeout).await;
        let made = made.map_err(|error| used.explain(error, (0, 0)))?;
        let result = match made.result {
            Ok(()) => Ok(module.exports()),
            Err(failure) => Err(used.fail(failure, &made.modules, timeout)),
        };
        Ok(InstanceReport { module: digest, result, usage: made.usage })
    }

    /// Loads all that an instance is made of.
    async fn prepare(
        &self,
        InstanceRequest { name, module, links, client }: InstanceRequest<'_>,
    ) -> Result<(Digest, NewInstance), Error> {
        let (mut manifest, registered, sent) = match module {
            InstanceModule::Registered(module) => {
                let digest = self.resolve(module).await?;
                (self.registry().module(digest).await?.manifest, Some(digest), None)
            }
            InstanceModule::Inline(wasm) => {
                let manifest = Manifest { links: BTreeMap::new(), wasm: Digest::of(&wasm) };
                (manifest, None, Some(wasm))
            }
        };
        let mut linked = BTreeMap::new();
        for (import, link) in links {
            if manifest.links.contains_key(&import) || linked.contains_key(&import) {
                let detail = format!("link {import:?}: the module was registered with one");
                return Err(Error::Links(detail));
            }
            match link {
                InstanceLink::Instance(instance) => {
                    linked.insert(import, SessionLink::Instance(instance));
                }
                InstanceLink::Module(module) => {
                    manifest.links.insert(import, self.resolve(&module).await?);
                }
            }
        }
        for (import, digest) in &manifest.links {
            let ready = self.program(*digest, Profile::Session, client).await?;
            linked.insert(import.clone(), SessionLink::Program(linked_program(&ready)));
        }
        let digest = registered.unwrap_or_else(|| manifest.digest());
        let single = self.single_program(digest, manifest.wasm, sent, client).await?;
        let new = NewInstance {
            name: name.to_owned(),
            module: Arc::clone(&single.program),
            id: ModuleId(*digest.as_bytes()),
            links: linked,
        };
        Ok((digest, new))
    }
}

fn linked_program(ready: &ReadyProgram) -> LinkedProgram {
    let nodes = ready.nodes.iter().map(|digest| ModuleId(*digest.as_bytes())).collect();
    LinkedProgram { program: Arc::clone(&ready.program), nodes }
}

/// Instances are called as labels of names are.
fn check_name(name: &str) -> Result<(), SessionError> {
    let parsed = name.parse::<Name>();
    match parsed {
        Ok(parsed) if parsed.label() == name => Ok(()),
        _ => Err(SessionError::InstanceName(name.chars().take(64).collect())),
    }
}
