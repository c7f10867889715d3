//! What can go wrong, one enum per phase.
//!
//! Messages are for people and say nothing of paths or internals; the causes, which do, are the
//! `source`s.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use thiserror::Error;

use crate::{Backend, Digest, InvalidName, Name};

/// The place where things are kept failed. Cheap to clone, because one failed commit answers many
/// registrations.
#[derive(Debug, Clone, Error)]
pub enum StorageError {
    /// No space, no quota, or the file may not grow (`ENOSPC`, `EDQUOT`, `EFBIG`). What was there
    /// is still there, and writing works again once there is room.
    #[error("the registry's storage is full")]
    Full(#[source] Arc<io::Error>),
    /// The file system or the permissions do not let it be written (`EROFS`, `EACCES`, `EPERM`).
    #[error("the registry's storage cannot be written")]
    ReadOnly(#[source] Arc<io::Error>),
    /// What was read is not what was written.
    #[error("the registry's storage is corrupt: {detail}")]
    Corrupt {
        /// What was found, for the log.
        detail: String,
    },
    /// Any other failure.
    #[error("the registry's storage failed")]
    Io(#[source] Arc<io::Error>),
}

impl StorageError {
    pub(crate) fn corrupt(detail: impl Into<String>) -> Self {
        Self::Corrupt { detail: detail.into() }
    }

    /// A failure that no I/O error stands for.
    pub(crate) fn other(
        error: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        Self::Io(Arc::new(io::Error::other(error)))
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        let error = Arc::new(error);
        match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::ReadOnly(error),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::corrupt(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

/// Reading failed.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Nothing is registered under this name, and it is no label with a release.
    #[error("no module is registered as `{0}`")]
    UnknownName(Name),
    /// No such module, or no such blob.
    #[error("{}", unknown_digest(.digest, *.is_blob))]
    UnknownDigest {
        /// What was asked for.
        digest: Digest,
        /// It is the digest of a blob, where that of a module was asked for.
        is_blob: bool,
    },
    /// Owners of a network have given the name to different modules, and nothing says which of them
    /// is meant here.
    #[error("`{name}` is not the same to all: {} have it; ask for one of these", list(.owners))]
    NameConflict {
        /// The name that was asked for.
        name: Name,
        /// The first of those that it may mean, each with its owner's namespace.
        owners: Vec<Name>,
    },
    /// What was asked for is not here, and no peer answered in time that should have it.
    #[error("it is not on this node, and no other node answered in time")]
    LookupTimeout,
    /// The backend failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The backend answered with something else than was asked for.
    #[error("what is kept as {digest} is corrupt: {detail}")]
    Corrupt {
        /// What was asked for.
        digest: Digest,
        /// What is wrong with it.
        detail: String,
    },
}

impl RegistryError {
    /// What `backend` keeps as `digest` hashes to something else.
    pub(crate) fn other_content(digest: Digest, backend: &dyn Backend) -> Self {
        let place = backend.file().map(|file| format!(", in {}", file.display()));
        let detail = format!("its content has another digest{}", place.unwrap_or_default());
        Self::Corrupt { digest, detail }
    }
}

fn list(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn unknown_digest(digest: &Digest, is_blob: bool) -> String {
    if is_blob {
        format!("{digest} is the digest of a blob, not of a module")
    } else {
        format!("nothing is registered as {digest}")
    }
}

/// A module's closure could not be read, or is too large.
#[derive(Debug, Error)]
pub enum GraphError {
    /// A manifest could not be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// More distinct modules than [`GraphLimits::modules`](crate::GraphLimits::modules).
    #[error(
        "the module links to more modules than the {maximum} that are allowed, itself included"
    )]
    TooManyModules {
        /// The limit.
        maximum: usize,
    },
    /// A longer chain of links than [`GraphLimits::depth`](crate::GraphLimits::depth).
    #[error("the module's links are nested more than {maximum} modules deep")]
    TooDeep {
        /// The limit.
        maximum: usize,
    },
}

impl From<StorageError> for GraphError {
    fn from(error: StorageError) -> Self {
        Self::Registry(error.into())
    }
}

/// Registering failed. Nothing of it was stored, unless the cause is [`RegisterError::Storage`]:
/// then it may have been, and registering the same again is safe. After
/// [`RegisterError::NotReplicated`] it is stored.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The name cannot be given to this module.
    #[error("the name `{name}` is taken: {reason}")]
    NameTaken {
        /// The name that was asked for.
        name: Name,
        /// What stands in its way: itself, or the version or the label of the other kind.
        by: Name,
        /// In which way it does.
        reason: NameTakenReason,
    },
    /// The namespace is that of a peer, and this registry is not peer-to-peer.
    #[error("{}", InvalidName::reserved_for_peers(.name.as_str()))]
    ReservedNamespace {
        /// The name that was asked for.
        name: Name,
    },
    /// The name is for another node to give.
    #[error("the name `{name}` is for its owner to register, the node {owner}")]
    OtherOwner {
        /// The name that was asked for.
        name: Name,
        /// The owner's peer id.
        owner: String,
    },
    /// It is stored and its name is given, but too few other nodes have said in time that they keep
    /// it, too.
    #[error(
        "{digest} is stored on this node, but only {replicas} of {wanted} others have it; this node \
         goes on trying"
    )]
    NotReplicated {
        /// The module.
        digest: Digest,
        /// How many other nodes should have it.
        wanted: u32,
        /// How many have said that they do.
        replicas: u32,
    },
    /// The account that it is charged to would hold too much.
    #[error("{held} bytes are held, and {asked} more would be more than the maximum of {maximum}")]
    TooMuchHeld {
        /// How many bytes the account's registrations hold.
        held: u64,
        /// How many this one would.
        asked: u64,
        /// How many they may hold together.
        maximum: u64,
    },
    /// A link to a module that is not registered.
    #[error("the link for import `{}` names {digest}, which is not registered", import.escape_debug())]
    UnknownLink {
        /// The import module.
        import: String,
        /// The manifest it was to be linked to.
        digest: Digest,
    },
    /// The backend failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameTakenReason {
    /// It points to another module.
    #[error("it is registered with other content, {digest}")]
    OtherContent {
        /// The module it points to.
        digest: Digest,
    },
    /// A bare label was asked for, and the label has versions.
    #[error("this label is registered with versions")]
    Versioned,
    /// A version was asked for, and the label is registered without one.
    #[error("this label is registered without a version")]
    Unversioned,
    /// The version was deleted, and may come back only as what it was.
    #[error("this version was registered with other content before, {digest}")]
    WasOtherContent {
        /// The module it pointed to.
        digest: Digest,
    },
}

/// Deleting failed. Nothing was deleted, unless the cause is [`DeleteError::Storage`]: then it may
/// have been.
#[derive(Debug, Error)]
pub enum DeleteError {
    /// What was to be deleted is not registered.
    #[error(transparent)]
    Registry(RegistryError),
    /// The module is not registered without a name, and others hold it.
    #[error("{digest} is in use by {by}")]
    InUse {
        /// The module.
        digest: Digest,
        /// What holds it.
        by: Holders,
    },
    /// The name is for another node to delete.
    #[error("the name `{name}` is for its owner to delete, the node {owner}")]
    OtherOwner {
        /// The name that was to be deleted.
        name: Name,
        /// The owner's peer id.
        owner: String,
    },
    /// The backend failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What keeps a module registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// How many names point to it.
    pub names: u64,
    /// How many modules link to it.
    pub links: u64,
    /// One of them, a name if there is one.
    pub example: Holder,
}

/// One holder of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A name that points to it.
    Name(Name),
    /// A module that links to it.
    Module(Digest),
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: u64, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let names = count(self.names, "name");
        let links = count(self.links, "module");
        match &self.example {
            Holder::Name(name) => write!(f, "{names} and {links}, among them the name `{name}`"),
            Holder::Module(digest) => write!(f, "{names} and {links}, among them {digest}"),
        }
    }
}
