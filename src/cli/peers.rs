//! `peers`: how the network is, as a server that runs sees it.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use clap::Args;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::runtime;

use super::printable;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of an answer: some ten thousand peers.
const MAX_ANSWER: usize = 16 << 20;

/// Which server to ask.
#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// Where the server listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
    url: Uri,
    /// A key with the scope admin, if the server asks for keys
    #[arg(long, env = "WASM_EXEC_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<String>,
}

/// Why nothing is known of the network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeersError {
    /// The URL is of another kind.
    #[error("{0} is not an http:// URL, which is all that can be asked")]
    Url(Uri),
    /// There is no runtime to ask in.
    #[error("cannot start to ask")]
    Runtime(#[source] io::Error),
    /// The key cannot be sent.
    #[error("the key cannot be sent")]
    Request(#[from] http::Error),
    /// Nobody listens there.
    #[error("cannot connect to {0}")]
    Connect(Uri, #[source] io::Error),
    /// The server speaks no HTTP, or stopped.
    #[error("cannot ask {0}")]
    Ask(Uri, #[source] hyper::Error),
    /// The answer broke off, or is too large.
    #[error("cannot read the answer of {0}")]
    Read(Uri, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server took too long.
    #[error("{0} did not answer within {PATIENCE:?}")]
    Timeout(Uri),
    /// The server refuses, or is not a node.
    #[error("{detail} ({status})")]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// What it says.
        detail: String,
    },
    /// The answer is not what was asked for.
    #[error("what answers there is no node of this version")]
    Answer(#[source] serde_json::Error),
    /// Stdout cannot be written.
    #[error("cannot print the peers")]
    Print(#[source] io::Error),
}

/// What is shown of the answer.
#[derive(Debug, Deserialize)]
struct Network {
    peer_id: String,
    addresses: Vec<String>,
    peers: Vec<Peer>,
}

#[derive(Debug, Deserialize)]
struct Peer {
    peer_id: String,
    addresses: Vec<String>,
    rtt_ms: Option<f64>,
    agent: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    detail: String,
}

/// Asks a server, and prints which node it is and a line for each of its peers.
///
/// # Errors
///
/// When there is no answer, or the server is not a node.
pub(crate) fn execute(args: &PeersArgs) -> Result<(), PeersError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(PeersError::Runtime)?;
    let asked = async { tokio::time::timeout(PATIENCE, ask(args)).await };
    let asked = runtime.block_on(asked).map_err(|_| PeersError::Timeout(args.url.clone()))?;
    super::print(&table(&asked?)).map_err(PeersError::Print)
}

async fn ask(PeersArgs { url, key }: &PeersArgs) -> Result<Network, PeersError> {
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(PeersError::Url(url.clone()));
    };
    let path = format!("{}/v1/network", url.path().trim_end_matches('/'));
    let mut request = Request::get(path).header(HOST, authority.as_str());
    request = request.header(ACCEPT, "application/json");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.body(Empty::<bytes::Bytes>::new())?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| PeersError::Connect(url.clone(), error))?;
    let failed = |error| PeersError::Ask(url.clone(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // What fails on it fails the request as well.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| PeersError::Read(url.clone(), error))?.to_bytes();
    match status {
        StatusCode::OK => parse(&body),
        status => Err(PeersError::Refused { status, detail: parse::<Problem>(&body)?.detail }),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, PeersError> {
    serde_json::from_slice(body).map_err(PeersError::Answer)
}

/// The node, then its addresses, then a line for each peer, in columns.
fn table(network: &Network) -> String {
    // Writing to a string cannot fail.
    let mut text = format!("node {}\n", printable(&network.peer_id));
    for address in &network.addresses {
        let _ = writeln!(text, "at {}", printable(address));
    }
    if network.peers.is_empty() {
        text.push_str("no peers\n");
        return text;
    }
    let header = ["PEER", "RTT", "AGENT", "ADDRESS"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(network.peers.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [peer, rtt, agent] = [0, 1, 2].map(|column| width(column).unwrap_or_default());
    for row in &rows {
        let [id, time, runs, address] = row;
        let _ = writeln!(text, "{id:peer$}  {time:>rtt$}  {runs:agent$}  {address}");
    }
    text
}

fn row(peer: &Peer) -> [String; 4] {
    let or_dash =
        |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| printable(text));
    [
        printable(&peer.peer_id),
        peer.rtt_ms.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms")),
        or_dash(peer.agent.as_ref()),
        or_dash(peer.addresses.first()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_peer() {
        let network = serde_json::json!({
            "peer_id": "12D3A", "addresses": ["/ip4/192.0.2.1/tcp/4001/p2p/12D3A"],
            "peers": [
                { "peer_id": "12D3B", "addresses": ["/ip4/192.0.2.2/tcp/4001", "/ip4/10.0.0.2/tcp/1"],
                  "rtt_ms": 12.345, "agent": "a\u{1b}[2J" },
                { "peer_id": "12D3CC", "addresses": [], "rtt_ms": null, "agent": null },
            ],
            "records": {},
        });
        let expected = "node 12D3A\n\
            at /ip4/192.0.2.1/tcp/4001/p2p/12D3A\n\
            PEER        RTT  AGENT       ADDRESS\n\
            12D3B   12.3 ms  a\\u{1b}[2J  /ip4/192.0.2.2/tcp/4001\n\
            12D3CC        -  -           -\n";
        let network: Network = serde_json::from_value(network).unwrap();
        assert_eq!(table(&network), expected);
        let alone = Network { peers: Vec::new(), ..network };
        assert!(table(&alone).ends_with("no peers\n"));
    }
}
