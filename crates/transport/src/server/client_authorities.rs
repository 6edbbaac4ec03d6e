//! Who signs the certificates of clients: the gateway's own authority and those of tenants, all at one door. A connection shows its certificate
//! before it says to whom it wants, so who has signed it is found out here, and stays with the connection.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::client_certificate::ClientAuthority;
use super::tls::{TlsError, fault};

/// Whose certificates clients may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// Who signs them, at least one: no two for the same tenant.
    pub authorities: Vec<ClientAuthority>,
    /// Nobody comes in without one.
    pub is_required: bool,
}

/// What checks the certificates of clients.
#[derive(Debug)]
pub(super) struct Checked {
    parties: Vec<Party>,
    is_required: bool,
    hints: Vec<DistinguishedName>,
}

/// One authority.
#[derive(Debug)]
struct Party {
    tenant: Arc<str>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// The keys of the other authorities. Who may sign for one tenant may sign another's authority too, and would so bring the other's
    /// people with it: a chain with such a signature is not this one's.
    foreign: BTreeSet<Vec<u8>>,
}

impl ClientAuthorities {
    /// What checks the certificates of clients.
    ///
    /// # Errors
    /// Where a file cannot be read or holds nothing of the kind, and where two authorities sign with one key.
    pub(super) fn checked(&self) -> Result<Checked, TlsError> {
        let roots: Vec<RootCertStore> = self.authorities.iter().map(ClientAuthority::roots).collect::<Result<_, _>>()?;
        let keys: Vec<BTreeSet<Vec<u8>>> = roots.iter().map(keys).collect();
        let mut parties: Vec<Party> = Vec::new();
        for (index, (authority, roots)) in self.authorities.iter().zip(&roots).enumerate() {
            if let Some(other) = keys[..index].iter().position(|other| !other.is_disjoint(&keys[index])) {
                let other = called(&self.authorities[other].tenant);
                return Err(fault(&authority.ca, &format!("a certificate in it has the key of one that signs for {other}, too")));
            }
            let others = keys.iter().enumerate().filter(|(other, _)| *other != index);
            let foreign = others.flat_map(|(_, keys)| keys.iter().cloned()).collect();
            parties.push(Party { tenant: authority.tenant.clone(), verifier: authority.verifier(roots)?, foreign });
        }
        // Hints say to anybody who signs for whom, so there are none where that is not for everybody to know.
        let is_alone = self.authorities.iter().all(|authority| authority.tenant.is_empty());
        let hints = if is_alone { roots.iter().flat_map(RootCertStore::subjects).collect() } else { Vec::new() };
        Ok(Checked { parties, is_required: self.is_required, hints })
    }
}

/// Whose authority it is, in a message for whoever runs the gateway.
fn called(tenant: &str) -> String {
    if tenant.is_empty() { "the gateway itself".to_owned() } else { format!("tenant `{tenant}`") }
}

/// The keys of all certificates of a list.
fn keys(roots: &RootCertStore) -> BTreeSet<Vec<u8>> {
    roots.roots.iter().map(|anchor| anchor.subject_public_key_info.to_vec()).collect()
}

/// The key of a certificate that a client has shown, as the verifier reads it.
fn key(shown: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let mut read = RootCertStore::empty();
    read.add(shown.clone().into_owned()).ok()?;
    keys(&read).pop_first()
}

impl Checked {
    /// The tenant whose authority has signed this chain, the leaf first; empty where that is the gateway's own.
    ///
    /// # Errors
    /// Why no connection is made: nobody has signed it, or two have.
    pub(super) fn whose(&self, shown: &[CertificateDer<'_>], now: UnixTime) -> Result<Arc<str>, Error> {
        let mut takers = Vec::new();
        let mut refusals = Vec::new();
        for party in &self.parties {
            match party.check(shown, now) {
                Ok(()) => takers.push(&party.tenant),
                Err(refusal) => refusals.push(refusal),
            }
        }
        match takers.as_slice() {
            [tenant] => Ok((*tenant).clone()),
            _ => Err(told(refusals)),
        }
    }
}

impl Party {
    fn check(&self, shown: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let [leaf, others @ ..] = shown else { return Err(CertificateError::UnknownIssuer.into()) };
        // One that cannot be read might have such a key.
        let is_own = || shown.iter().all(|shown| key(shown).is_some_and(|key| !self.foreign.contains(&key)));
        if !self.foreign.is_empty() && !is_own() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        self.verifier.verify_client_cert(leaf, others, now).map(drop)
    }
}

/// What a client is told whom none of them takes: what its own certificate is, or that whoever has signed that knows it no more. All
/// else would tell a stranger whose names there are.
fn told(refusals: Vec<Error>) -> Error {
    use CertificateError as Why;
    let worth = |refusal: &Error| match refusal {
        Error::InvalidCertificate(
            Why::Revoked | Why::UnknownRevocationStatus | Why::ExpiredRevocationList | Why::ExpiredRevocationListContext { .. },
        ) => 2,
        Error::InvalidCertificate(
            Why::BadEncoding
            | Why::Expired
            | Why::ExpiredContext { .. }
            | Why::NotValidYet
            | Why::NotValidYetContext { .. }
            | Why::InvalidPurpose
            | Why::InvalidPurposeContext { .. },
        ) => 1,
        _ => 0,
    };
    refusals.into_iter().max_by_key(worth).filter(|refusal| worth(refusal) > 0).unwrap_or(Why::UnknownIssuer.into())
}

impl ClientCertVerifier for Checked {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let shown: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(others).cloned().collect();
        self.whose(&shown, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}
