//! What `WWW-Authenticate` says (RFC 6750 §3, RFC 9728 §5.1): where tokens are had, and what they have to be good for.

use std::fmt::Write as _;

use sallyport_protocol::Endpoint;

use super::resource::usual_scope;
use super::{ResourceServer, TokenFault};

impl ResourceServer {
    /// The challenge to a caller that showed nothing at `endpoint` of `tenant`, or a token with this `fault`.
    #[must_use]
    pub fn challenge(&self, tenant: Option<&str>, endpoint: &Endpoint, fault: Option<TokenFault>) -> String {
        let mut challenge = self.begun(tenant, endpoint);
        if self.asks_for_scopes() {
            add(&mut challenge, "scope", usual_scope(endpoint));
        }
        if let Some(fault) = fault {
            add(&mut challenge, "error", "invalid_token");
            add(&mut challenge, "error_description", &fault.to_string());
        }
        challenge
    }

    /// The challenge to a caller whose token is not good for what it wants: it needs `scope`, all of which is missing.
    #[must_use]
    pub fn step_up(&self, tenant: Option<&str>, endpoint: &Endpoint, scope: &str) -> String {
        let mut challenge = self.begun(tenant, endpoint);
        add(&mut challenge, "error", "insufficient_scope");
        add(&mut challenge, "scope", scope);
        add(&mut challenge, "error_description", "the token is not good for this");
        challenge
    }

    /// The tenant is the one that was asked for, which need not be there: then this is what those say that are.
    fn begun(&self, tenant: Option<&str>, endpoint: &Endpoint) -> String {
        let mut challenge = String::from("Bearer");
        if let Some(public) = self.public().filter(|_| self.issuers().next().is_some()) {
            let public = tenant.map_or_else(|| public.clone(), |tenant| public.of_tenant(tenant));
            add(&mut challenge, "resource_metadata", &public.metadata_url(endpoint));
        }
        challenge
    }
}

/// Adds a parameter. An endpoint's name comes out of the request's path: what would end the quotation is left out.
fn add(challenge: &mut String, name: &str, value: &str) {
    let separator = if challenge.contains('=') { "," } else { "" };
    let _ = write!(challenge, "{separator} {name}=\"");
    challenge.extend(value.chars().filter(|letter| (letter.is_ascii_graphic() || *letter == ' ') && !matches!(letter, '"' | '\\')));
    challenge.push('"');
}
