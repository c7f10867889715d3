//! TLS: a certificate and its key, from files that are read again when they change.
//!
//! TLS 1.2 and 1.3 by rustls, with ring's cryptography. A change of the files counts for connections
//! that come after it; one that cannot be used changes nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::ServerSessionMemoryCache;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, InconsistentKeys};

use crate::problem::chain;
use crate::reload::{self, Stamp};

/// HTTP/2's name in application-layer protocol negotiation (RFC 9113, section 3.1).
pub(crate) const ALPN_HTTP2: &[u8] = b"h2";

/// HTTP/1.1's name there (RFC 7301, section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The most bytes of a file: a chain of certificates takes some thousands.
const MAX_BYTES: u64 = 1 << 20;

/// How many sessions are remembered, so that clients who come back need no full handshake.
const SESSIONS: usize = 1024;

/// A certificate and its key that were read, to serve with.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    files: Files,
    stamps: [Stamp; 2],
    config: Arc<rustls::ServerConfig>,
}

/// Files that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has not in it what it should.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is another certificate's.
    #[error("the key in {} does not fit the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The TLS of a server, as its files last said.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    /// The files' when the server started.
    stamps: [Stamp; 2],
    config: RwLock<Arc<rustls::ServerConfig>>,
}

impl TlsIdentity {
    /// Reads two PEM files: `certificate` has the server's certificate and those that lead from it to
    /// one that clients know, in this order; `key` its private key, as PKCS #8, PKCS #1 or SEC 1. They
    /// may be the same file. A server that is given them reads them again when they change.
    ///
    /// # Errors
    ///
    /// When one cannot be read or has not in it what it should, or the key is another certificate's.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let (pem, certificate_stamp) = read(certificate)?;
        let certificates = certificates(&pem).map_err(|reason| invalid(certificate, reason))?;
        let (pem, key_stamp) = read(key)?;
        let key = private_key(&pem).map_err(|reason| invalid(key, reason))?;
        let config = Arc::new(config(&files, certificates, key)?);
        Ok(Self { files, stamps: [certificate_stamp, key_stamp], config })
    }
}

impl Tls {
    pub(crate) fn new(TlsIdentity { files, stamps, config }: TlsIdentity) -> Self {
        Self { files, stamps, config: RwLock::new(config) }
    }

    /// What takes the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&config).into()
    }

    /// Reads the files again whenever one changes. What cannot be used changes nothing.
    pub(crate) async fn watch(self: Arc<Self>) {
        reload::watch(self.stamps.map(Some), move |seen| self.look(seen)).await;
    }

    /// Reads the files if they are not what was seen of them before, and gives what is seen now.
    /// Blocks.
    fn look(&self, seen: [Option<Stamp>; 2]) -> [Option<Stamp>; 2] {
        let Files { certificate, key } = &self.files;
        let stamps = [certificate, key].map(|path| Stamp::at(path).ok());
        if stamps == seen {
            return stamps;
        }
        match TlsIdentity::open(certificate, key) {
            Ok(identity) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = identity.config;
                let path = certificate.display();
                tracing::info!(%path, "the changed certificate was read");
            }
            // Of two files that are written one after the other, the second may yet come.
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "the changed certificate cannot be used; the one before stays"
                );
            }
        }
        stamps
    }
}

/// A file's content, and by what a change of it will be known.
fn read(path: &Path) -> Result<(Vec<u8>, Stamp), TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Before it is read, so that what is written while it is being read is seen as a change.
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(invalid(path, format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok((bytes, stamp))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no PEM certificate in it".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(broken_pem(&error)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => "there is no unencrypted PEM private key in it".to_owned(),
        error => broken_pem(&error),
    })
}

fn broken_pem(error: &PemError) -> String {
    format!("it is not PEM: {error}")
}

fn config(
    files: &Files,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, TlsError> {
    let provider = ring::default_provider();
    let certified = certify(files, certificates, key, &provider)?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for each version")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = [ALPN_HTTP2, ALPN_HTTP1].map(<[u8]>::to_vec).into();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(config)
}

/// Puts a certificate and its key together.
fn certify(
    files: &Files,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| invalid(&files.key, format!("its key cannot be used: {error}")))?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let Files { certificate, key } = files.clone();
            Err(TlsError::Mismatch { certificate, key })
        }
        Err(error) => {
            Err(invalid(&files.certificate, format!("its certificate cannot be used: {error}")))
        }
    }
}

fn invalid(path: &Path, reason: String) -> TlsError {
    TlsError::Invalid { path: path.to_owned(), reason }
}
