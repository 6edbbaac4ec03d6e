//! What the pages and commands about users' grants need of a gateway.

use std::sync::Arc;

use sallyport_identity::upstream::{CredentialConfig, Owner, PerUserConfig};
use sallyport_protocol::{Answer, Era, Failure, Incoming, Method};
use url::Url;

use crate::failure;
use crate::gateway::Gateway;
use crate::plan::Source;
use crate::upstream::WayOut;

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

    /// Who sends a request, as the owner of grants; `None` where that is nobody.
    pub async fn owner(&self, incoming: &Incoming) -> Option<Owner> {
        let parts = self.0.parts.load_full();
        let principal = parts.authenticate(incoming, Method::ToolsCall).await.ok()?;
        Some(Owner { tenant: principal.tenant().to_owned(), principal: principal.id().to_owned() })
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
