//! `keys`: making, listing and revoking API keys, in a file that a server is given with
//! `--api-keys`.

mod edit;

use std::fmt::Write;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use wasm_exec::RequestedLimits;
use wasm_exec_server::{
    ApiKey, CallQuota, InvalidKeyFile, InvalidRecord, KeyFile, KeyFileError, KeyName, KeyRecord,
    Namespace, NoRandomness, Per, RequestRate, Scope,
};

use super::settings::{Period, Size};

/// What to do with keys.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key, print it once, and keep its hash in the file
    Create(Box<CreateArgs>),
    /// List the file's keys, which says everything of them but the keys
    List(FileArgs),
    /// Remove a key from the file
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The file of keys
    #[arg(long)]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// What to call the key; also in the server's log
    #[arg(long)]
    name: KeyName,
    /// What it lets its holder do: call, register or admin; repeatable
    #[arg(long, required = true, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// Let it write to this namespace, and to others only if they are named too; repeatable
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    namespace: Vec<Namespace>,
    /// Requests per second [default: any number]
    #[arg(long, value_name = "N")]
    requests_per_second: Option<f64>,
    /// Requests at once after a pause [default: as many as in a second]
    #[arg(long, value_name = "N", requires = "requests_per_second")]
    burst: Option<u32>,
    /// Calls in each period [default: any number]
    #[arg(long, value_name = "N", requires = "per")]
    calls: Option<NonZeroU64>,
    /// Seconds that calls may take together in each period [default: any number]
    #[arg(long, value_name = "N", requires = "per")]
    call_seconds: Option<NonZeroU64>,
    /// The period: minute, hour, day or week
    #[arg(long, value_name = "PERIOD")]
    per: Option<Per>,
    /// Bytes that all it registers may hold together [default: any number]
    #[arg(long, value_name = "SIZE")]
    stored_bytes: Option<Size>,
    /// Most time that one call may ask for [default: the server's]
    #[arg(long, value_name = "TIME")]
    timeout_maximum: Option<Period>,
    /// Most memory that one call may ask for [default: the server's]
    #[arg(long, value_name = "SIZE")]
    memory_maximum: Option<Size>,
    /// Most fuel that one call may ask for [default: the server's]
    #[arg(long, value_name = "N")]
    fuel_maximum: Option<NonZeroU64>,
    /// Most output that one call may ask for [default: the server's]
    #[arg(long, value_name = "SIZE")]
    output_maximum: Option<Size>,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The key's name or id
    #[arg(value_name = "NAME|ID")]
    key: String,
}

/// Why nothing was done with keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// What the key was to be contradicts itself.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// There is no key without randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The file would be no good with the change.
    #[error("{} is not changed", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What would be wrong with it.
        source: InvalidKeyFile,
    },
    /// The name is another key's.
    #[error("there is a key with the name or id {name} in {} already", path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The name.
        name: KeyName,
    },
    /// No key has this name or id.
    #[error("there is no key with the name or id {key:?} in {}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        key: String,
    },
    /// The record cannot be written as TOML.
    #[error("the key's record cannot be written as TOML")]
    Unwritable(#[from] toml::ser::Error),
    /// The file cannot be changed.
    #[error("cannot {action} {}", path.display())]
    Write {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Stdout cannot be written, and with it the only copy of the key is gone.
    #[error("cannot print the key {name}, which nobody has now: revoke it")]
    Lost {
        /// Its name.
        name: KeyName,
        /// Why not.
        source: io::Error,
    },
    /// Stdout cannot be written.
    #[error("cannot print the keys")]
    Print(#[source] io::Error),
}

/// Makes, lists or revokes keys.
///
/// # Errors
///
/// When the file cannot be used, or what is asked for does not fit it.
pub(crate) fn execute(args: KeysArgs) -> Result<(), KeysError> {
    match args.command {
        KeysCommand::Create(args) => create(*args),
        KeysCommand::List(FileArgs { file }) => {
            let text = listing(&KeyFile::read(&file)?)?;
            super::print(&text).map_err(KeysError::Print)
        }
        KeysCommand::Revoke(RevokeArgs { file, key }) => revoke(&file.file, key),
    }
}

fn create(args: CreateArgs) -> Result<(), KeysError> {
    let path = args.file.file.clone();
    let key = ApiKey::generate()?;
    let record = args.record(&key)?;
    let name = record.name.clone();
    edit::edit(&path, edit::Missing::IsEmpty, |file, text| {
        if find(file, name.as_str()).is_some() {
            return Err(KeysError::Taken { path: path.clone(), name: name.clone() });
        }
        edit::append(text, record)
    })?;
    super::print(&format!("{}\n", key.reveal())).map_err(|source| KeysError::Lost { name, source })
}

impl CreateArgs {
    fn record(self, key: &ApiKey) -> Result<KeyRecord, InvalidRecord> {
        let Self {
            file: _,
            name,
            mut scope,
            namespace,
            requests_per_second,
            burst,
            calls,
            call_seconds,
            per,
            stored_bytes,
            timeout_maximum,
            memory_maximum,
            fuel_maximum,
            output_maximum,
        } = self;
        scope.sort_unstable();
        scope.dedup();
        let rate = requests_per_second.map(|per_second| RequestRate::new(per_second, burst));
        let quota = per.map(|per| CallQuota::new(per, calls, call_seconds));
        Ok(KeyRecord {
            name,
            id: key.id(),
            hash: key.hash(),
            scopes: scope,
            namespaces: (!namespace.is_empty()).then(|| namespace.into_iter().collect()),
            rate: rate.transpose()?,
            quota: quota.transpose()?,
            stored_bytes: stored_bytes.and_then(|size| NonZeroU64::new(size.bytes())),
            maxima: RequestedLimits {
                timeout_ms: timeout_maximum.map(Period::milliseconds),
                memory_bytes: memory_maximum.map(Size::bytes),
                fuel: fuel_maximum.map(NonZeroU64::get),
                output_bytes: output_maximum.map(Size::bytes),
            },
        })
    }
}

fn revoke(path: &Path, key: String) -> Result<(), KeysError> {
    edit::edit(path, edit::Missing::IsAnError, |file, text| match find(file, &key) {
        Some(index) => edit::remove(text, index).map_err(|error| {
            let source = InvalidKeyFile { line: None, reason: error.message().to_owned() };
            KeysError::Refused { path: path.to_owned(), source }
        }),
        None => Err(KeysError::Unknown { path: path.to_owned(), key: key.clone() }),
    })
}

/// Where the key with this name or id is.
fn find(file: &KeyFile, key: &str) -> Option<usize> {
    file.keys.iter().position(|record| record.name.as_str() == key || record.id.to_string() == key)
}

/// A line for each key: its name, id and scopes, and then what else is said of it.
fn listing(file: &KeyFile) -> Result<String, KeysError> {
    let mut text = String::new();
    for record in &file.keys {
        let scopes: Vec<_> = record.scopes.iter().map(Scope::to_string).collect();
        // Writing to a string cannot fail.
        let _ = write!(text, "{} {} {}", record.name, record.id, scopes.join(","));
        for (member, value) in toml::Table::try_from(record)? {
            if !["name", "id", "hash", "scopes"].contains(&member.as_str()) {
                let _ = write!(text, " {member}={value}");
            }
        }
        text.push('\n');
    }
    Ok(text)
}
