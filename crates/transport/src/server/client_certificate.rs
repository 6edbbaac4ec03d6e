//! Certificates that clients show (RFC 8446 §4.4.2): whose are taken, and what they say.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sallyport_protocol::{Cancel, ClientCertificate};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::tls::{TlsError, chain_from_pem, fault};

/// Names of a certificate that are read: one or two are usual, and a request is compared with each.
const MOST_NAMES: usize = 64;

/// Who signs certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthority {
    /// The tenant whose callers have them; empty for the gateway itself.
    pub tenant: Arc<str>,
    /// The PEM file with the certificates of those who sign clients' ones.
    pub ca: PathBuf,
    /// The PEM file with their lists of certificates that are good no more.
    pub revoked: Option<PathBuf>,
}

impl ClientAuthority {
    /// The certificates of those who sign.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds none.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in chain_from_pem(&self.ca)? {
            roots.add(certificate).map_err(|error| fault(&self.ca, &error))?;
        }
        Ok(roots)
    }

    /// What checks the certificates of clients that `roots` have signed.
    ///
    /// # Errors
    /// Where the file with lists cannot be read, or holds nothing of the kind.
    pub(super) fn verifier(&self, roots: &RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider);
        if let Some(file) = &self.revoked {
            // Lists are of those who sign for clients; whether these were revoked themselves is for whoever wrote them down here.
            // One that is past its date says nothing of what was revoked since, and nobody could tell how much that is.
            builder = builder.with_crls(lists(file)?).only_check_end_entity_revocation().enforce_revocation_expiration();
        }
        builder.build().map_err(|error| match (&error, &self.revoked) {
            // OpenSSL makes lists of version 1 unless `crl_extensions` say what to put in.
            (VerifierBuilderError::InvalidCrl(_), Some(file)) => fault(file, &format!("{error}: a list has to be of version 2")),
            _ => fault(&self.ca, &error),
        })
    }

    /// The issuers whose revocation lists are past their date at `now`: none of their certificates is taken until there are newer ones.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds no list.
    pub fn outdated_lists(&self, now: SystemTime) -> Result<Vec<String>, TlsError> {
        let Some(file) = &self.revoked else { return Ok(Vec::new()) };
        let read = |list: &CertificateRevocationListDer<'_>| {
            let list = CertificateList::from_der(list).map_err(|error| fault(file, &error))?.tbs_cert_list;
            let is_past = list.next_update.is_none_or(|next| next.to_system_time() <= now);
            Ok(is_past.then(|| list.issuer.to_string()))
        };
        lists(file)?.iter().filter_map(|list| read(list).transpose()).collect()
    }
}

/// Whether a handshake failed because a revocation list is past its date.
pub(super) fn is_outdated_list(error: &io::Error) -> bool {
    use rustls::CertificateError::{ExpiredRevocationList, ExpiredRevocationListContext};
    let failed = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(failed, Some(rustls::Error::InvalidCertificate(ExpiredRevocationList | ExpiredRevocationListContext { .. })))
}

fn lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists: Vec<_> =
        CertificateRevocationListDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| fault(file, &error))?;
    if lists.is_empty() { Err(fault(file, &"there is no revocation list in it")) } else { Ok(lists) }
}

/// What a certificate says that was verified, and that `tenant`'s authority has signed. One that cannot be read says nothing, and so is
/// nobody's.
pub(super) fn read(certificate: &CertificateDer<'_>, tenant: Arc<str>) -> ClientCertificate {
    let read = Certificate::from_der(certificate).inspect_err(|error| tracing::debug!(%error, "a client's certificate cannot be read"));
    let Ok(read) = read else {
        return ClientCertificate { tenant, names: Vec::new(), ends: SystemTime::UNIX_EPOCH, withdrawn: Cancel::new() };
    };
    let certificate = read.tbs_certificate;
    let mut names: Vec<String> = Some(certificate.subject.to_string()).filter(|name| !name.is_empty()).into_iter().collect();
    names.iter_mut().for_each(|name| name.insert_str(0, "subject:"));
    if let Ok(Some((_, SubjectAltName(others)))) = certificate.get::<SubjectAltName>() {
        names.extend(others.iter().filter_map(written).take(MOST_NAMES));
    }
    ClientCertificate { tenant, names, ends: certificate.validity.not_after.to_system_time(), withdrawn: Cancel::new() }
}

/// A name as the configuration writes it.
fn written(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("dns:{}", name.as_str().to_ascii_lowercase())),
        GeneralName::UniformResourceIdentifier(address) => Some(format!("uri:{address}")),
        GeneralName::Rfc822Name(address) => Some(format!("email:{address}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_says_whom_it_was_made_out_to_and_until_when() {
        let mut params = CertificateParams::new(vec!["Build.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ci, nightly");
        params.subject_alt_names.push(SanType::URI("spiffe://corp.example/ci".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("ci@corp.example".try_into().unwrap()));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = read(made.der(), "acme".into());
        assert_eq!(&*read.tenant, "acme");
        assert!(read.names.iter().any(|name| name.starts_with("subject:") && name.contains("ci\\, nightly")), "{read:?}");
        for name in ["dns:build.example.com", "uri:spiffe://corp.example/ci", "email:ci@corp.example"] {
            assert!(read.names.iter().any(|known| known == name), "{name} in {read:?}");
        }
        assert!(read.ends > SystemTime::now());
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let read = read(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]), "".into());
        assert!(read.names.is_empty() && read.ends == SystemTime::UNIX_EPOCH);
    }
}
