//! The end of callers' own programs (`shared = false`) whose keys were taken back, or have ended.
//!
//! A program serves its one caller, and nobody comes any more whose key is good no longer: it would hold its memory, and what it was told,
//! until a thousand others have called. `sallyport key revoke` runs in another process, so the store is asked again and again. Keys of the
//! configuration end with a reload.

use std::sync::Arc;
use std::time::Duration;

use sallyport_policy::{Principal, PrincipalKind};
use sallyport_secrets::SecretReference;

use crate::gateway::{Gateway, Inner};
use crate::upstream::Upstream;

/// As long as a key is believed that was looked up: who calls until then has another program started, which the next look ends.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Gateway {
    /// Ends programs of callers whose keys are good no longer, its tenants' too, for as long as it is awaited. Calls under way may finish,
    /// for at most `grace`.
    pub async fn end_programs_with_keys(&self, grace: Duration) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.0.end_programs_with_keys(grace).await;
            for tenant in self.tenants() {
                tenant.0.end_programs_with_keys(grace).await;
            }
        }
    }
}

impl Inner {
    async fn end_programs_with_keys(&self, grace: Duration) {
        let parts = self.parts.load_full();
        let Some(server) = parts.identity.resource_server().filter(|_| parts.has_personal) else { return };
        // Looked at first: a key that is made while the store is read is not among those that it tells.
        let there = parts.persons.principals();
        let Some(good) = server.holders_of_keys().await else { return };
        let is_over = |principal: &Principal| name_of_key(principal).is_some_and(|name| !good.contains(name));
        let ended = self.take_out(&parts, |principal| there.contains(principal) && is_over(principal));
        let ends = |one: &Upstream| ended.iter().any(|upstream| std::ptr::eq(Arc::as_ptr(upstream), one));
        self.questions.abandon(ends);
        self.tasks.abandon(ends);
        for upstream in ended {
            tracing::info!(server = %upstream.name(), "a caller's own program is ended: the key is good no longer");
            tokio::spawn(async move { upstream.stop(grace).await }); // one that takes long holds up no other
        }
    }
}

/// What the key is called by which a caller comes, where the gateway gave it out.
fn name_of_key(principal: &Principal) -> Option<&str> {
    match principal.kind() {
        // Keys of the configuration are called by their references, which no key in the store is.
        PrincipalKind::Key(name) => Some(&**name).filter(|name| !SecretReference::is_meant_by(name)),
        PrincipalKind::LocalUser | PrincipalKind::User { .. } | PrincipalKind::Client { .. } => None,
    }
}
