//! The certificate of the HTTP front door.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::client_authorities::Checked;
pub use super::client_authorities::ClientAuthorities;
pub use super::client_certificate::ClientAuthority;

/// Why TLS cannot be spoken.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} cannot be used for TLS: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// What the door shows in TLS, and whose certificates it takes. Clones are the same: what is put in its place is in force for all of them.
#[derive(Clone, Debug)]
pub struct Tls(Arc<RwLock<Arc<InForce>>>);

/// What is in force at one moment.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) config: Arc<ServerConfig>,
    /// What checks the certificates of clients, where they are asked for one.
    clients: Option<Arc<Checked>>,
}

impl Tls {
    /// Puts what `other` shows and takes in the place of what was. Who is connected by a certificate that is taken no more may finish the
    /// request that they are at, and comes in no more; their streams end.
    pub fn replace(&self, other: &Self) {
        let other = other.in_force();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InForce {
    /// Whether clients may show certificates.
    pub(super) fn asks_clients(&self) -> bool {
        self.clients.is_some()
    }

    /// The tenant whose authority has signed the chain that a client has shown, the leaf first; empty where that is the gateway's own, and where
    /// the client has shown none. `None` where no connection would be made with it.
    pub(super) fn whose(&self, shown: &[CertificateDer<'_>]) -> Option<Arc<str>> {
        match (&self.clients, shown) {
            (None, []) => Some("".into()),
            (None, _) => None,
            (Some(clients), []) => (!clients.client_auth_mandatory()).then(|| "".into()),
            (Some(clients), shown) => clients.whose(shown, UnixTime::now()).ok(),
        }
    }
}

/// TLS 1.2 and 1.3 with the certificate chain (leaf first) and the private key of two PEM files. HTTP/1.1 is spoken over it.
///
/// # Errors
/// Where a file cannot be read, holds none, or the two do not belong together.
pub fn from_pem(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
    with_clients(certificate, key, None)
}

/// The same, where clients may show certificates of their own.
///
/// # Errors
/// As [`from_pem`], and where a file of `clients` cannot be used.
pub fn with_clients(certificate: &Path, key: &Path, clients: Option<&ClientAuthorities>) -> Result<Tls, TlsError> {
    let chain = chain_from_pem(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, &error))?;
    let clients = clients.map(ClientAuthorities::checked).transpose()?.map(Arc::new);
    let verifier = clients.clone().map(|clients| clients as Arc<dyn ClientCertVerifier>);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(certificate, &error))?
        .with_client_cert_verifier(verifier.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_single_cert(chain, secret)
        .map_err(|error| fault(key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls(Arc::new(RwLock::new(Arc::new(InForce { config: Arc::new(config), clients })))))
}

/// The certificate chain (leaf first) of a PEM file; never empty.
///
/// # Errors
/// Where the file cannot be read or holds none.
pub fn chain_from_pem(certificate: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(|error| fault(certificate, &error))?;
    if chain.is_empty() {
        return Err(fault(certificate, &"there is no certificate in it"));
    }
    Ok(chain)
}

pub(super) fn fault(file: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError { file: file.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_pair_of_files_is_taken_and_a_mixed_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (one, two) =
            (rcgen::generate_simple_self_signed(["localhost".into()]).unwrap(), rcgen::generate_simple_self_signed(["b".into()]).unwrap());
        let (certificate, key) = (file("c.pem", one.cert.pem()), file("k.pem", one.signing_key.serialize_pem()));
        let other = file("o.pem", two.signing_key.serialize_pem());
        from_pem(&certificate, &key).unwrap();
        assert!(from_pem(&certificate, &other).unwrap_err().to_string().contains("o.pem"));
        assert!(from_pem(&file("e.pem", String::new()), &key).unwrap_err().to_string().contains("no certificate"));
        assert!(from_pem(Path::new("/nowhere"), &key).is_err());
    }
}
