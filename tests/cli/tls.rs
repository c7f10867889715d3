//! Serving with TLS: what is refused at the start, and what a broken file changes later.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::tempdir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::support::{Server, Test, wait_for};

/// A certificate and its key, as PEM.
struct Pair {
    certificate: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { certificate: cert.der().clone(), pem: cert.pem(), key: signing_key.serialize_pem() }
    }

    fn write(&self, directory: &Path) {
        fs::write(directory.join("cert.pem"), &self.pem).unwrap();
        fs::write(directory.join("key.pem"), &self.key).unwrap();
    }

    /// Whether it is what a server shows.
    fn is_of(&self, server: &Server) -> bool {
        let mut trusted = RootCertStore::empty();
        trusted.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = server.connect().unwrap();
        while session.is_handshaking() {
            if session.complete_io(&mut stream).is_err() {
                return false;
            }
        }
        true
    }
}

const FLAGS: &str = "-m -p 0 --listen 127.0.0.1 --tls-cert cert.pem --tls-key key.pem";

#[test]
fn says_that_it_speaks_tls() {
    let directory = tempdir().unwrap();
    let pair = Pair::new();
    pair.write(directory.path());
    let server = Server::start(directory.path(), FLAGS);
    let address = server.address();
    assert!(server.line.contains(&format!("listening on https://{address}, ")), "{}", server.line);
    let hint = format!("; try: curl -sk https://{address}/\n");
    assert!(server.line.ends_with(&hint), "{}", server.line);
    assert!(pair.is_of(&server));
}

#[test]
fn one_file_can_hold_both() {
    let directory = tempdir().unwrap();
    let pair = Pair::new();
    fs::write(directory.path().join("both.pem"), pair.key.clone() + &pair.pem).unwrap();
    let flags = "-m -p 0 --listen 127.0.0.1 --tls-cert both.pem --tls-key both.pem";
    assert!(pair.is_of(&Server::start(directory.path(), flags)));
}

#[test]
fn the_settings_come_from_everywhere_and_in_pairs() {
    Test::new("config --config server.toml --tls-cert c.pem")
        .file("server.toml", "tls-key = \"k.pem\"")
        .stdout_has("tls-cert = \"c.pem\" # flag\n")
        .stdout_has("tls-key = \"k.pem\" # file server.toml\n")
        .run();
    Test::new("config --tls-cert c.pem")
        .status(1)
        .stderr_has("error: tls-cert is set, which needs tls-key as well\n")
        .run();
    Test::new("config")
        .environment("WASM_EXEC_TLS_KEY", "k.pem")
        .status(1)
        .stderr_has("error: tls-key is set, which needs tls-cert as well\n")
        .run();
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_at_the_start() {
    let (pair, other) = (Pair::new(), Pair::new());
    let der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let large = " ".repeat((1 << 20) + 1);
    for (certificate, key, message) in [
        (&*pair.pem, &*other.key, "the key in key.pem does not fit the certificate in cert.pem\n"),
        (&pair.key, &pair.key, "cert.pem: there is no PEM certificate in it\n"),
        ("", &pair.key, "cert.pem: there is no PEM certificate in it\n"),
        (&pair.pem, &pair.pem, "key.pem: there is no unencrypted PEM private key in it\n"),
        (&pair.pem[..200], &pair.key, "cert.pem: it is not PEM: "),
        (der, &pair.key, "cert.pem: its certificate cannot be used: "),
        (&pair.pem, broken_key, "key.pem: its key cannot be used: "),
        (&large, &pair.key, "cert.pem: it has more than 1048576 bytes\n"),
    ] {
        Test::new(FLAGS)
            .file("cert.pem", certificate)
            .file("key.pem", key)
            .status(1)
            .stdout("")
            .stderr_has(&format!("error: {message}"))
            .run();
    }
    Test::new(FLAGS)
        .file("cert.pem", &pair.pem)
        .status(1)
        .stderr_has("error: cannot read key.pem: No such file or directory")
        .run();
}

#[test]
fn a_file_that_breaks_changes_nothing_until_it_is_mended() {
    let directory = tempdir().unwrap();
    let (old, new) = (Pair::new(), Pair::new());
    old.write(directory.path());
    let log = directory.path().join("log");
    let server = Server::start_logging(directory.path(), FLAGS, &log);
    fs::write(directory.path().join("key.pem"), &new.key).unwrap();
    wait_for(&log, "the key in key.pem does not fit the certificate in cert.pem");
    assert!(old.is_of(&server) && !new.is_of(&server));
    new.write(directory.path());
    wait_for(&log, "the changed certificate was read");
    assert!(new.is_of(&server) && !old.is_of(&server));
}
