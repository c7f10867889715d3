//! Settings of the peer-to-peer network.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::{Deserialize, Serialize, Serializer};

use super::SettingsError;
use super::sources::Sources;

/// The port that nodes listen on, if it is free.
pub(crate) const DEFAULT_PORT: u16 = 4001;

/// Hex digits of a network's key.
const KEY_DIGITS: usize = 64;

/// The settings as they are given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkOptions {
    /// Be a node of a peer-to-peer network: what is registered on one can be called on all
    #[arg(
        long,
        env = "WASM_EXEC_P2P",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    p2p: Option<bool>,
    /// Join by this node, such as /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…; repeatable
    #[arg(long, env = "WASM_EXEC_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    peer: Option<Vec<String>>,
    /// Listen for nodes here; repeatable [default: QUIC and TCP on port 4001, or any if that is taken]
    #[arg(long, env = "WASM_EXEC_P2P_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    p2p_listen: Option<Vec<String>>,
    /// Talk only to nodes with the same secret: 64 hex digits, or a file that holds them
    #[arg(long, env = "WASM_EXEC_NETWORK_KEY", value_name = "HEX|FILE", hide_env_values = true)]
    network_key: Option<NetworkKey>,
    /// Mean this node's modules by names without an owner, and call it so; repeatable, the first first
    #[arg(long, env = "WASM_EXEC_TRUST", value_name = "[ALIAS=]PEERID", value_delimiter = ',')]
    trust: Option<Vec<String>>,
    /// Do not look for nodes on the local network, and do not be found there
    #[arg(
        long,
        env = "WASM_EXEC_NO_MDNS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    no_mdns: Option<bool>,
}

/// How the server is a node of a network. Addresses and ids are checked when it starts.
#[derive(Debug)]
pub(crate) struct NetworkSettings {
    /// Multiaddresses of nodes to join by.
    pub(crate) peers: Vec<String>,
    /// Multiaddresses to listen on; `None` is any, [`DEFAULT_PORT`] if that is free.
    pub(crate) listen: Option<Vec<String>>,
    /// The secret of a private network; `None` is for an open one.
    pub(crate) key: Option<NetworkKey>,
    /// Aliases and peer ids of trusted owners, in their order.
    pub(crate) trust: Vec<(Option<String>, String)>,
    /// Whether nodes are found on the local network.
    pub(crate) mdns: bool,
}

/// The secret of a private network, or where it is.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub(crate) enum NetworkKey {
    /// The secret.
    Secret([u8; 32]),
    /// A file that holds it, as hex digits.
    File(PathBuf),
}

impl NetworkOptions {
    pub(super) fn resolve(
        self,
        sources: &mut Sources<'_>,
    ) -> Result<Option<NetworkSettings>, SettingsError> {
        let Self { p2p, peer, p2p_listen, network_key, trust, no_mdns } = self;
        let said = sources.find("p2p", p2p)?;
        let is_node = match said {
            Some(p2p) => p2p,
            None => sources.default("p2p", cfg!(feature = "p2p")),
        };
        let peers = sources.pick("peer", peer, Vec::new())?;
        let default = listen_on(DEFAULT_PORT);
        let listen = sources.pick("p2p-listen", p2p_listen, default.clone())?;
        let key = sources.find("network-key", network_key)?;
        let trust = sources.pick("trust", trust, Vec::new())?;
        let mdns = !sources.pick("no-mdns", no_mdns, false)?;
        if !is_node {
            // Who names a network means to be in it, unless it is said that this is not so.
            return match (said, &key) {
                (None, _) if !peers.is_empty() => Err(SettingsError::Lacks("peer", "p2p")),
                (None, Some(_)) => Err(SettingsError::Lacks("network-key", "p2p")),
                _ => Ok(None),
            };
        }
        Ok(Some(NetworkSettings {
            peers,
            // By value, so that a printed configuration means the same when it is read again.
            listen: (listen != default).then_some(listen),
            key,
            trust: trust.iter().map(|text| trusted(text)).collect(),
            mdns,
        }))
    }
}

/// The addresses of all of this machine, by QUIC and by TCP; port 0 is any that is free.
pub(crate) fn listen_on(port: u16) -> Vec<String> {
    vec![format!("/ip4/0.0.0.0/udp/{port}/quic-v1"), format!("/ip4/0.0.0.0/tcp/{port}")]
}

fn trusted(text: &str) -> (Option<String>, String) {
    match text.split_once('=') {
        Some((alias, owner)) => (Some(alias.to_owned()), owner.to_owned()),
        None => (None, text.to_owned()),
    }
}

/// The secret that a text holds, around which there may be white space.
pub(crate) fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let mut key = [0; 32];
    (text.len() == KEY_DIGITS && const_hex::decode_to_slice(text, &mut key).is_ok()).then_some(key)
}

impl From<String> for NetworkKey {
    fn from(text: String) -> Self {
        match parse_key(&text) {
            Some(key) => Self::Secret(key),
            None => Self::File(text.into()),
        }
    }
}

impl FromStr for NetworkKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl Serialize for NetworkKey {
    /// Without the secret: where settings are printed, they are shown to others.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Secret(_) => serializer.serialize_str("(hidden)"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

impl std::fmt::Debug for NetworkKey {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("(hidden)"),
            Self::File(path) => path.fmt(f),
        }
    }
}
