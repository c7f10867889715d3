//! Settings of where the server listens and whom it answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::SettingsError;
use super::sources::Sources;
use super::values::{HostName, ListenAddress, WebOrigin};

const DEFAULT_PORT: u16 = 4000;

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(super) struct ListeningOptions {
    /// Port of addresses that have none of their own; 0 takes any that is free [default: 4000]
    #[arg(short, long, env = "WASM_EXEC_PORT")]
    port: Option<u16>,
    /// Listen on IP or IP:PORT; repeatable [default: 127.0.0.1 and ::1]
    #[arg(long, env = "WASM_EXEC_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    listen: Option<Vec<ListenAddress>>,
    /// Answer to this Host as well as to this machine's own names; repeatable
    #[arg(long, env = "WASM_EXEC_HOST", value_name = "NAME", value_delimiter = ',')]
    host: Option<Vec<HostName>>,
    /// Answer web pages of this origin, such as https://example.org; repeatable
    #[arg(long, env = "WASM_EXEC_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    allow_origin: Option<Vec<WebOrigin>>,
    /// Ask every request for one of the keys in this file, which `keys create` makes
    #[arg(long, env = "WASM_EXEC_API_KEYS", value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Speak TLS with the certificate in this PEM file, followed by those that lead to a known one
    #[arg(long, env = "WASM_EXEC_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, env = "WASM_EXEC_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Listen beyond this machine without keys, although anyone who gets through can run and register modules
    #[arg(
        long,
        env = "WASM_EXEC_ALLOW_ANONYMOUS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    allow_anonymous: Option<bool>,
}

/// Where the server listens and whom it answers.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The addresses, at least one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whether an address that this machine does not have is left out: nobody asked for these.
    pub(crate) are_default: bool,
    /// Hosts besides this machine's own names.
    pub(crate) hosts: Vec<String>,
    /// Foreign origins that are answered.
    pub(crate) origins: Vec<String>,
    /// The file of keys that requests need; `None` asks for none.
    pub(crate) api_keys: Option<PathBuf>,
    /// The files of TLS; `None` speaks none.
    pub(crate) tls: Option<TlsFiles>,
}

/// Where the certificate of TLS is, and its key.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    /// The certificate's file.
    pub(crate) certificate: PathBuf,
    /// The key's file.
    pub(crate) key: PathBuf,
}

impl ListeningOptions {
    pub(super) fn resolve(self, sources: &mut Sources<'_>) -> Result<Listening, SettingsError> {
        let Self { port, listen, host, allow_origin, api_keys, tls_cert, tls_key, allow_anonymous } =
            self;
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let loopback = loopback.map(ListenAddress::Ip).to_vec();
        let port = sources.pick("port", port, DEFAULT_PORT)?;
        let listen = sources.pick("listen", listen, loopback.clone())?;
        let hosts = sources.pick("host", host, Vec::new())?;
        let origins = sources.pick("allow-origin", allow_origin, Vec::new())?;
        let api_keys = sources.find("api-keys", api_keys)?;
        let tls_cert = sources.find("tls-cert", tls_cert)?;
        let tls_key = sources.find("tls-key", tls_key)?;
        let tls = match (tls_cert, tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(SettingsError::Lacks("tls-cert", "tls-key")),
            (None, Some(_)) => return Err(SettingsError::Lacks("tls-key", "tls-cert")),
        };
        let allow_anonymous = sources.pick("allow-anonymous", allow_anonymous, false)?;
        let addresses: Vec<_> = listen.iter().map(|listen| listen.with_port(port)).collect();
        if addresses.is_empty() {
            return Err(SettingsError::NoAddress);
        }
        let foreign = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        match addresses.iter().find(foreign) {
            Some(address) if !allow_anonymous && api_keys.is_none() => {
                Err(SettingsError::Anonymous(*address))
            }
            _ => Ok(Listening {
                addresses,
                // By value, so that a printed configuration means the same when it is read again.
                are_default: listen == loopback,
                hosts: hosts.iter().map(HostName::to_string).collect(),
                origins: origins.iter().map(WebOrigin::to_string).collect(),
                api_keys,
                tls,
            }),
        }
    }
}
