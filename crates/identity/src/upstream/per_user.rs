//! A user's own tokens for one server, out of the vault: kept in mind while they are good, renewed by one process at a time.
//!
//! Refresh tokens are good once at many issuers. So who renews holds the lease of the row, reads the row again once it has it (another
//! process may have renewed), and writes what it got before anybody uses it.

mod grant;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_protocol::{BoxFuture, CallerToken};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use self::grant::Grant;
pub(crate) use self::grant::keep;
use super::assertion::unguessable;
use super::challenge::Challenge;
use super::client::{KeptClient, RegisteredConfig};
use super::discovery::Place;
use super::login::{Logins, Wanted};
use super::minted::{Around, TRY_AGAIN, within};
use super::token::TokenError;
use super::vault::VaultError;
use super::{Token, TokenSource, Unavailable, joined, union};

/// A token is renewed when so many seconds of its life are left: a call takes a while, and clocks differ.
const AHEAD: u64 = 60;
/// For how many seconds a token is used without a look at the vault: what was forgotten there is asked for again so soon, and a look is one
/// row that is read and opened.
const LOOK_AGAIN: u64 = 1;
/// How often it is looked whether another process is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// For how long that is waited for: three documents and one request, each of which may take ten seconds, and a lease that nobody gave back.
const MOST_LOOKS: u32 = 650;

/// The client that the gateway is at the issuer, where the operator says so. `{}` leaves everything to be found out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The client that the operator registered, with the gateway's `/connect/callback` as its redirect URI. Needs `issuer`. Default:
    /// none; the gateway introduces itself by `client_metadata_url`, or registers (RFC 7591).
    pub client: Option<RegisteredConfig>,
    /// Where a metadata document of the gateway lies (CIMD), `https://`: it is the client's id. It lists `/connect/callback`. Default:
    /// none.
    #[schemars(with = "Option<String>")]
    pub client_metadata_url: Option<Url>,
    /// The authorization server. Default: whichever the server names first.
    #[schemars(with = "Option<String>")]
    pub issuer: Option<Url>,
    /// The scopes to ask for. Default: those that the server asks for, else those that it lists.
    pub scopes: Option<Vec<String>>,
}

impl Config {
    pub(crate) fn within(self, folder: &Path) -> Self {
        Self { client: self.client.map(|client| client.within(folder)), ..self }
    }

    /// Whether the client that is configured is one of `issuer`: its secret is shown nowhere else.
    pub(crate) fn is_of(&self, issuer: &str) -> bool {
        self.issuer.as_ref().is_none_or(|named| named.as_str().trim_end_matches('/') == issuer.trim_end_matches('/'))
    }
}

/// Whose tokens they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The user's tenant; empty where there are none.
    pub tenant: String,
    /// The user's id, unique in the tenant.
    pub principal: String,
}

/// What is sealed of a grant.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    /// What was asked for: the union over all times that more was wanted.
    pub(crate) requested: Vec<String>,
    pub(crate) granted: Option<Vec<String>>,
    /// The `resource` that the tokens were asked for with.
    pub(crate) audience: String,
    /// Whom the tokens were given to; `None` where the configuration says it.
    pub(crate) client: Option<KeptClient>,
}

/// One user's tokens for one server.
pub struct PerUser {
    grant: Arc<Grant>,
    /// What the server said when it refused a request for want of a token.
    challenge: std::sync::Mutex<Challenge>,
    /// The token in use. Held while it is renewed, so that this process renews it once.
    held: Mutex<Option<Held>>,
}

struct Held {
    access: String,
    /// Until then it is used without a look at the vault.
    until: u64,
}

impl PerUser {
    /// The tokens of `owner` for the server called `server` at `url`.
    #[must_use]
    pub fn new(config: Config, server: &str, url: &Url, owner: Owner, around: Around, logins: Logins) -> Self {
        let place = Place::new(url.clone(), config.issuer.clone());
        let grant = Grant { config, place, owner, server: server.to_owned(), around, logins };
        Self { grant: Arc::new(grant), challenge: std::sync::Mutex::default(), held: Mutex::default() }
    }

    /// Whether there is a grant.
    ///
    /// # Errors
    /// Where the vault cannot be read.
    pub async fn is_granted(&self) -> Result<bool, Unavailable> {
        Ok(self.grant.kept().await?.is_some())
    }

    /// Begins a login that gives what the server asked for last: `Consent` with its id, or why it cannot begin.
    pub async fn ask(&self) -> Unavailable {
        let challenge = self.last_challenge().clone();
        match self.wanted(challenge, Vec::new()).await {
            Ok(id) => Unavailable::Consent(id),
            Err(error) => Unavailable::Failed(error),
        }
    }

    fn last_challenge(&self) -> MutexGuard<'_, Challenge> {
        self.challenge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wanted(&self, challenge: Challenge, before: Vec<String>) -> Result<String, TokenError> {
        let wanted = Wanted { server: self.grant.server.clone(), owner: self.grant.owner.clone(), challenge, before };
        self.grant.logins.want(&wanted).await
    }

    /// The good token of the vault. `worn` is one that the server refused, or `None` where time alone decides.
    async fn current(&self, held: &mut Option<Held>, worn: Option<&Token>) -> Result<Option<Token>, TokenError> {
        let Some(holder) = unguessable() else { return Err(TokenError::Own("this system has no random numbers".to_owned())) };
        for _ in 0..MOST_LOOKS {
            let Some((row, sealed)) = self.grant.kept().await? else {
                *held = None;
                return Ok(None);
            };
            let now = (self.grant.around.clock)();
            let expires = u64::try_from(row.expires).unwrap_or_default();
            let ahead = ahead(u64::try_from(row.updated).unwrap_or_default(), expires);
            let is_good = now.saturating_add(ahead) < expires && worn.is_none_or(|worn| !worn.is(&sealed.access));
            if is_good || (worn.is_none() && now < expires && sealed.refresh.is_none()) {
                return Ok(Some(hold(held, &sealed.access, expires.saturating_sub(ahead).min(now.saturating_add(LOOK_AGAIN)))));
            }
            if !self.grant.lease(&row.id, &holder, now).await? {
                tokio::time::sleep(LOOK_EVERY).await; // another process renews it
                continue;
            }
            let renewed = self.grant.clone().renewed_to_the_end(row.id, holder.clone(), worn.cloned()).await;
            let now = (self.grant.around.clock)();
            if let Err(error) = &renewed
                && worn.is_none()
                && now < expires
            {
                tracing::debug!(%error, "a token is used to its end, since it cannot be renewed");
                return Ok(Some(hold(held, &sealed.access, expires.min(now.saturating_add(TRY_AGAIN)))));
            }
            if !renewed? {
                *held = None;
                return Ok(None);
            }
            // An issuer that gives the token again which its server refused has no better one.
            if let (Some(worn), Some((_, sealed))) = (worn, self.grant.kept().await?)
                && worn.is(&sealed.access)
            {
                self.grant.forget().await?;
                *held = None;
                return Ok(None);
            }
        }
        Err(TokenError::Own("another process takes too long to renew the token".to_owned()))
    }
}

/// How long before its end, in seconds, a token is renewed that was had at `since`: one that lives for a minute is good for most of it.
fn ahead(since: u64, expires: u64) -> u64 {
    AHEAD.min(expires.saturating_sub(since) / 10)
}

fn hold(held: &mut Option<Held>, access: &str, until: u64) -> Token {
    *held = Some(Held { access: access.to_owned(), until });
    Token::new(access)
}

pub(crate) fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// The log says what is wrong with the vault; callers and browsers learn nothing of where it lies.
pub(crate) fn of_vault(error: impl Into<VaultError>) -> TokenError {
    let error = error.into();
    tracing::error!(hint = error.hint(), "users' grants cannot be read or kept: {error}");
    TokenError::Own("what users granted cannot be read or kept now; the gateway's log says why".to_owned())
}

impl TokenSource for PerUser {
    fn token<'a>(&'a self, _: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<Token>, Unavailable>> {
        Box::pin(async move {
            let mut held = self.held.lock().await;
            if let Some(Held { access, .. }) = held.as_ref().filter(|held| (self.grant.around.clock)() < held.until) {
                return Ok(Some(Token::new(access)));
            }
            Ok(self.current(&mut held, None).await?)
        })
    }

    fn refused<'a>(
        &'a self,
        challenge: Challenge,
        sent: Option<Token>,
        _: Option<&'a Arc<CallerToken>>,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            let mut held = self.held.lock().await;
            let kept = self.grant.kept().await?;
            let sent_is_old = |sent: &Token| kept.as_ref().is_some_and(|(_, sealed)| !sent.is(&sealed.access));
            if sent.as_ref().is_some_and(sent_is_old) {
                *held = None; // it was granted or renewed anew in the meantime
                return Ok(());
            }
            if challenge.wants_more_scopes() {
                within(self.grant.config.scopes.as_deref(), &challenge)?;
                let before = kept.map(|(_, sealed)| sealed.requested).unwrap_or_default();
                let wanted = challenge.scopes.clone().unwrap_or_default();
                if wanted.iter().all(|scope| before.contains(scope)) {
                    let text = format!("the server refuses although it was given the scopes that it wants ({})", joined(&wanted));
                    return Err(TokenError::Unusable(text).into());
                }
                let all = union(&before, &wanted);
                return Err(Unavailable::Consent(self.wanted(challenge, all).await?));
            }
            if let Some((row, _)) = &kept {
                let found = super::discovery::discover(&self.grant.around.fetcher, &self.grant.place, &challenge)
                    .await
                    .map_err(TokenError::from)?;
                let is_same = found.server.issuer == row.id.issuer;
                if is_same && self.current(&mut held, sent.as_ref()).await?.is_some() {
                    return Ok(());
                }
                self.grant.forget().await?; // of no use any more: the server refuses it, and nothing renews it
            }
            *held = None;
            self.last_challenge().clone_from(&challenge);
            Err(Unavailable::Consent(self.wanted(challenge, Vec::new()).await?))
        })
    }
}

impl fmt::Debug for PerUser {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PerUser").field("server", &self.grant.server).field("owner", &self.grant.owner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
