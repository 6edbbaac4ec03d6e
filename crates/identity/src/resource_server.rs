//! The gateway as a resource server (OAuth 2.1 §1.1): whose tokens it takes, and what they have to say.
//!
//! A token is taken where a trusted issuer vouches for it (by exactly its name), it names the very endpoint that it is shown at, and its
//! time is now. What was found out is kept for a minute under the token's digest, so that the next request costs one look-up.

mod cache;
mod challenge;
mod claims;
pub mod introspection;
pub(crate) mod jws;
pub mod key;
pub mod key_source;
pub mod remote_issuer;
pub mod resource;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use sallyport_policy::Principal;
use sallyport_protocol::{CallerId, CallerToken, Endpoint};
use serde_json::{Map, Value};

use cache::Cache;
pub use claims::Terms;
use introspection::{Introspection, Unanswered};
use jws::Compact;
use key_source::KeySource;
use resource::{PublicUrl, Resources};

use crate::api_keys::ApiKeys;

/// Longest token in bytes. Those of Entra with 200 groups have 12 KiB; a request's whole head may have 32.
const LONGEST: usize = 16 * 1024;
/// Letters of an untrusted issuer's name that the log is told.
const LONGEST_TOLD: usize = 200;
/// For how long a verified token is believed without verifying it again: that long a revocation may go unnoticed at an issuer elsewhere.
const BELIEVED: Duration = Duration::from_secs(60);
/// How often the log is told of tokens for something else: a client that has one shows it again and again.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Takes tokens of the issuers that it trusts.
#[derive(Debug)]
pub struct ResourceServer {
    /// Known where there are issuers.
    public: Option<PublicUrl>,
    issuers: Vec<TrustedIssuer>,
    api_keys: Option<ApiKeys>,
    cache: Cache,
    /// When the log was last told of a token for something else.
    told: Mutex<Option<Instant>>,
}

/// An authorization server whose tokens are taken.
#[derive(Debug)]
pub struct TrustedIssuer {
    /// Who it is, and how its tokens are read.
    pub terms: Terms,
    /// Its keys.
    pub keys: Arc<dyn KeySource>,
    /// How tokens are asked about that cannot be read.
    pub introspection: Option<Introspection>,
}

/// A caller that was recognised, with the endpoints and the time that this is good for.
#[derive(Debug)]
pub struct Verified {
    /// Who it is.
    pub principal: Principal,
    /// The same for the doors.
    pub caller: CallerId,
    resources: Resources,
    /// `None` where it is told anew at every request: that costs no more than to remember it.
    until: Option<Instant>,
    /// Whose token showed it, and how often they had taken something back by then.
    issuer: Option<(Arc<dyn KeySource>, u64)>,
}

impl Verified {
    /// A caller that may come to every endpoint for as long as the configuration stays.
    pub(crate) fn everywhere(principal: Principal) -> Arc<Self> {
        Arc::new(Self::until(principal, Resources::All, None))
    }

    /// Somebody who may come to `resources`, to be asked about again after `believed`.
    pub(crate) fn new(principal: Principal, resources: Resources, believed: Duration) -> Arc<Self> {
        Arc::new(Self::until(principal, resources, Some(Instant::now() + believed)))
    }

    fn until(principal: Principal, resources: Resources, until: Option<Instant>) -> Self {
        Self { caller: CallerId(principal.full_id()), principal, resources, until, issuer: None }
    }

    /// Whether it was verified so short a time ago that it is believed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_timely() && self.issuer.as_ref().is_none_or(|(issuer, count)| issuer.withdrawals() == Some(*count))
    }

    /// The same, whatever its issuer has taken back since.
    fn is_timely(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether its issuer has taken nothing back since.
    async fn stands(&self) -> bool {
        match &self.issuer {
            Some((issuer, count)) => issuer.look_for_withdrawals().await == Some(*count),
            None => true,
        }
    }

    /// Itself, where it may come to `endpoint`.
    pub(crate) fn at(self: Arc<Self>, endpoint: &Endpoint) -> Result<Arc<Self>, TokenFault> {
        if self.resources.cover(endpoint) { Ok(self) } else { Err(TokenFault::OtherResource) }
    }
}

impl ResourceServer {
    /// One at `public` that trusts these. At most one of them is asked about tokens that cannot be read.
    #[must_use]
    pub fn new(public: Option<PublicUrl>, issuers: Vec<TrustedIssuer>, api_keys: Option<ApiKeys>) -> Self {
        Self { public, issuers, api_keys, cache: Cache::default(), told: Mutex::default() }
    }

    /// Where it is; said where it takes tokens of issuers.
    #[must_use]
    pub fn public(&self) -> Option<&PublicUrl> {
        self.public.as_ref()
    }

    /// The names of the issuers whose tokens it takes.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.terms.issuer.as_str())
    }

    /// Whether it takes keys that the gateway gave out.
    #[must_use]
    pub fn takes_keys(&self) -> bool {
        self.api_keys.is_some()
    }

    /// The names of the keys that the gateway gave out and that are good now; `None` where it takes none, or they cannot be looked up.
    pub async fn holders_of_keys(&self) -> Option<HashSet<String>> {
        self.api_keys.as_ref()?.names().await
    }

    /// Whether there is an issuer whose tokens are bounded by scopes.
    #[must_use]
    pub fn asks_for_scopes(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.terms.scoped)
    }

    /// What is known of a token without waiting.
    pub(crate) fn known(&self, digest: &[u8; 32]) -> Option<Arc<Verified>> {
        self.cache.get(digest)
    }

    /// Forgets what is known of the token with this SHA-256: it was revoked.
    pub fn forget(&self, digest: &[u8; 32]) {
        self.cache.remove(digest);
    }

    /// Finds out whose a token is, and whether it is good for `endpoint`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn verify(&self, token: &CallerToken, digest: [u8; 32], endpoint: &Endpoint) -> Result<Arc<Verified>, TokenFault> {
        let text = token.for_its_issuer().ok_or(TokenFault::Malformed)?;
        if text.len() > LONGEST {
            return Err(TokenFault::TooLarge);
        }
        if let Some(known) = self.cache.timely(&digest)
            && known.stands().await
        {
            return known.at(endpoint);
        }
        let verified = match (Compact::parse(text), &self.api_keys) {
            (Some(compact), _) => self.signed(&compact).await?,
            (None, Some(api_keys)) if ApiKeys::is_meant_by(text) => api_keys.holder(digest).await?,
            (None, None) if ApiKeys::is_meant_by(text) => return Err(TokenFault::Unknown), // nobody else is shown one
            (None, _) => self.opaque(text).await?,
        };
        self.cache.insert(digest, verified).at(endpoint)
    }

    async fn signed(&self, compact: &Compact<'_>) -> Result<Arc<Verified>, TokenFault> {
        let claimed = compact.claimed_issuer().ok_or(TokenFault::Malformed)?;
        let trusted = self.issuers.iter().find(|issuer| issuer.terms.issuer == claimed);
        let issuer = trusted.ok_or_else(|| self.untrusted(&claimed))?;
        let algorithm = compact.algorithm().filter(|algorithm| issuer.terms.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(TokenFault::Algorithm)?;
        if !issuer.terms.takes_type(compact.header.typ.as_deref()) {
            return Err(TokenFault::Type);
        }
        let id = compact.header.kid.as_deref();
        let key = match issuer.keys.find(id, algorithm) {
            Some(key) => key,
            None => {
                issuer.keys.refresh().await;
                issuer.keys.find(id, algorithm).ok_or(TokenFault::UnknownKey)?
            }
        };
        let claims = compact.verify(&key).ok_or(TokenFault::Signature)?;
        if !claims.contains_key("exp") {
            return Err(TokenFault::Claims);
        }
        // Counted first: what is taken back while it is looked at is noticed with the next request.
        let withdrawals = issuer.keys.look_for_withdrawals().await.ok_or(TokenFault::Unavailable)?;
        if issuer.keys.is_revoked(&claims).await {
            return Err(TokenFault::Inactive);
        }
        let accepted = self.accept(issuer, &claims)?;
        Ok(Arc::new(Verified { issuer: Some((issuer.keys.clone(), withdrawals)), ..accepted }))
    }

    /// Tells the log whose token it was. One that is nearly the name of a trusted issuer is the commonest slip of a configuration.
    fn untrusted(&self, claimed: &str) -> TokenFault {
        let claimed: String = claimed.chars().take(LONGEST_TOLD).collect();
        let bare = |name: &str| name.trim_end_matches('/').to_ascii_lowercase();
        let near = self.issuers.iter().map(|issuer| issuer.terms.issuer.as_str()).find(|known| bare(known) == bare(&claimed));
        let hint = match near {
            Some(known) => format!("`{known}` is trusted, which is another name: write `issuer` exactly as tokens do, to the last slash"),
            None => "name it in `identity.issuers` if its tokens are to be taken".to_owned(),
        };
        tracing::debug!(issuer = ?claimed, hint, "a token's issuer is not trusted here");
        TokenFault::UnknownIssuer
    }

    /// Tells the log of a token whose audience is no endpoint here: what is in it the caller is not told, and whoever configures has to know.
    fn tell_of_audience(&self, issuer: &TrustedIssuer, claims: &Map<String, Value>, public: &PublicUrl) {
        let Some(audiences) = issuer.terms.strange_audiences(claims, public) else { return };
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let audience: String = audiences.join(" ").chars().take(LONGEST_TOLD).collect();
        let client = issuer.terms.client(claims).ok().flatten();
        let hint = if client.is_some_and(|client| audiences.contains(&client)) {
            "that is the client that it was issued to: have the issuer name the endpoint (`resource`, RFC 8707), or, if every token of this client is \
             for one endpoint here, set `audiences` of the issuer"
        } else {
            "if the issuer calls an endpoint so, set `audiences` of the issuer"
        };
        let example = format!("audiences = {{ {audience:?} = \"/mcp\" }}");
        tracing::warn!(issuer = issuer.terms.issuer, ?audience, hint, example, "a token is for no endpoint of this gateway");
    }

    async fn opaque(&self, token: &str) -> Result<Arc<Verified>, TokenFault> {
        let asked = self.issuers.iter().find_map(|issuer| issuer.introspection.as_ref().map(|introspection| (issuer, introspection)));
        let (issuer, introspection) = asked.ok_or(TokenFault::Unknown)?;
        let claims = introspection.ask(token).await.map_err(|Unanswered| TokenFault::Unavailable)?.ok_or(TokenFault::Inactive)?;
        if !introspection::is_about_access(&claims) {
            return Err(TokenFault::Type);
        }
        self.accept(issuer, &claims).map(Arc::new)
    }

    fn accept(&self, issuer: &TrustedIssuer, claims: &Map<String, Value>) -> Result<Verified, TokenFault> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let public = self.public.as_ref().ok_or(TokenFault::OtherResource)?;
        let accepted = issuer.terms.accept(claims, public, now).inspect_err(|_| self.tell_of_audience(issuer, claims, public))?;
        Ok(Verified::until(accepted.principal, accepted.resources, Some(Instant::now() + accepted.left.min(BELIEVED))))
    }
}

/// Why a token is not taken. Every text may be shown to who showed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It has no form that a token can have.
    Malformed,
    /// It is longer than 16 KiB.
    TooLarge,
    /// Nobody here knows it.
    Unknown,
    /// Its issuer is not trusted.
    UnknownIssuer,
    /// It is signed in a way that its issuer's tokens are not to be, or not at all.
    Algorithm,
    /// It is no access token.
    Type,
    /// Its issuer has no such key.
    UnknownKey,
    /// Its signature is false.
    Signature,
    /// It lacks a claim, or one says what it cannot.
    Claims,
    /// It has expired.
    Expired,
    /// Its time has not come.
    NotYet,
    /// Its issuer says that it is not valid, or not any more.
    Inactive,
    /// It is for another resource.
    OtherResource,
    /// Its issuer cannot be asked about it now.
    Unavailable,
    /// The gateway's own keys cannot be looked up now.
    KeysUnavailable,
    /// It is not taken, and why is not said.
    NotTaken,
}

impl TokenFault {
    /// Whether nothing is said of the token itself: another try may go well.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unavailable | Self::KeysUnavailable)
    }

    /// The name in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_token",
            Self::TooLarge => "token_too_large",
            Self::Unknown => "unknown_key",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Algorithm => "token_algorithm",
            Self::Type => "token_type",
            Self::UnknownKey => "token_key",
            Self::Signature => "token_signature",
            Self::Claims => "token_claims",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::Inactive => "token_inactive",
            Self::OtherResource => "token_for_other_resource",
            Self::Unavailable => "issuer_unavailable",
            Self::KeysUnavailable => "keys_unavailable",
            Self::NotTaken => "not_taken",
        }
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Malformed => "the bearer token is malformed",
            Self::TooLarge => "the bearer token is larger than 16 KiB",
            Self::Unknown => "the bearer key is not known",
            Self::UnknownIssuer => "the token's issuer is not trusted here",
            Self::Algorithm => "the token is not signed as its issuer's tokens are",
            Self::Type => "the token is no access token",
            Self::UnknownKey => "the token is signed with a key that its issuer does not have",
            Self::Signature => "the token's signature is false",
            Self::Claims => "a claim of the token is missing or cannot be so",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Inactive => "the token is not valid, or not any more",
            Self::OtherResource => "the token is for another resource",
            Self::Unavailable => "the token's issuer cannot be asked about it now",
            Self::KeysUnavailable => "the bearer key cannot be checked now",
            Self::NotTaken => "the credential is not taken here",
        })
    }
}

impl std::error::Error for TokenFault {}
