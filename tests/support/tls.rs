//! Certificates, servers that have one, and clients that trust it.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};
use wasm_exec_server::TlsIdentity;

use super::server::{Server, Setup};

/// A certificate for `localhost` and its key, in a directory of their own.
#[derive(Debug)]
pub(crate) struct Certificate {
    directory: TempDir,
    trusted: RootCertStore,
    current: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (trusted, current) = (RootCertStore::empty(), CertificateDer::from(Vec::new()));
        let mut certificate = Self { directory, trusted, current };
        certificate.renew();
        certificate
    }

    /// Replaces both files by new ones. Clients go on to trust the old.
    pub(crate) fn renew(&mut self) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.replace("cert.pem", &cert.pem());
        self.replace("key.pem", &signing_key.serialize_pem());
        self.current = cert.der().clone();
        self.trusted.add(self.current.clone()).unwrap();
    }

    /// Has one of the files hold this.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        // Renamed, as whoever changes a file that is in use does.
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.path(name)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Whether it is what a server showed on this connection.
    pub(crate) fn is_of(&self, stream: &TlsStream<TcpStream>) -> bool {
        stream.get_ref().1.peer_certificates() == Some(std::slice::from_ref(&self.current))
    }

    /// A server that has it.
    pub(crate) async fn server(&self) -> Server {
        self.server_with(|_| {}).await
    }

    /// The same, set up differently.
    pub(crate) async fn server_with(&self, change: impl FnOnce(&mut Setup)) -> Server {
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| self.path(name));
        let identity = TlsIdentity::open(&certificate, &key).unwrap();
        Server::with(|setup| {
            setup.server.tls = Some(identity);
            change(setup);
        })
        .await
    }

    /// A connection of a client that offers these protocols.
    pub(crate) async fn connect(&self, server: &Server, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.connect_by(server, alpn, ALL_VERSIONS).await
    }

    /// The same by these versions of TLS.
    pub(crate) async fn connect_by(
        &self,
        server: &Server,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsStream<TcpStream> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.trusted.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(server.address()).await.expect("the server listens");
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        connecting.await.expect("the handshake succeeds")
    }
}
