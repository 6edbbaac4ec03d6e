//! What is kept of one user's grant for one server, and its renewal.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sallyport_store::{GrantId, KeptGrant};

use super::{Config, Owner, Sealed, ahead, of_vault, seconds};
use crate::upstream::Token;
use crate::upstream::discovery::{Place, server_metadata};
use crate::upstream::login::Logins;
use crate::upstream::minted::{Around, beyond};
use crate::upstream::token::{Asking, TokenError, Tokens};
use crate::upstream::vault::Vault;

/// For how many seconds a lease holds. Who renews takes it again and again, so that one of a process that died is soon over: the issuer may
/// have given the next tokens already, and takes the old refresh token again for a short while alone (30 s at our own).
const LEASE: u64 = 10;
/// How often a lease is taken again by who has it.
const TAKE_AGAIN: Duration = Duration::from_secs(LEASE / 4);

/// One user's grant for one server: where it lies, and how it is renewed.
pub(super) struct Grant {
    pub(super) config: Config,
    pub(super) place: Place,
    pub(super) owner: Owner,
    pub(super) server: String,
    pub(super) around: Around,
    pub(super) logins: Logins,
}

impl Grant {
    pub(super) fn vault(&self) -> &Vault {
        self.logins.vault()
    }

    pub(super) fn resource(&self) -> &str {
        self.place.url().as_str()
    }

    /// The row, and what is sealed in it. What the gateway's own keys do not open is no grant: its key is gone, or somebody moved it.
    pub(super) async fn kept(&self) -> Result<Option<(KeptGrant, Sealed)>, TokenError> {
        let Owner { tenant, principal } = &self.owner;
        let row = self.vault().store.upstream_grant(tenant, principal, self.resource()).await.map_err(of_vault)?;
        let Some(row) = row else { return Ok(None) };
        let opened = self.vault().open_kept(&row.id.bound(), &row.sealed).map_err(of_vault)?;
        let sealed = opened.and_then(|text| serde_json::from_slice(&text).ok());
        let Some(sealed) = sealed else {
            tracing::warn!(server = self.server, "a kept grant cannot be opened with the keys that there are; it is asked for again");
            return Ok(None);
        };
        if self.is_beyond(&sealed) {
            tracing::info!(server = self.server, "a kept grant is good for more than `scopes` names by now; it is asked for again");
            return Ok(None);
        }
        Ok(Some((row, sealed)))
    }

    /// Whether the grant was asked for when the configuration named more scopes than it does.
    pub(super) fn is_beyond(&self, sealed: &Sealed) -> bool {
        beyond(self.config.scopes.as_deref(), &sealed.requested).is_some()
    }

    pub(super) async fn forget(&self) -> Result<(), TokenError> {
        let owner = (Some(self.owner.tenant.clone()), self.owner.principal.clone());
        let forgotten = self.vault().store.forget_upstream_grants(Some(owner), Some(self.resource().to_owned())).await;
        forgotten.map(|_| ()).map_err(of_vault)
    }

    /// Takes the right to renew the row, unless another has it.
    pub(super) async fn lease(&self, id: &GrantId, holder: &str, now: u64) -> Result<bool, TokenError> {
        let until = seconds(now.saturating_add(LEASE));
        self.vault().store.lease_upstream_grant(id.clone(), holder.to_owned(), seconds(now), until).await.map_err(of_vault)
    }

    /// Renews with the lease, and gives it back, whether or not anybody still waits for that: what the issuer has rotated is lost unless it
    /// is written down, and a call may be cancelled at any moment.
    pub(super) async fn renewed_to_the_end(self: Arc<Self>, id: GrantId, holder: String, worn: Option<Token>) -> Result<bool, TokenError> {
        let going_on = tokio::spawn(async move {
            let renewed = tokio::select! {
                renewed = self.renew_leased(id.clone(), &holder, worn.as_ref()) => renewed,
                never = self.keep_lease(&id, &holder) => match never {},
            };
            if let Err(error) = self.vault().store.release_upstream_grant(id, holder).await {
                let _logged = of_vault(error); // what was renewed is good all the same, and the lease is soon over
            }
            renewed
        });
        going_on.await.unwrap_or_else(|_| Err(TokenError::Own("the renewal of a token was broken off".to_owned())))
    }

    /// Takes the lease again before it is over, for as long as this is awaited. Where that fails the tokens are on their way all the same:
    /// to let go of them now would be to lose them.
    async fn keep_lease(&self, id: &GrantId, holder: &str) -> Infallible {
        loop {
            tokio::time::sleep(TAKE_AGAIN).await;
            let until = seconds((self.around.clock)().saturating_add(LEASE));
            match self.vault().store.prolong_upstream_lease(id.clone(), holder.to_owned(), until).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::debug!(server = self.server, "what is being renewed was forgotten, granted anew, or is another's to renew")
                }
                Err(error) => tracing::warn!(server = self.server, "the right to renew a token could not be taken again: {error}"),
            }
        }
    }

    /// Renews, with the lease. `false` where there is nothing (any more) to renew with.
    async fn renew_leased(&self, id: GrantId, holder: &str, worn: Option<&Token>) -> Result<bool, TokenError> {
        let Some((row, sealed)) = self.kept().await?.filter(|(row, _)| row.id == id) else { return Ok(true) }; // looked at again above
        let now = (self.around.clock)();
        let ahead = ahead(u64::try_from(row.updated).unwrap_or_default(), u64::try_from(row.expires).unwrap_or_default());
        if seconds(now.saturating_add(ahead)) < row.expires && worn.is_none_or(|worn| !worn.is(&sealed.access)) {
            return Ok(true); // another process was faster
        }
        match self.refreshed(&row, &sealed).await {
            Ok(Some(tokens)) => self.keep_renewed(row, holder, sealed, tokens).await.map(|()| true),
            Ok(None) | Err(TokenError::GrantIsOver) => self.give_up(row.id, holder).await.map(|()| false),
            Err(TokenError::UnknownClient) if sealed.client.is_some() => {
                self.vault().store.give_up_upstream_client(row.id.issuer.clone(), row.generation).await.map_err(of_vault)?;
                self.give_up(row.id, holder).await.map(|()| false)
            }
            // One of the configuration is for its operator to set right, and what users granted it is good again then.
            Err(TokenError::UnknownClient) => {
                let hint = "set `client` right in the server's `per_user`: its id, and its secret or key";
                tracing::warn!(server = self.server, hint, "the authorization server refuses the client that is configured");
                Err(TokenError::UnknownClient)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn refreshed(&self, row: &KeptGrant, sealed: &Sealed) -> Result<Option<Tokens>, TokenError> {
        let Some(refresh) = &sealed.refresh else { return Ok(None) };
        let server = server_metadata(&self.around.fetcher, &self.place, &row.id.issuer).await?;
        let client = match (&sealed.client, &self.config.client) {
            (Some(kept), _) => kept.client(),
            (None, Some(registered)) if self.config.is_of(&row.id.issuer) => registered.resolve()?,
            (None, _) => return Ok(None), // the configuration named a client there once, and does not any more
        };
        let form =
            vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh.clone()), ("resource", sealed.audience.clone())];
        let asking =
            Asking { fetcher: &self.around.fetcher, place: &self.place, server: &server, client: &client, clock: self.around.clock };
        asking.tokens(form).await.map(Some)
    }

    /// Keeps what a grant was renewed to, unless somebody forgot it or it was given anew meanwhile: that is looked at again.
    pub(super) async fn keep_renewed(&self, before: KeptGrant, holder: &str, old: Sealed, tokens: Tokens) -> Result<(), TokenError> {
        let sealed = Sealed {
            access: tokens.access,
            refresh: tokens.refresh.or(old.refresh), // an issuer that does not rotate says nothing
            granted: tokens.scopes.or(old.granted),
            ..old
        };
        let renewed = kept_grant(self.vault(), before.id, before.generation, &sealed, tokens.expires, (self.around.clock)())?;
        if !self.vault().store.renew_upstream_grant(renewed, holder.to_owned()).await.map_err(of_vault)? {
            tracing::info!(server = self.server, "a renewed token is dropped: its grant was forgotten, or given anew, meanwhile");
        }
        Ok(())
    }

    /// Forgets what cannot be renewed, unless it was given anew meanwhile.
    async fn give_up(&self, id: GrantId, holder: &str) -> Result<(), TokenError> {
        self.vault().store.give_up_upstream_grant(id, holder.to_owned()).await.map_err(of_vault)
    }
}

/// Seals a grant and writes it.
pub(crate) async fn keep(vault: &Vault, id: GrantId, generation: i64, sealed: &Sealed, expires: u64, now: u64) -> Result<(), TokenError> {
    let kept = kept_grant(vault, id, generation, sealed, expires, now)?;
    vault.store.keep_upstream_grant(kept).await.map_err(of_vault)
}

/// A grant, sealed.
fn kept_grant(vault: &Vault, id: GrantId, generation: i64, sealed: &Sealed, expires: u64, now: u64) -> Result<KeptGrant, TokenError> {
    let text = zeroize::Zeroizing::new(serde_json::to_vec(sealed).unwrap_or_default());
    let sealed = vault.seal(&id.bound(), &text).map_err(of_vault)?;
    Ok(KeptGrant { id, generation, sealed, expires: seconds(expires), updated: seconds(now) })
}
