//! Starting a node of the peer-to-peer network over the embedded store.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use wasm_exec_network::{MAX_CLOSURE_BYTES, NetworkBackend, NetworkConfig, NetworkError};
use wasm_exec_registry::RedbBackend;

use crate::cli::settings::network::{
    DEFAULT_PORT, NetworkKey, NetworkSettings, listen_on, parse_key,
};

/// What other nodes are told that this one runs.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The most bytes of a file that holds a key: the digits, and what white space there may be.
const MAX_KEY_FILE: u64 = 1024;

/// Why the server cannot be a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The file of the network's key cannot be read.
    #[error("cannot read the network key {}", path.display())]
    ReadKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is not a network key: it has to hold 64 hex digits", path.display())]
    InvalidKey {
        /// The file.
        path: PathBuf,
    },
    /// The node cannot be started.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// Starts a node that keeps everything in `local`, and what it has in part of what it is sent in the
/// directory `partial`, or in memory. It takes modules of at most `wasm_bytes` bytes.
///
/// # Errors
///
/// When the settings are no good, or there is no listening where they say.
pub(super) async fn open(
    settings: &NetworkSettings,
    local: RedbBackend,
    partial: Option<PathBuf>,
    wasm_bytes: u64,
) -> Result<NetworkBackend, NodeError> {
    let secret = settings.key.as_ref().map(secret).transpose()?;
    let config = NetworkConfig {
        listen: settings.listen.clone().unwrap_or_else(default_addresses),
        peers: settings.peers.clone(),
        secret,
        trust: settings.trust.clone(),
        mdns: settings.mdns,
        wasm_bytes,
        closure_bytes: MAX_CLOSURE_BYTES,
        agent: AGENT.to_owned(),
    };
    Ok(NetworkBackend::open(local, partial, config).await?)
}

fn secret(key: &NetworkKey) -> Result<[u8; 32], NodeError> {
    let path = match key {
        NetworkKey::Secret(secret) => return Ok(*secret),
        NetworkKey::File(path) => path,
    };
    let text = read_start(path).map_err(|source| {
        let path = path.clone();
        NodeError::ReadKey { path, source }
    })?;
    parse_key(&text).ok_or_else(|| NodeError::InvalidKey { path: path.clone() })
}

fn read_start(path: &Path) -> io::Result<String> {
    use io::Read;

    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_KEY_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Where a node listens if nothing is said: on the port that others would guess, unless it is taken,
/// as by another node on this machine.
fn default_addresses() -> Vec<String> {
    listen_on(if is_free(DEFAULT_PORT) { DEFAULT_PORT } else { 0 })
}

/// Whether nobody listens on a port. libp2p would share one by TCP with whoever shares it, too, and
/// each would get some of the other's connections; the standard library's listeners do not share.
fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(socket.local_addr().unwrap().port()));
    }
}
