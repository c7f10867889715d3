//! The server's settings: raw, as flags, environment and file give them, and valid, as it runs.
//!
//! Each group of settings is a file: its raw options, which clap reads from flags and environment,
//! its valid values, and the step between them, which takes the options apart field by field, so
//! that none can be forgotten. [`Sources`] adds the file's values and the defaults on the way.

mod calls;
mod capacity;
mod clients;
mod listening;
mod modules;
#[cfg(feature = "network")]
pub(crate) mod network;
mod process;
mod sessions;
mod sources;
mod storage;
mod values;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};
use wasm_exec::{Limits, SessionSettings};
use wasm_exec_engine::{CompilerPlace, EngineConfig, ModuleLimits};
use wasm_exec_server::{ApiKeys, ClientLimits, ServerConfig, TlsIdentity};

use calls::{CallOptions, CallSettings};
use capacity::{Capacity, CapacityOptions};
use clients::ClientOptions;
use listening::{Listening, ListeningOptions};
use modules::{ModuleOptions, ModuleSettings};
#[cfg(feature = "network")]
use network::{NetworkOptions, NetworkSettings};
use process::ProcessOptions;
use sessions::SessionOptions;
use sources::Sources;
use storage::{Storage, StorageOptions};

pub(crate) use process::{LogFormat, Process};
pub(crate) use sources::Line;
pub(crate) use values::{Period, Size};

/// How long requests that are being answered at the end may take; the whole end takes less than the
/// ten seconds after which service managers kill.
const DRAIN: Duration = Duration::from_secs(8);

/// How many open files are kept for what is no connection.
const OTHER_FILES: usize = 512;

/// How long a client may take to send a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings as flags and environment give them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Read settings from this TOML file, whose members are the long flags' names
    #[arg(long, env = "WASM_EXEC_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    listening: ListeningOptions,
    #[command(flatten)]
    storage: StorageOptions,
    #[cfg(feature = "network")]
    #[command(flatten)]
    network: NetworkOptions,
    #[command(flatten)]
    process: ProcessOptions,
    #[command(flatten)]
    calls: CallOptions,
    #[command(flatten)]
    modules: ModuleOptions,
    #[command(flatten)]
    clients: ClientOptions,
    #[command(flatten)]
    sessions: SessionOptions,
    #[command(flatten)]
    capacity: CapacityOptions,
}

/// The settings of a server that can be started with them.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where it listens and whom it answers.
    pub(crate) listening: Listening,
    /// Where it keeps things.
    pub(crate) storage: Storage,
    /// How it is a node of a network; `None` if it is not.
    #[cfg(feature = "network")]
    pub(crate) network: Option<NetworkSettings>,
    /// Its threads and its log.
    pub(crate) process: Process,
    calls: CallSettings,
    modules: ModuleSettings,
    clients: ClientLimits,
    sessions: SessionSettings,
    capacity: Capacity,
    /// Every setting's value, and where it comes from.
    pub(crate) lines: Vec<Line>,
}

/// Why settings are no good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file has members that mean nothing.
    #[error("{}: unknown members: {members}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Their names.
        members: String,
    },
    /// A member of the file is of another kind.
    #[error("{}: {name}: {reason}", path.display())]
    Member {
        /// The file.
        path: PathBuf,
        /// The member.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is above one that bounds it.
    #[error("{small} is more than {large}")]
    Exceeds {
        /// The one that should be smaller, its value and where it comes from.
        small: String,
        /// The other.
        large: String,
    },
    /// Fuel is counted in numbers that JSON can carry.
    #[error("fuel-maximum is {0}; it can be 1 to {most}", most = calls::MOST_FUEL)]
    FuelMaximum(u64),
    /// Every call, and every thread that serves, has such a stack.
    #[error("stack-bytes is {0}; it can be {most} at most", most = calls::MOST_STACK)]
    StackBytes(Size),
    /// The log's filter cannot be read.
    #[error("log: {filter:?} is not a filter")]
    LogFilter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// No address is left to listen on.
    #[error("listen is empty: at least one address is needed")]
    NoAddress,
    /// One setting without the other that it needs.
    #[error("{0} is set, which needs {1} as well")]
    Lacks(&'static str, &'static str),
    /// An address beyond this machine, without a word that this is meant.
    #[error(
        "listening on {0} lets anyone who can reach this machine run, register and delete modules, \
         since the server asks for no key; name a file of keys with --api-keys (`wasm-exec-api keys \
         create` makes one), or if it is meant so, add --allow-anonymous"
    )]
    Anonymous(SocketAddr),
    /// The user has no home directory.
    #[error(
        "there is no home directory for the data: name one with --data-directory, or use --memory"
    )]
    NoDataDirectory,
}

impl Options {
    /// Adds the file's values and the defaults, and checks that all fit together. `matches` is what
    /// the options were read from.
    ///
    /// # Errors
    ///
    /// When the file is no good, or settings contradict each other.
    pub(crate) fn resolve(self, matches: &ArgMatches) -> Result<Settings, SettingsError> {
        let Self {
            config,
            listening,
            storage,
            #[cfg(feature = "network")]
            network,
            process,
            calls,
            modules,
            clients,
            sessions,
            capacity,
        } = self;
        let mut sources = Sources::open(matches, config, is_setting)?;
        let listening = listening.resolve(&mut sources)?;
        let storage = storage.resolve(&mut sources)?;
        #[cfg(feature = "network")]
        let network = network.resolve(&mut sources)?;
        let process = process.resolve(&mut sources)?;
        let calls = calls.resolve(&mut sources)?;
        let modules = modules.resolve(&mut sources)?;
        let clients = clients.resolve(&mut sources)?;
        let sessions = sessions.resolve(&mut sources)?;
        let capacity = capacity.resolve(&mut sources, modules.request)?;
        let lines = sources.into_lines();
        Ok(Settings {
            listening,
            storage,
            #[cfg(feature = "network")]
            network,
            process,
            calls,
            modules,
            clients,
            sessions,
            capacity,
            lines,
        })
    }
}

/// Whether a file can have a member of this name.
fn is_setting(name: &str) -> bool {
    let options = Options::augment_args(clap::Command::new(""));
    let mut flags = options.get_arguments().filter_map(|argument| argument.get_long());
    name != "config" && flags.any(|flag| flag == name)
}

impl Settings {
    /// Lowers the number of connections to what so many open files allow, so that idle ones are closed
    /// before there are no files left for new ones, for compiled modules and compile workers.
    pub(crate) fn leave_files_for_others(&mut self, files: Option<u64>) {
        let Some(files) = files.and_then(|files| usize::try_from(files).ok()) else { return };
        let possible = files.saturating_sub(OTHER_FILES).max(files / 2).max(1);
        if self.capacity.connections > possible {
            let connections = self.capacity.connections;
            tracing::warn!(
                connections,
                files,
                possible,
                "fewer connections, for lack of open files"
            );
            self.capacity.connections = possible;
        }
    }

    /// The part that the engine is started with. Where it compiles is not a setting.
    pub(crate) fn engine(&self) -> EngineConfig {
        let Self { calls, modules, capacity, .. } = self;
        EngineConfig {
            memory_maximum: usize::try_from(calls.memory_bytes.maximum).unwrap_or(usize::MAX),
            guest_memory: calls.guest_memory,
            table_elements: calls.table_elements,
            stack_bytes: calls.stack_bytes,
            concurrent_calls: capacity.concurrent_calls,
            queued_calls: capacity.queued_calls,
            concurrent_compilations: capacity.concurrent_compilations,
            queued_compilations: capacity.queued_compilations,
            compile_timeout: modules.compile_timeout.duration(),
            compile_cpu: modules.compile_cpu.duration(),
            compile_memory_bytes: modules.compile_memory.bytes(),
            compiler: CompilerPlace::InProcess,
            module_limits: ModuleLimits::default(),
        }
    }

    /// The part that bounds requests.
    pub(crate) fn limits(&self) -> Limits {
        let Self { calls, modules, capacity, .. } = self;
        Limits {
            timeout_ms: calls.timeout_ms,
            memory_bytes: calls.memory_bytes,
            fuel_maximum: calls.fuel_maximum,
            output_bytes: calls.output_bytes,
            wasm_bytes: modules.wasm.bytes(),
            graph: modules.graph,
            ready_programs: capacity.ready_programs as u64,
            ready_bytes: capacity.ready.bytes(),
            ready_mappings: capacity.ready_mappings as u64,
            sessions: self.sessions,
        }
    }

    /// The part that the HTTP server is started with, listening on `listen`, asking for `keys` and
    /// speaking `tls`.
    pub(crate) fn server(
        &self,
        listen: Vec<SocketAddr>,
        keys: Option<ApiKeys>,
        tls: Option<TlsIdentity>,
    ) -> ServerConfig {
        let Self { listening, modules, capacity, .. } = self;
        ServerConfig {
            listen,
            hosts: listening.hosts.clone(),
            origins: listening.origins.clone(),
            keys,
            tls,
            request_bytes: modules.request.bytes(),
            bodies_bytes: capacity.bodies.bytes(),
            answers_bytes: capacity.answers.bytes(),
            body_timeout: BODY_TIMEOUT,
            connections: capacity.connections,
            client: self.clients,
            drain: DRAIN,
            ..ServerConfig::default()
        }
    }

    /// What the server may have in memory at most, in bytes, by what it is for. A network's node and a
    /// store in memory are not covered, nor is the program itself.
    pub(crate) fn memory(&self) -> Vec<(&'static str, u64)> {
        let (server, limits) = (self.server(Vec::new(), None, None), self.limits());
        let engine = self.engine();
        let mut parts = engine.memory(limits.sessions.sessions).to_vec();
        let stacks = self.process.workers.get().saturating_mul(engine.thread_stack());
        parts.push(("stacks of the threads that serve", stacks as u64));
        parts.extend(limits.memory(server.request_bytes));
        parts.extend(server.memory());
        parts.push(("the cache of the store", self.storage.cache_bytes as u64));
        if self.storage.directory.is_none() {
            parts.push(("compiled code that is kept", self.storage.artifacts_bytes));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Command, FromArgMatches};

    use super::*;

    fn defaults() -> Settings {
        let command = Options::augment_args(Command::new("test"));
        let command = command.mut_args(|option| option.env(None));
        let matches = command.get_matches_from([
            "test",
            "--data-directory",
            "data",
            "--api-keys",
            "keys.toml",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
            #[cfg(feature = "network")]
            "--p2p",
            #[cfg(feature = "network")]
            "--network-key=network.key",
        ]);
        Options::from_arg_matches(&matches).unwrap().resolve(&matches).unwrap()
    }

    #[test]
    fn every_setting_has_a_flag_a_variable_and_a_line() {
        let command = Options::augment_args(Command::new("test"));
        let mut flags = BTreeSet::new();
        for option in command.get_arguments() {
            let flag = option.get_long().unwrap();
            let variable = format!("WASM_EXEC_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(option.get_env().unwrap(), &*variable);
            flags.insert(flag);
        }
        assert!(flags.remove("config"), "it names the file, so it is not in it");
        assert!(flags.iter().all(|flag| is_setting(flag)) && !is_setting("config"));
        let settings = defaults();
        let lines = settings.lines.iter().map(|line| line.name);
        assert_eq!(lines.clone().collect::<BTreeSet<_>>(), flags);
        assert_eq!(lines.count(), flags.len());
    }

    #[test]
    fn the_defaults_are_those_of_what_they_set() {
        let settings = defaults();
        assert_eq!(settings.limits(), Limits::default());
        assert_eq!(format!("{:?}", settings.engine()), format!("{:?}", EngineConfig::default()));
        let (server, default) = (settings.server(Vec::new(), None, None), ServerConfig::default());
        assert_eq!(server.request_bytes, default.request_bytes);
        assert_eq!(server.bodies_bytes, default.bodies_bytes);
        assert_eq!(server.answers_bytes, default.answers_bytes);
        assert_eq!(server.connections, default.connections);
        assert_eq!(server.client, default.client);
    }
}
