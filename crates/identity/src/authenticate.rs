//! From what a caller shows to who it is.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use sallyport_policy::Principal;
use sallyport_protocol::{BoxFuture, CallerToken, Endpoint, Incoming, Peer};
use sallyport_secrets::Secret;

use crate::certificates::Certificates;
use crate::key::{InvalidKey, Key, Problem};
use crate::resource_server::{ResourceServer, TokenFault, Verified};

/// Everyone who may call.
#[derive(Debug)]
pub struct Identity {
    keys: Vec<Key>,
    certificates: Certificates,
    local_user: Arc<Verified>,
    resource_server: Option<Arc<ResourceServer>>,
    /// Whose callers these are. Of a tenant nobody is told why they are not let in: it would tell whether there is such a tenant.
    is_tenants: bool,
}

/// Who a caller is: known at once, as nearly always, or after somebody was asked.
#[expect(missing_debug_implementations, reason = "a future shows nothing")]
pub enum Authentication {
    /// Known.
    Known(Result<Arc<Verified>, Unauthenticated>),
    /// To be waited for.
    Asks(BoxFuture<'static, Result<Arc<Verified>, Unauthenticated>>),
}

impl Identity {
    /// Accepts the holders of these named keys as callers of `tenant`, and the tokens that `resource_server` takes. Only digests of keys are
    /// kept; the keys themselves are overwritten here. A tenant (whose name is not empty) has to have a resource server.
    ///
    /// # Errors
    /// Every key that is weak, could not be sent in a header, or is there twice.
    pub fn new(tenant: &str, keys: Vec<(String, Secret)>, resource_server: Option<Arc<ResourceServer>>) -> Result<Self, Vec<InvalidKey>> {
        let mut accepted: Vec<Key> = Vec::with_capacity(keys.len());
        let mut errors = Vec::new();
        for (name, secret) in keys {
            match Key::new(tenant, &name, &secret) {
                Ok(key) => match conflict(&accepted, &key) {
                    None => accepted.push(key),
                    Some(problem) => errors.push(InvalidKey { name, problem }),
                },
                Err(error) => errors.push(error),
            }
        }
        let local_user = Verified::everywhere(Principal::local_user().of_tenant(tenant));
        let is_tenants = !tenant.is_empty();
        let certificates = Certificates::default();
        if errors.is_empty() { Ok(Self { keys: accepted, certificates, local_user, resource_server, is_tenants }) } else { Err(errors) }
    }

    /// Accepts these holders of certificates too, whose connections have shown one.
    #[must_use]
    pub fn with_certificates(self, certificates: Certificates) -> Self {
        Self { certificates, ..self }
    }

    /// The digest of each key, and whose it is.
    pub fn keys(&self) -> impl Iterator<Item = ([u8; 32], &Principal)> {
        self.keys.iter().map(|key| (key.digest, &key.holder.principal))
    }

    /// Whether callers over the network have to show something.
    #[must_use]
    pub fn needs_credential(&self) -> bool {
        !self.keys.is_empty() || !self.certificates.is_empty() || self.resource_server.is_some() || self.is_tenants
    }

    /// What a caller is told that is not let in.
    #[must_use]
    pub fn told(&self, refusal: Unauthenticated) -> Unauthenticated {
        match refusal {
            Unauthenticated::NoKey | Unauthenticated::UnknownKey if self.takes_certificates_alone() => Unauthenticated::OnlyCertificates,
            Unauthenticated::NoKey => refusal,
            Unauthenticated::Token(fault) if fault.may_pass() => refusal,
            _ if self.is_tenants => Unauthenticated::Token(TokenFault::NotTaken),
            // What is no token is no key either, where there are none to ask for.
            Unauthenticated::Token(TokenFault::Unknown) if !self.has_keys() => Unauthenticated::Token(TokenFault::Malformed),
            _ => refusal,
        }
    }

    /// Whether no caller has a key or a token, and some have certificates.
    fn takes_certificates_alone(&self) -> bool {
        self.keys.is_empty() && self.resource_server.is_none() && !self.certificates.is_empty()
    }

    /// Whether some callers have keys.
    fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.resource_server.as_ref().is_some_and(|server| server.takes_keys())
    }

    /// What takes tokens, where some are taken.
    #[must_use]
    pub fn resource_server(&self) -> Option<&Arc<ResourceServer>> {
        self.resource_server.as_ref()
    }

    /// Who this caller is.
    ///
    /// * Over stdio it is the local user: whoever launches the gateway has the rights of its user, reads its
    ///   configuration and has no place to show a key.
    /// * With keys, certificates or issuers configured, every request has to show a key or a token, from wherever it comes, or come over a
    ///   connection that has shown a certificate. What a request itself shows has the last word.
    /// * Without, loopback is the local user, and nobody else gets in.
    ///
    /// Nobody is waited for, and nothing is put into a box, where the caller is known already.
    #[must_use]
    pub fn authenticate(&self, incoming: &Incoming) -> Authentication {
        Authentication::Known(match (incoming.peer, &incoming.credential) {
            (Peer::Stdio, _) => Ok(Arc::clone(&self.local_user)),
            (Peer::Loopback, _) if !self.needs_credential() => Ok(Arc::clone(&self.local_user)),
            (Peer::Remote(_) | Peer::Proxied(_), _) if !self.needs_credential() => Err(Unauthenticated::NotLocal),
            (_, None) => match &incoming.certificate {
                None => Err(Unauthenticated::NoKey),
                Some(certificate) => self.certificates.holder(certificate, SystemTime::now()),
            },
            (_, Some(token)) => return self.holder(token, &incoming.endpoint),
        })
    }

    fn holder(&self, token: &Arc<CallerToken>, endpoint: &Endpoint) -> Authentication {
        let digest = token.digest();
        if let Some(holder) = self.holder_of_key(&digest) {
            return Authentication::Known(Ok(holder));
        }
        let Some(server) = &self.resource_server else { return Authentication::Known(Err(Unauthenticated::UnknownKey)) };
        if let Some(verified) = server.known(&digest) {
            return Authentication::Known(verified.at(endpoint).map_err(Unauthenticated::Token));
        }
        let (server, token, endpoint) = (Arc::clone(server), Arc::clone(token), endpoint.clone());
        Authentication::Asks(Box::pin(async move { server.verify(&token, digest, &endpoint).await.map_err(Unauthenticated::Token) }))
    }

    /// The holder of the configured key with this digest. Every key is compared in full, so that time tells nothing.
    fn holder_of_key(&self, digest: &[u8; 32]) -> Option<Arc<Verified>> {
        let mut found = None;
        for key in &self.keys {
            if equal(&key.digest, digest) {
                found = Some(&key.holder);
            }
        }
        found.cloned()
    }
}

/// Compares without stopping at the first difference.
fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn conflict(accepted: &[Key], new: &Key) -> Option<Problem> {
    if accepted.iter().any(|key| key.holder.principal == new.holder.principal) {
        return Some(Problem::SameName);
    }
    accepted.iter().any(|key| key.digest == new.digest).then_some(Problem::SameKey)
}

/// Why a caller was not let in. Every text may be shown to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// It showed no key where one is needed.
    NoKey,
    /// The key it showed is none of ours.
    UnknownKey,
    /// It showed no certificate, or a key or token besides, where certificates alone are taken.
    OnlyCertificates,
    /// No keys are configured, which serves this machine alone.
    NotLocal,
    /// The certificate of its connection is nobody's here, or is two's.
    UnknownCertificate,
    /// The certificate of its connection has ended.
    CertificateEnded,
    /// Its token is not taken.
    Token(TokenFault),
}

impl Unauthenticated {
    /// The name in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::OnlyCertificates => "only_certificates",
            Self::NotLocal => "not_local",
            Self::UnknownCertificate => "unknown_certificate",
            Self::CertificateEnded => "certificate_ended",
            Self::Token(fault) => fault.as_str(),
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoKey => "send a key or token in the header `Authorization: Bearer …`",
            Self::UnknownKey | Self::Token(TokenFault::Unknown) => "ask whoever runs the gateway for a key",
            Self::OnlyCertificates => "connect with a certificate that the gateway knows, and send no key or token: it takes none",
            Self::NotLocal => "whoever runs the gateway has to configure `keys`",
            Self::UnknownCertificate => "whoever runs the gateway has to name the certificate in `identity.certificates`",
            Self::CertificateEnded => "connect anew with a certificate that is good",
            Self::Token(TokenFault::Unavailable | TokenFault::KeysUnavailable) => {
                "try again; whoever runs the gateway finds in its log what went wrong"
            }
            Self::Token(TokenFault::OtherResource) => "ask for a token with the `resource` that the metadata of this endpoint names",
            Self::Token(TokenFault::NotTaken) => "get a new token for this very endpoint, or ask whoever runs the gateway for a key",
            Self::Token(_) => "get a new token where the metadata of this endpoint says, and for its `resource`",
        }
    }
}

impl fmt::Display for Unauthenticated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Token(fault) => return fault.fmt(formatter),
            Self::NoKey => "the request has no bearer key",
            Self::UnknownKey => "the bearer key is not known",
            Self::OnlyCertificates => "the gateway takes certificates alone",
            Self::UnknownCertificate => "the client's certificate is not known",
            Self::CertificateEnded => "the client's certificate has ended",
            Self::NotLocal => "the gateway serves only its own machine",
        })
    }
}

impl std::error::Error for Unauthenticated {}

#[cfg(test)]
mod tests;
