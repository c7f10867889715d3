//! How a node is set up, as plain texts, and what they mean.

use std::fmt;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, multiaddr};
use wasm_exec_registry::Name;

/// How a node is set up. All of it is text, so that whoever reads it from flags and files needs to
/// know nothing of libp2p.
#[derive(Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The multiaddresses to listen on, such as `/ip4/0.0.0.0/udp/4001/quic-v1`.
    pub listen: Vec<String>,
    /// The multiaddresses of nodes to join by, such as `/dns4/example.org/tcp/4001/p2p/12D3KooW…`.
    pub peers: Vec<String>,
    /// The secret that all nodes of a private network have; `None` is for an open one.
    pub secret: Option<[u8; 32]>,
    /// Owners whose names are meant by names without an owner, the first first: what this node calls
    /// each, if it has a name for it, and its peer id.
    pub trust: Vec<(Option<String>, String)>,
    /// Find nodes on the local network, and be found.
    pub mdns: bool,
    /// The most bytes of a module's Wasm that is taken from others.
    pub wasm_bytes: u64,
    /// The most bytes of a module with all that it links to that are passed on and taken, as all of it
    /// is in memory when it is committed: [`MAX_CLOSURE_BYTES`](crate::MAX_CLOSURE_BYTES) or less. What
    /// is more stays on the node that it is registered on.
    pub closure_bytes: u64,
    /// What other nodes are told that this one runs, such as `wasm-exec-api/0.1.0`.
    pub agent: String,
}

/// What a [`NetworkConfig`] says, once it is read.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: Vec<Multiaddr>,
    pub(crate) trust: Vec<TrustedOwner>,
}

/// An owner whose names are meant by names without an owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TrustedOwner {
    /// A namespace that means this owner, on this node.
    pub(crate) alias: Option<String>,
    pub(crate) owner: PeerId,
}

/// Why a node cannot be set up so.
#[derive(Debug, thiserror::Error)]
pub enum InvalidNetworkConfig {
    /// Something is not a multiaddress.
    #[error("{address:?} is not a multiaddress, such as /ip4/192.0.2.7/tcp/4001")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: multiaddr::Error,
    },
    /// A node to join by is named by a peer id that is not one of a node.
    #[error("{address} does not name a node: its peer id is not that of an Ed25519 key")]
    Peer {
        /// What was given.
        address: String,
    },
    /// A trusted owner is not a peer id.
    #[error("{owner:?} is not the peer id of an Ed25519 key, such as 12D3KooW…")]
    Owner {
        /// What was given.
        owner: String,
    },
    /// What an owner is called cannot be a namespace.
    #[error("{alias:?} cannot be the name of an owner: it is no namespace, or a peer id")]
    Alias {
        /// What was given.
        alias: String,
    },
    /// Two owners are called the same.
    #[error("{alias} is the name of two owners")]
    AliasTwice {
        /// The name.
        alias: String,
    },
}

impl NetworkConfig {
    /// Reads the texts.
    pub(crate) fn parse(&self) -> Result<Setup, InvalidNetworkConfig> {
        let mut trust: Vec<TrustedOwner> = Vec::with_capacity(self.trust.len());
        for (alias, owner) in &self.trust {
            let alias = alias.as_deref().map(namespace).transpose()?;
            let is_taken = |other: &TrustedOwner| alias.is_some() && other.alias == alias;
            if let Some(alias) = trust.iter().find(|other| is_taken(other)).and(alias.clone()) {
                return Err(InvalidNetworkConfig::AliasTwice { alias });
            }
            trust.push(TrustedOwner { alias, owner: owner_id(owner)? });
        }
        Ok(Setup {
            listen: self.listen.iter().map(|text| address(text)).collect::<Result<_, _>>()?,
            peers: self.peers.iter().map(|text| peer(text)).collect::<Result<_, _>>()?,
            trust,
        })
    }
}

impl fmt::Debug for NetworkConfig {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listen, peers, secret, trust, mdns, wasm_bytes, closure_bytes, agent } = self;
        f.debug_struct("NetworkConfig")
            .field("listen", listen)
            .field("peers", peers)
            .field("is_private", &secret.is_some())
            .field("trust", trust)
            .field("mdns", mdns)
            .field("wasm_bytes", wasm_bytes)
            .field("closure_bytes", closure_bytes)
            .field("agent", agent)
            .finish()
    }
}

fn address(text: &str) -> Result<Multiaddr, InvalidNetworkConfig> {
    text.parse().map_err(|source| {
        let address = text.to_owned();
        InvalidNetworkConfig::Address { address, source }
    })
}

/// The address of a node. It need not say which node it is; whoever answers there says so.
fn peer(text: &str) -> Result<Multiaddr, InvalidNetworkConfig> {
    let address = address(text)?;
    let is_no_owner = |protocol| match protocol {
        Protocol::P2p(id) => !is_owner(&id.to_string()),
        _ => false,
    };
    if address.iter().any(is_no_owner) {
        return Err(InvalidNetworkConfig::Peer { address: text.to_owned() });
    }
    Ok(address)
}

fn owner_id(text: &str) -> Result<PeerId, InvalidNetworkConfig> {
    let invalid = || InvalidNetworkConfig::Owner { owner: text.to_owned() };
    match is_owner(text) {
        true => text.parse().map_err(|_| invalid()),
        false => Err(invalid()),
    }
}

/// Whether names can have this as their owner.
fn is_owner(id: &str) -> bool {
    format!("{id}:name").parse::<Name>().is_ok_and(|name| name.owner().is_some())
}

/// A namespace that is not an owner's id.
fn namespace(alias: &str) -> Result<String, InvalidNetworkConfig> {
    let name = format!("{alias}:name").parse::<Name>();
    match name {
        Ok(name) if name.owner().is_none() => Ok(alias.to_owned()),
        _ => Err(InvalidNetworkConfig::Alias { alias: alias.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    const BOB: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

    fn config() -> NetworkConfig {
        NetworkConfig {
            listen: Vec::new(),
            peers: Vec::new(),
            secret: None,
            trust: Vec::new(),
            mdns: false,
            wasm_bytes: 1 << 20,
            closure_bytes: 1 << 20,
            agent: "test".to_owned(),
        }
    }

    fn refusal(change: impl FnOnce(&mut NetworkConfig)) -> String {
        let mut config = config();
        change(&mut config);
        config.parse().unwrap_err().to_string()
    }

    fn trusting(owners: &[(Option<&str>, &str)]) -> NetworkConfig {
        let owned =
            |(alias, owner): &(Option<&str>, &str)| (alias.map(str::to_owned), (*owner).to_owned());
        NetworkConfig { trust: owners.iter().map(owned).collect(), ..config() }
    }

    #[test]
    fn what_is_written_well_is_read() {
        let peer = format!("/dns4/example.org/tcp/4001/p2p/{BOB}");
        let config = NetworkConfig {
            listen: vec!["/ip4/0.0.0.0/udp/4001/quic-v1".to_owned(), "/ip6/::/tcp/0".to_owned()],
            peers: vec![peer.clone(), "/ip4/192.0.2.7/tcp/4001".to_owned()],
            ..trusting(&[(Some("alice"), ALICE), (None, BOB), (Some("a2"), ALICE)])
        };
        let setup = config.parse().unwrap();
        assert_eq!(setup.listen.len(), 2);
        assert_eq!(setup.peers[0].to_string(), peer);
        let aliases: Vec<_> = setup.trust.iter().map(|owner| owner.alias.as_deref()).collect();
        assert_eq!(aliases, [Some("alice"), None, Some("a2")]);
        assert_eq!(setup.trust[1].owner.to_string(), BOB);
    }

    #[test]
    fn what_is_not_is_refused_by_its_text() {
        const HASHED: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        let refused = refusal(|config| config.listen.push("0.0.0.0:4001".to_owned()));
        assert!(refused.contains("\"0.0.0.0:4001\" is not a multiaddress"), "{refused}");
        let hashed = format!("/ip4/192.0.2.7/tcp/4001/p2p/{HASHED}");
        let refused = refusal(|config| config.peers.push(hashed.clone()));
        assert!(refused.starts_with(&hashed), "{refused}");
        for owner in ["", "alice", HASHED, &ALICE[..51]] {
            let refused = trusting(&[(None, owner)]).parse().unwrap_err();
            assert!(matches!(refused, InvalidNetworkConfig::Owner { .. }), "{owner}: {refused}");
        }
        for alias in ["", "a:b", "a@1", "sha256", "-a", BOB, HASHED] {
            let refused = trusting(&[(Some(alias), ALICE)]).parse().unwrap_err();
            assert!(matches!(refused, InvalidNetworkConfig::Alias { .. }), "{alias}: {refused}");
        }
        let twice = trusting(&[(Some("a"), ALICE), (None, BOB), (Some("a"), BOB)]);
        let refused = twice.parse().unwrap_err();
        assert!(matches!(refused, InvalidNetworkConfig::AliasTwice { .. }), "{refused}");
    }

    #[test]
    fn the_secret_is_not_printed() {
        let config = NetworkConfig { secret: Some([171; 32]), ..config() };
        let printed = format!("{config:?}");
        assert!(printed.contains("is_private: true") && !printed.contains("171"), "{printed}");
    }
}
