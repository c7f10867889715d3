//! What is done to a registry while its timeline is taken: several writers at once, who register
//! and delete, and say what they ask for and what they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::RngExt;
use proptest::test_runner::TestRng;

use super::disk::Disk;
use super::seeded;
use crate::{
    Creation, DeleteError, Digest, Name, NameTakenReason, RedbBackend, Reference, RegisterError,
    Registration, Registry, Row,
};

/// More writers than a commit takes to become durable in memory, so that some share one.
const WRITERS: u64 = 6;

/// What each of them does.
const STEPS: usize = 30;

/// How many names a writer has to itself, half of them versions, and how many all want.
const OWN_NAMES: u64 = 6;
const CONTENDED_NAMES: u64 = 12;

/// The most bytes of a module: some pages.
const MAX_WASM: usize = 24_000;

/// What a writer says.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// It asks for a change that, if it is made, leaves the registration so.
    Asked(Reference, Option<Digest>),
    /// It was told that the registration is so.
    Told(Reference, Option<Digest>),
}

/// What is known of each registration: all that it may be, `None` for not registered.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(BTreeMap<Reference, Vec<Option<Digest>>>);

impl Known {
    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Told(reference, state) => {
                self.0.insert(reference, vec![state]);
            }
            Note::Asked(reference, state) => {
                let possible = self.0.entry(reference).or_insert_with(|| vec![None]);
                // What is registered is not replaced, only deleted.
                if (state.is_none() || possible.contains(&None)) && !possible.contains(&state) {
                    possible.push(state);
                }
            }
        }
    }

    /// Compares with what is there, all of it.
    ///
    /// # Panics
    ///
    /// When something is lost, has come back, or was never asked for.
    pub(super) fn check(&self, registrations: &BTreeMap<Reference, Digest>) {
        for (reference, possible) in &self.0 {
            let found = registrations.get(reference).copied();
            assert!(possible.contains(&found), "{reference} is {found:?}, not one of {possible:?}");
        }
        for reference in registrations.keys() {
            assert!(self.0.contains_key(reference), "nobody asked for {reference}");
        }
    }

    /// Takes what is there for what is known, after a crash that left some of it open.
    pub(super) fn settle(&mut self, registrations: &BTreeMap<Reference, Digest>) {
        for (reference, possible) in &mut self.0 {
            *possible = vec![registrations.get(reference).copied()];
        }
    }

    /// The versions that were deleted, for certain, after they were registered.
    pub(super) fn deleted_versions(&self) -> impl Iterator<Item = &Reference> {
        self.0.iter().filter_map(|(reference, possible)| match reference {
            Reference::Name(name) if name.version().is_some() && *possible == [None] => {
                Some(reference)
            }
            _ => None,
        })
    }
}

/// Bytes of a module that depend on nothing else than `text`.
pub(super) fn wasm(text: &str) -> Vec<u8> {
    let hash = Digest::of(text.as_bytes());
    let [low, high, scale, ..] = hash.as_bytes();
    // Most are small, as most modules are.
    let size = usize::from(u16::from_le_bytes([*low, *high])) % (MAX_WASM >> (scale % 6));
    text.bytes().cycle().take(size + text.len()).collect()
}

/// Whether a name is a writer's own: such a name has a row beside it.
pub(super) fn is_own(name: &Name) -> bool {
    name.namespace().is_some_and(|namespace| namespace.starts_with('w'))
}

/// The row beside one of a writer's own names, which holds its digest.
fn row_beside(reference: &Reference, digest: Option<Digest>) -> Row {
    let value = digest.map(|digest| digest.as_bytes().to_vec().into());
    Row { key: reference.to_string().into(), value }
}

/// Runs the writers until all are done.
pub(super) async fn run(backend: Arc<RedbBackend>, disk: &Disk<Note>, seed: u64) {
    let registry = Registry::new(backend.clone());
    let ever = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| Writer {
            number,
            backend: backend.clone(),
            registry: registry.clone(),
            disk: disk.clone(),
            random: seeded(seed ^ (number + 1) << 32),
            ever: ever.clone(),
        })
        .map(|writer| tokio::spawn(writer.run()))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

struct Writer {
    number: u64,
    backend: Arc<RedbBackend>,
    registry: Registry,
    disk: Disk<Note>,
    random: TestRng,
    /// What was ever registered, by any of them: what can be linked to, if it is still there.
    ever: Arc<Mutex<Vec<Digest>>>,
}

impl Writer {
    async fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.random_range(0..10) {
                0..4 => self.register_own().await,
                4..7 => self.delete_own().await,
                7 => self.register_contended().await,
                8 => self.register_unnamed().await,
                _ => self.delete_any().await,
            }
        }
    }

    /// A name that no other writer uses. Its namespace is the writer's.
    fn own_name(&mut self) -> Reference {
        let (writer, n) = (self.number, self.random.random_range(0..OWN_NAMES));
        let name = match n % 2 {
            0 => format!("w{writer}:plain{n}"),
            _ => format!("w{writer}:versioned@1.{n}.0"),
        };
        name.parse().unwrap()
    }

    async fn register_own(&mut self) {
        let name = self.own_name();
        // A version that was deleted comes back only as what it was, which is what mostly is tried.
        let content = match self.random.random_range(0..8) {
            0 => format!("{name}, changed"),
            _ => name.to_string(),
        };
        let links = if content.contains('@') { Vec::new() } else { self.links() };
        self.register(Some(name), &content, links).await;
    }

    async fn register_contended(&mut self) {
        let name = format!("race:m{}", self.random.random_range(0..CONTENDED_NAMES));
        let content = format!("{name} by {}", self.number);
        self.register(Some(name.parse().unwrap()), &content, Vec::new()).await;
    }

    async fn register_unnamed(&mut self) {
        let content = format!("unnamed {} by {}", self.random.random_range(0..3), self.number);
        self.register(None, &content, Vec::new()).await;
    }

    fn links(&mut self) -> Vec<Digest> {
        let ever = self.ever.lock().unwrap();
        let count = self.random.random_range(0..3).min(ever.len());
        (0..count).map(|_| ever[self.random.random_range(0..ever.len())]).collect()
    }

    async fn register(&self, name: Option<Reference>, content: &str, links: Vec<Digest>) {
        let imports = (0..).map(|n: u32| n.to_string());
        let registration = Registration {
            name: name.as_ref().map(|name| match name {
                Reference::Name(name) => name.clone(),
                Reference::Digest(digest) => panic!("{digest} is no name"),
            }),
            links: imports.zip(links).collect(),
            wasm: wasm(content).into(),
        };
        let Registration { name: own, links, wasm } = registration.clone();
        let own = own.filter(is_own);
        let creation = Creation::new(own.clone(), links, wasm);
        let digest = creation.digest();
        let reference = name.unwrap_or(Reference::Digest(digest));
        self.disk.note(Note::Asked(reference.clone(), Some(digest)));
        let registered = match own {
            Some(_) => {
                let rows = vec![row_beside(&reference, Some(digest))];
                self.backend.create_with(creation, rows).await
            }
            None => self.registry.register(registration).await,
        };
        let state = match registered {
            Ok(registered) => {
                self.ever.lock().unwrap().push(registered.digest);
                Some(registered.digest)
            }
            Err(RegisterError::NameTaken {
                reason: NameTakenReason::OtherContent { digest },
                ..
            }) => Some(digest),
            Err(RegisterError::NameTaken {
                reason: NameTakenReason::WasOtherContent { .. },
                ..
            })
            | Err(RegisterError::UnknownLink { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        self.disk.note(Note::Told(reference, state));
    }

    async fn delete_own(&mut self) {
        let name = self.own_name();
        self.delete(name).await;
    }

    /// Deletes what may be linked to, or registered under a name only.
    async fn delete_any(&mut self) {
        let content = format!("unnamed {} by {}", self.random.random_range(0..3), self.number);
        let digest = Creation::new(None, [].into(), wasm(&content).into()).digest();
        self.delete(Reference::Digest(digest)).await;
    }

    async fn delete(&self, reference: Reference) {
        self.disk.note(Note::Asked(reference.clone(), None));
        let deleted = match &reference {
            Reference::Name(name) if is_own(name) => {
                let rows = vec![row_beside(&reference, None)];
                self.backend.delete_with(reference.clone(), rows).await
            }
            _ => self.registry.delete(&reference).await,
        };
        match deleted {
            Ok(()) | Err(DeleteError::Registry(_) | DeleteError::InUse { .. }) => {}
            Err(error @ DeleteError::Storage(_)) => panic!("{error}"),
        }
        self.disk.note(Note::Told(reference, None));
    }
}
