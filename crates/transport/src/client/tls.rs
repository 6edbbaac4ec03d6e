//! TLS towards upstreams.

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// The configuration that trusts what the system trusts, and `trust` besides.
///
/// # Errors
/// Where a certificate in `trust` cannot be read.
pub(crate) fn config(trust: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if trust.is_empty() {
        if let Some(config) = SYSTEM.get() {
            return Ok(Arc::clone(config));
        }
        let config = build(system_roots())?;
        return Ok(Arc::clone(SYSTEM.get_or_init(|| config)));
    }
    let mut roots = system_roots();
    for certificate in trust {
        roots.add(certificate.clone()).map_err(|error| format!("a certificate to trust cannot be read: {error}"))?;
    }
    build(roots)
}

/// The system's roots; Mozilla's where the system has none (a bare container).
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, refused) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tracing::debug!(added, refused, "system certificates");
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn build(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS: {error}"))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
