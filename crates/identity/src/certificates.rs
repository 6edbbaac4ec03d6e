//! Who comes by the certificate of a connection (mutual TLS).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use sallyport_policy::{Principal, Scopes};
use sallyport_protocol::ClientCertificate;

use crate::Unauthenticated;
use crate::resource_server::Verified;

/// In whose name the gateway vouches for the holder of a certificate: that of no issuer, which would be a URL.
const VOUCHED_BY: &str = "certificate";

/// Somebody whose certificate is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateHolder {
    /// What policy and audit records call them: `client:NAME@certificate`.
    pub name: String,
    /// The name in the certificate, as [`ClientCertificate::names`] has it.
    pub certificate: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// Beyond these scopes they may do nothing.
    pub scopes: Option<Scopes>,
}

/// Everybody whose certificate is taken.
#[derive(Debug, Default)]
pub struct Certificates {
    /// Whose authority has to have signed it.
    tenant: String,
    /// By the name in it.
    holders: BTreeMap<String, Arc<Verified>>,
}

impl Certificates {
    /// Takes the certificates of these callers of `tenant`, which its own authority has signed: whoever signs for another could sign any name.
    /// Of two with one name the first holds.
    #[must_use]
    pub fn new(tenant: &str, holders: Vec<CertificateHolder>) -> Self {
        let mut all = BTreeMap::new();
        for CertificateHolder { name, certificate, groups, scopes } in holders {
            let groups = groups.into_iter().map(Into::into).collect();
            let principal = Principal::client(VOUCHED_BY, &name).of_tenant(tenant).in_groups(groups);
            let principal = scopes.into_iter().fold(principal, Principal::limited_to);
            all.entry(certificate).or_insert_with(|| Verified::everywhere(principal));
        }
        Self { tenant: tenant.to_owned(), holders: all }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Whose a certificate is. One with names of two is neither's: somebody else would decide which of them it is.
    pub(crate) fn holder(&self, certificate: &ClientCertificate, now: SystemTime) -> Result<Arc<Verified>, Unauthenticated> {
        if *certificate.tenant != *self.tenant {
            return Err(Unauthenticated::UnknownCertificate);
        }
        if certificate.ends <= now || certificate.withdrawn.is_cancelled() {
            return Err(Unauthenticated::CertificateEnded);
        }
        let mut holders = certificate.names.iter().filter_map(|name| self.holders.get(name));
        let holder = holders.next().ok_or(Unauthenticated::UnknownCertificate)?;
        let is_one = holders.all(|other| other.principal == holder.principal);
        if is_one { Ok(Arc::clone(holder)) } else { Err(Unauthenticated::UnknownCertificate) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::time::Duration;

    use sallyport_protocol::Cancel;

    use super::*;

    fn holder(name: &str, certificate: &str) -> CertificateHolder {
        CertificateHolder { name: name.to_owned(), certificate: certificate.to_owned(), groups: Vec::new(), scopes: None }
    }

    #[test]
    fn a_certificate_is_one_holders_or_nobodys() {
        let all =
            Certificates::new("", vec![holder("ci", "dns:ci.example"), holder("ci", "uri:spiffe://ci"), holder("web", "dns:web.example")]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let who = |names: &[&str], ends: u64| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(ends);
            let certificate = ClientCertificate { tenant: "".into(), names, ends, withdrawn: Cancel::new() };
            all.holder(&certificate, now).map(|holder| holder.principal.id().to_owned())
        };
        assert_eq!(who(&["subject:CN=x", "dns:ci.example", "uri:spiffe://ci"], 101).unwrap(), "client:ci@certificate");
        assert_eq!(who(&["dns:ci.example", "dns:web.example"], 101), Err(Unauthenticated::UnknownCertificate), "two's");
        assert_eq!(who(&["dns:other.example"], 101), Err(Unauthenticated::UnknownCertificate));
        assert_eq!(who(&[], 101), Err(Unauthenticated::UnknownCertificate));
        assert_eq!(who(&["dns:ci.example"], 100), Err(Unauthenticated::CertificateEnded));

        let names = vec!["dns:ci.example".to_owned()];
        let certificate = ClientCertificate { tenant: "".into(), names, ends: now + Duration::from_secs(1), withdrawn: Cancel::new() };
        certificate.withdrawn.cancel();
        assert_eq!(all.holder(&certificate, now).map(drop), Err(Unauthenticated::CertificateEnded));
    }

    #[test]
    fn a_certificate_is_good_where_its_authority_is_and_nowhere_else() {
        let holders = |tenant: &str| Certificates::new(tenant, vec![holder("ci", "dns:ci.example")]);
        let (own, acme, umbrella) = (holders(""), holders("acme"), holders("umbrella"));
        let now = SystemTime::UNIX_EPOCH;
        let signed_by = |tenant: &str| {
            let names = vec!["dns:ci.example".to_owned()];
            ClientCertificate { tenant: tenant.into(), names, ends: now + Duration::from_secs(1), withdrawn: Cancel::new() }
        };
        let principal = |all: &Certificates, by: &str| all.holder(&signed_by(by), now).map(|holder| holder.principal.clone());
        for (all, whose) in [(&own, ""), (&acme, "acme"), (&umbrella, "umbrella")] {
            for by in ["", "acme", "umbrella", "nothere"] {
                match principal(all, by) {
                    Ok(known) => assert_eq!((known.tenant(), by), (whose, whose)),
                    Err(refusal) => assert_eq!((refusal, by == whose), (Unauthenticated::UnknownCertificate, false)),
                }
            }
        }
        assert_ne!(principal(&acme, "acme"), principal(&umbrella, "umbrella"), "two of one name are two");
        let ended = ClientCertificate { ends: now, ..signed_by("acme") };
        assert_eq!(own.holder(&ended, now).map(drop), Err(Unauthenticated::UnknownCertificate), "of another's nothing is told");
    }
}
