//! Serving: what the binary does without a subcommand.
//!
//! Everything is opened before the line that says so is printed, so whoever reads that line can send
//! requests. The first SIGTERM or SIGINT lets requests end, the second does not.

mod log;
#[cfg(feature = "network")]
mod network;
mod signals;

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use wasm_exec::{Exec, NetworkStatus, StorageError};
use wasm_exec_engine::{
    ArtifactStore, CompilerPlace, Confinement, Engine, EngineConfig, StartError, WorkerCommand,
};
use wasm_exec_registry::{Backend, DataDirectory, DataDirectoryError, RedbBackend, Registry};
use wasm_exec_server::{ApiKeys, BindError, KeyFileError, Server, TlsError, TlsIdentity};

use super::settings::{Options, Settings, SettingsError};
use signals::Signals;

/// How long tasks that are left over at the end may take.
const CLEAN_UP: Duration = Duration::from_secs(1);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The settings are no good.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The file of keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The threads that serve cannot be started.
    #[error("cannot start the threads that serve")]
    Runtime(#[source] io::Error),
    /// The signals to stop cannot be waited for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The registry cannot be opened.
    #[error("cannot open the registry {}", path.display())]
    Registry {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: StorageError,
    },
    /// The registry's file is damaged.
    #[error(
        "cannot read the registry {}; restore it from a backup, or move it away to begin with an \
         empty one", path.display()
    )]
    DamagedRegistry {
        /// Its file.
        path: PathBuf,
        /// What was found.
        source: StorageError,
    },
    /// The registry in memory cannot be made.
    #[error("cannot make a registry in memory")]
    RegistryInMemory(#[source] StorageError),
    /// The server cannot be a node of a network.
    #[cfg(feature = "network")]
    #[error(transparent)]
    Node(#[from] network::NodeError),
    /// The place for compiled modules cannot be opened.
    #[error("cannot open the directory of compiled modules {}", path.display())]
    Artifacts {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program cannot be found, which compiles in processes of its own.
    #[error("cannot find the file of this program")]
    Program(#[source] io::Error),
    /// The engine cannot be started.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Serves until a signal ends it.
///
/// # Errors
///
/// When the server cannot start.
pub(crate) fn execute(options: Options, matches: &ArgMatches) -> Result<(), ServeError> {
    let mut settings = options.resolve(matches)?;
    log::start(&settings.process);
    settings.leave_files_for_others(raise_open_files());
    // Before the runtime and so closed after it: whatever tasks still write is in a locked directory.
    let data = settings.storage.directory.as_deref().map(DataDirectory::open).transpose()?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(settings.process.workers.get())
        .thread_name("serve")
        .thread_stack_size(settings.engine().thread_stack())
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let served = runtime.block_on(serve(&settings, data.as_ref()));
    runtime.shutdown_timeout(CLEAN_UP);
    served
}

async fn serve(settings: &Settings, data: Option<&DataDirectory>) -> Result<(), ServeError> {
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let keys = settings.listening.api_keys.as_deref().map(ApiKeys::open).transpose()?;
    let tls = settings.listening.tls.as_ref();
    let tls = tls.map(|files| TlsIdentity::open(&files.certificate, &files.key)).transpose()?;
    let exec = open(settings, data).await?;
    let (confinement, network) = (exec.confinement(), exec.network());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = bind(settings, keys, tls, exec).await?;
    let directory = data.map(DataDirectory::path);
    announce(scheme, server.addresses(), directory, confinement, network.as_deref());
    let shutdown = async move {
        signals.next().await;
        tracing::info!("shutting down");
        tokio::spawn(signals.exit_at_next());
    };
    server.run(shutdown).await;
    Ok(())
}

/// Opens the store, and starts the engine over it.
async fn open(settings: &Settings, data: Option<&DataDirectory>) -> Result<Exec, ServeError> {
    let storage = &settings.storage;
    let (backend, artifacts) = match data {
        Some(data) => {
            let path = data.registry_path();
            let backend = RedbBackend::open(&path, storage.cache_bytes)
                .map_err(|error| registry_error(path, error))?;
            let path = data.artifacts_path();
            let artifacts = ArtifactStore::open(&path, storage.artifacts_bytes)
                .map_err(|source| ServeError::Artifacts { path, source })?;
            (backend, artifacts)
        }
        None => {
            let backend = RedbBackend::in_memory(storage.cache_bytes)
                .map_err(ServeError::RegistryInMemory)?;
            (backend, ArtifactStore::in_memory(storage.artifacts_bytes))
        }
    };
    let compiler = CompilerPlace::Workers(compile_worker().map_err(ServeError::Program)?);
    let engine = Engine::new(EngineConfig { compiler, ..settings.engine() }, artifacts)?;
    let backend = join(settings, data, backend).await?;
    Ok(Exec::new(engine, Registry::new(backend), settings.limits()))
}

/// Makes the store a node of a network, if it is to be one.
#[cfg(feature = "network")]
async fn join(
    settings: &Settings,
    data: Option<&DataDirectory>,
    local: RedbBackend,
) -> Result<Arc<dyn Backend>, ServeError> {
    let Some(network) = &settings.network else {
        return Ok(Arc::new(local));
    };
    let partial = data.map(DataDirectory::partial_path);
    let wasm_bytes = settings.limits().wasm_bytes;
    Ok(Arc::new(network::open(network, local, partial, wasm_bytes).await?))
}

/// There is no network in this build.
#[cfg(not(feature = "network"))]
async fn join(
    _: &Settings,
    _: Option<&DataDirectory>,
    local: RedbBackend,
) -> Result<Arc<dyn Backend>, ServeError> {
    Ok(Arc::new(local))
}

fn registry_error(path: PathBuf, source: StorageError) -> ServeError {
    match source {
        StorageError::Corrupt { .. } => ServeError::DamagedRegistry { path, source },
        StorageError::Full(_) | StorageError::ReadOnly(_) | StorageError::Io(_) => {
            ServeError::Registry { path, source }
        }
    }
}

/// How a process that compiles is started: as this program, by the hidden subcommand.
fn compile_worker() -> io::Result<WorkerCommand> {
    // The kernel's own link leads to the program that runs, also after its file was replaced.
    let running = PathBuf::from("/proc/self/exe");
    let program = if running.exists() { running } else { std::env::current_exe()? };
    Ok(WorkerCommand { program, args: vec!["compile-worker".into()] })
}

/// Listens. A machine without IPv6 has no `::1`, which matters only where it was asked for.
async fn bind(
    settings: &Settings,
    keys: Option<ApiKeys>,
    tls: Option<TlsIdentity>,
    exec: Exec,
) -> Result<Server, BindError> {
    let listening = &settings.listening;
    let all = settings.server(listening.addresses.clone(), keys.clone(), tls.clone());
    match Server::bind(all, exec.clone()).await {
        Err(error) if listening.are_default && lacks_ipv6(&error) => {
            let addresses = listening.addresses.iter().copied().filter(SocketAddr::is_ipv4);
            Server::bind(settings.server(addresses.collect(), keys, tls), exec).await
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &BindError) -> bool {
    let errno = Errno::from_io_error(&error.source);
    error.address.is_ipv6() && matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// Says on stdout that the server is ready, where it listens, where it keeps things, which node it is
/// and what confines the processes that compile.
fn announce(
    scheme: &str,
    addresses: &[SocketAddr],
    directory: Option<&Path>,
    confinement: Option<Confinement>,
    network: Option<&NetworkStatus>,
) {
    const VERSION: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let urls: Vec<_> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
    let urls = urls.join(" and ");
    let store = match directory {
        Some(directory) => super::printable(&directory.to_string_lossy()),
        None => "in memory".to_owned(),
    };
    let example = addresses.first().map_or_else(String::new, |address| {
        // A certificate is hardly ever for the address.
        let flags = if scheme == "https" { "-sk" } else { "-s" };
        format!("; try: curl {flags} {scheme}://{}/", reachable(*address))
    });
    let compilers = confinement
        .map_or_else(String::new, |confinement| format!(", compilers confined by {confinement}"));
    let node = network.map_or_else(String::new, |network| format!(", node {}", network.peer_id));
    let join = network.and_then(joining_address).map_or_else(String::new, |address| {
        format!("; join with: {} --p2p --peer {address}", env!("CARGO_PKG_NAME"))
    });
    // A server whose stdout nobody reads serves all the same. The line break flushes.
    let _ = writeln!(
        io::stdout(),
        "{VERSION} listening on {urls}, store {store}{node}{compilers}{example}{join}"
    );
}

/// An address by which others can join: one that leads here from other machines, if there is one.
fn joining_address(network: &NetworkStatus) -> Option<&str> {
    let is_loopback =
        |address: &&String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
    let beyond = network.addresses.iter().find(|address| !is_loopback(address));
    beyond.or(network.addresses.first()).map(String::as_str)
}

/// The address by which this machine reaches a listener: for "all addresses", loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            address.set_ip(Ipv4Addr::LOCALHOST.into())
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            address.set_ip(Ipv6Addr::LOCALHOST.into())
        }
        _ => {}
    }
    address
}

/// Lets the process have as many open files as it may: each connection is one, and the soft limit is
/// 1024 for the sake of programs that cannot count further. Says how many it may have then; `None` is
/// any number.
fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, soft = ?limit.current, "cannot raise the limit of open files");
    }
    getrlimit(Resource::Nofile).current
}
