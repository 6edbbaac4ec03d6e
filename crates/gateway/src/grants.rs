//! What the pages and commands about users' grants need of a gateway.

use std::sync::Arc;

use sallyport_identity::upstream::{CredentialConfig, Owner, PerUserConfig};
use sallyport_policy::{Pin, Principal, Resource};
use sallyport_protocol::{Answer, Era, Failure, Incoming, Method, Peer};
use url::Url;

use crate::decide::circumstances;
use crate::failure;
use crate::gateway::Gateway;
use crate::plan::{Plan, Source};
use crate::upstream::{CONNECT_TOOL, Outage, WayOut};

/// A server that somebody may grant access to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grantable {
    /// Its name in the configuration.
    pub server: String,
    /// Where it is.
    pub host: String,
    /// Whether they have.
    pub is_granted: bool,
}

/// Whose grants are a principal's.
#[must_use]
pub fn owner_of(principal: &Principal) -> Owner {
    Owner { tenant: principal.tenant().to_owned(), principal: principal.id().to_owned() }
}

/// The tool by which a server asks for access, as policy is asked about it.
fn asking_tool<'a>(plan: &Plan, server: &'a str) -> Resource<'a> {
    let trusted = plan.servers.get(server).is_some_and(|server| server.trust_annotations);
    Resource::tool(server, CONNECT_TOOL, Some(true), trusted).pinned_as(Pin::Pinned)
}

impl Gateway {
    /// What a failure looks like to a client of that era, whoever's failure it is.
    #[must_use]
    pub fn answer_to(failure: &Failure, method: Option<Method>, era: Era) -> Answer {
        failure::answer(failure, method, era)
    }

    /// What credentials towards servers share.
    #[must_use]
    pub fn way_out(&self) -> Arc<WayOut> {
        self.0.adopter.surroundings().way_out.clone()
    }

    /// Who sends a request; `None` where that is nobody.
    pub async fn principal(&self, incoming: &Incoming) -> Option<Principal> {
        let parts = self.0.parts.load_full();
        parts.authenticate(incoming, Method::ToolsCall).await.ok()
    }

    /// The servers that a principal may grant access to, and whether it has: those whose tool that asks for it policy lets the principal
    /// call. Of the others it learns nothing.
    ///
    /// # Errors
    /// Where the vault cannot be read.
    pub async fn grantable(&self, principal: &Principal, peer: Peer) -> Result<Vec<Grantable>, Outage> {
        let parts = self.0.parts.load_full();
        let servers: Vec<&str> =
            parts.plan.servers.keys().map(String::as_str).filter(|name| self.granted_by_users(name).is_some()).collect();
        let resources: Vec<Resource<'_>> = servers.iter().map(|name| asking_tool(&parts.plan, name)).collect();
        let allowed = parts.policy.allows_each(principal, circumstances(peer), &resources).await;
        let owner = owner_of(principal);
        let mut all = Vec::new();
        for (name, _) in servers.into_iter().zip(allowed).filter(|(_, allowed)| *allowed) {
            let Some((_, url)) = self.granted_by_users(name) else { continue };
            let vault = self.way_out().logins()?;
            let grant = vault.vault().store().upstream_grant(&owner.tenant, &owner.principal, url.as_str()).await;
            let is_granted = grant.map_err(|error| Outage::new(error.to_string()))?.is_some();
            all.push(Grantable { server: name.to_owned(), host: url.host_str().unwrap_or_default().to_owned(), is_granted });
        }
        Ok(all)
    }

    /// Whether there is a server that users grant access to.
    #[must_use]
    pub fn grants_access(&self) -> bool {
        let is_granted = |source: &Source| match source {
            Source::Remote(remote) => matches!(remote.credential, Some(CredentialConfig::PerUser(_))),
            _ => false,
        };
        self.plan().servers.values().any(|server| is_granted(&server.source))
    }

    /// The settings and the address of a server that users grant access to.
    #[must_use]
    pub fn granted_by_users(&self, server: &str) -> Option<(PerUserConfig, Url)> {
        match &self.plan().servers.get(server)?.source {
            Source::Remote(remote) => match &remote.credential {
                Some(CredentialConfig::PerUser(config)) => Some((config.clone(), remote.url.clone())),
                _ => None,
            },
            _ => None,
        }
    }
}
