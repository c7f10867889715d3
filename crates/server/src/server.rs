//! The server as a value: bind, run, shut down.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use wasm_exec::{Exec, mapped};

use crate::access::Access;
use crate::answer::Answers;
use crate::app::App;
use crate::body::Bodies;
use crate::client::ClientLimits;
use crate::connection::{self, CONNECTION_BYTES};
use crate::connections::{ConnectionLimits, Connections};
use crate::keys::{ApiKeys, Keys};
use crate::serve::Service;
use crate::tls::{Tls, TlsIdentity};

/// How long accepting pauses when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many connections the kernel keeps until they are accepted, if the system allows as many (Linux
/// does by default). Those of one moment beyond it are made to come again after a second, honest ones
/// among them.
const BACKLOG: u32 = 4096;

/// How many bytes of answers the kernel keeps for a connection beyond those that are on their way. It
/// would take megabytes more from a client that does not read, with the time to copy them.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 << 10;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Names besides loopback's that the `Host` header may have.
    pub hosts: Vec<String>,
    /// Origins of web pages that may use the server: `https://example.org`.
    pub origins: Vec<String>,
    /// The keys that requests have to be sent with; `None` asks for none.
    pub keys: Option<ApiKeys>,
    /// The certificate and key of TLS, which is then spoken on all addresses; `None` speaks none.
    pub tls: Option<TlsIdentity>,
    /// The most bytes a request's body may have, decompressed.
    pub request_bytes: u64,
    /// About how many bytes all bodies together may take while they are worked on.
    pub bodies_bytes: u64,
    /// About how many bytes all large answers together may take until their clients have taken them.
    pub answers_bytes: u64,
    /// How long a client may take to send a request's body.
    pub body_timeout: Duration,
    /// How many connections may be open. When one more comes, the one on which nothing has run for
    /// longest is closed.
    pub connections: usize,
    /// What one client may do.
    pub client: ClientLimits,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a client may ask nothing, or take nothing of an answer.
    pub idle_timeout: Duration,
    /// How long requests that run may take to end after shutting down began.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 4000))],
            hosts: Vec::new(),
            origins: Vec::new(),
            keys: None,
            tls: None,
            request_bytes: 97 << 20,
            bodies_bytes: 512 << 20,
            answers_bytes: 512 << 20,
            body_timeout: Duration::from_secs(30),
            connections: 10_000,
            client: ClientLimits::default(),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(8),
        }
    }
}

impl ServerConfig {
    /// What requests and answers may have in memory at most, in bytes, by what it is for. What the kernel
    /// keeps for connections is not covered.
    pub fn memory(&self) -> [(&'static str, u64); 3] {
        let connections = self.connections as u64;
        [
            ("bodies of requests", mapped::most(self.bodies_bytes.max(2 * self.request_bytes))),
            ("answers", mapped::most(self.answers_bytes)),
            ("connections", connections.saturating_mul(CONNECTION_BYTES)),
        ]
    }
}

/// An address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}", self.address)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: App,
    service: Service,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    connections: Arc<Connections>,
    tls: Option<Arc<Tls>>,
    drain: Duration,
}

impl Server {
    /// Listens on all addresses; requests wait until [`run`](Self::run). When several addresses ask
    /// for port 0, they get the same one.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be listened on.
    pub async fn bind(config: ServerConfig, exec: Exec) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for mut address in config.listen {
            if address.port() == 0
                && let Some(first) = addresses.first()
            {
                address.set_port(first.port());
            }
            let error = |source| BindError { address, source };
            let listener = listen(address).map_err(error)?;
            bound_unsent(&listener);
            addresses.push(listener.local_addr().map_err(error)?);
            listeners.push(listener);
        }
        let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
        let beyond = addresses.iter().any(|address| !loopback(address.ip()));
        let keys = config.keys.map(|keys| Arc::new(Keys::new(keys, exec.clone())));
        let mut access = Access::new(&config.hosts, &config.origins, beyond);
        if keys.is_some() {
            access = access.for_any_host();
        }
        if config.tls.is_some() {
            access = access.over_tls();
        }
        let bodies = Bodies::new(config.request_bytes, config.bodies_bytes, config.body_timeout);
        let answers = Answers::new(config.answers_bytes, config.idle_timeout);
        let app = App::new(exec, bodies, answers, access, keys);
        Ok(Self {
            service: Service::new(app.clone()),
            app,
            listeners,
            addresses,
            connections: Arc::new(Connections::new(ConnectionLimits {
                total: config.connections,
                client: config.client,
                head_timeout: config.head_timeout,
                idle_timeout: config.idle_timeout,
            })),
            tls: config.tls.map(|identity| Arc::new(Tls::new(identity))),
            drain: config.drain,
        })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` is ready, then takes nothing new and waits for what runs, for as long
    /// as the configuration allows.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut working = JoinSet::new();
        for listener in self.listeners {
            working.spawn(accept(
                listener,
                self.app.clone(),
                self.service.clone(),
                Arc::clone(&self.connections),
                self.tls.clone(),
            ));
        }
        let connections = Arc::clone(&self.connections);
        working.spawn(async move { connections.sweep().await });
        if let Some(keys) = self.app.keys.clone() {
            working.spawn(keys.watch());
        }
        if let Some(tls) = self.tls {
            working.spawn(tls.watch());
        }
        shutdown.await;
        self.app.shut_down();
        self.app.exec.end_sessions();
        working.shutdown().await;
        self.connections.finish();
        if tokio::time::timeout(self.drain, self.connections.ended()).await.is_err() {
            tracing::warn!(drain_ms = self.drain.as_millis(), "requests were still running");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // So that a server can start where another has just ended.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Bounds what the kernel keeps for each connection, which inherits it from its listener.
fn bound_unsent(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "the kernel keeps as much of answers as it likes");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

async fn accept(
    listener: TcpListener,
    app: App,
    service: Service,
    connections: Arc<Connections>,
    tls: Option<Arc<Tls>>,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // The connection broke before it was taken, or there are no descriptors left.
                tracing::debug!(%error, "accepting failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let admitted = match connections.admit(address.ip()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                tracing::debug!(%address, ?refusal, "a connection is refused");
                app.metrics.refused_connections.inc();
                continue;
            }
        };
        let (app, service) = (app.clone(), service.clone());
        let tls = tls.as_deref().map(Tls::acceptor);
        tokio::spawn(async move {
            app.metrics.connections.inc();
            connection::serve(stream, tls, service, &admitted).await;
            app.metrics.connections.dec();
            drop(admitted);
        });
    }
}
