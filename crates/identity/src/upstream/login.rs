//! Logins at upstream servers: from the link that a user is given to the tokens in the vault.
//!
//! | step | what happens |
//! | --- | --- |
//! | `want` | a server wants a token; the user is given a link with an unguessable id |
//! | `look` | the link was opened: says whose it is and what for, so that the page can ask who sits there |
//! | `begin` | that was the right one, who agreed: the link is used up, and the browser goes to the issuer |
//! | `finish` | it came back: code, `state`, `iss` and the browser's cookie have to fit; the tokens are kept |
//!
//! Everything under way lies sealed in the store for ten minutes, so that any process of a gateway can take the next step, once.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};
use sallyport_store::{GrantId, client_bound};
use serde::{Deserialize, Serialize};
use url::Url;

use super::assertion::unguessable;
use super::challenge::{Challenge, scopes};
use super::client::{Client, KeptClient};
use super::discovery::{Discovered, Place, discover, server_metadata};
use super::metadata::ServerMetadata;
use super::minted::Around;
use super::per_user::{Config, Owner, Sealed, keep, of_vault, seconds};
use super::registration::register;
use super::token::{Asking, TokenError, legible};
use super::vault::Vault;
use super::{joined, union};
use crate::fetch::is_safe_page;

/// How long a login may take, in seconds, from the link to the way back, each step anew. A person finds a password in that time.
const HOLDS: u64 = 10 * 60;

/// What a server wants a user to grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// The server's name in the configuration.
    pub server: String,
    /// Who is to grant it: nobody else may.
    pub owner: Owner,
    #[serde(with = "kept_challenge")]
    pub(crate) challenge: Challenge,
    /// Scopes that are to be asked for besides.
    pub(crate) before: Vec<String>,
}

/// A login whose browser is at the issuer.
#[derive(Serialize, Deserialize)]
struct Under {
    wanted: Wanted,
    resource: String,
    /// The issuer whose metadata was used, to be compared with `iss`.
    issuer: String,
    says_iss: bool,
    verifier: String,
    redirect: String,
    requested: Vec<String>,
    client: Option<KeptClient>,
    generation: i64,
    /// The digest of the browser's cookie.
    browser: String,
    /// The login at the gateway itself in which it was begun, where there is one.
    session: Option<String>,
}

/// Where the browser is to go, and what it is to bring back.
pub struct Begun {
    /// The issuer's page.
    pub to: Url,
    /// The value of the cookie that binds the way back to this browser.
    pub cookie: String,
}

impl fmt::Debug for Begun {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Begun").field("to", &self.to.host_str()).finish_non_exhaustive() // the rest is `state` and the cookie
    }
}

/// The logins of one gateway. Clones are the same.
#[derive(Clone, Debug)]
pub struct Logins(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    vault: Vault,
    around: Around,
}

impl Logins {
    /// The logins that end in `vault`.
    #[must_use]
    pub fn new(vault: Vault, around: Around) -> Self {
        Self(Arc::new(Inside { vault, around }))
    }

    /// Where grants are kept.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    fn now(&self) -> u64 {
        (self.0.around.clock)()
    }

    /// Begins a login; its id goes into the link.
    pub(crate) async fn want(&self, wanted: &Wanted) -> Result<String, TokenError> {
        self.put("link", wanted, &wanted.owner).await
    }

    /// Begins a login that the user asked for, without a server that refused anything; its id goes into the link.
    ///
    /// # Errors
    /// Where too many are under way, or the vault cannot be used.
    pub async fn offer(&self, server: &str, owner: Owner) -> Result<String, LoginError> {
        let wanted = Wanted { server: server.to_owned(), owner, challenge: Challenge::default(), before: Vec::new() };
        Ok(self.want(&wanted).await?)
    }

    /// Says who is to grant what. The link stays good.
    ///
    /// # Errors
    /// `Unknown` where there is no such login, or it is over.
    pub async fn look(&self, id: &str) -> Result<Wanted, LoginError> {
        let key = key("link", id);
        let sealed = self.0.vault.store.upstream_login(key.clone(), seconds(self.now())).await.map_err(of_vault)?;
        self.open(&key, sealed)
    }

    /// Sends the browser of the right user to the issuer. `redirect` is the gateway's `/connect/callback`; `session` stands for the login at
    /// the gateway by which the user is known, where there is one.
    ///
    /// # Errors
    /// Where the link is used up, or the issuer cannot be used.
    pub async fn begin(&self, id: &str, config: &Config, server: &Url, redirect: &Url, session: Option<&str>) -> Result<Begun, LoginError> {
        let wanted: Wanted = self.take("link", id).await?;
        let place = Place::new(server.clone(), config.issuer.clone());
        let found = discover(&self.0.around.fetcher, &place, &wanted.challenge).await.map_err(TokenError::from)?;
        let endpoint = safe_to_visit(&found.server)?;
        let (client, generation) = self.client(config, &place, &found.server, redirect).await?;
        let verifier = unguessable().ok_or_else(no_random)?;
        let cookie = unguessable().ok_or_else(no_random)?;
        let requested = scopes_to_ask(config, &wanted, &found);
        let under = Under {
            resource: found.resource.clone(),
            issuer: found.server.issuer.clone(),
            says_iss: found.server.authorization_response_iss_parameter_supported,
            redirect: redirect.to_string(),
            requested: requested.clone(),
            client: client.kept(),
            generation,
            browser: hash(&cookie),
            session: session.map(hash),
            verifier,
            wanted,
        };
        let state = self.put("state", &under, &under.wanted.owner).await?;
        let mut to = endpoint.clone();
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client.id())
            .append_pair("redirect_uri", &under.redirect)
            .append_pair("code_challenge", &hash(&under.verifier))
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &state)
            .append_pair("resource", &under.resource);
        if !requested.is_empty() {
            to.query_pairs_mut().append_pair("scope", &joined(&requested));
        }
        Ok(Begun { to, cookie })
    }

    /// Ends a login: what came back from the issuer becomes a kept grant. `session` is as in [`begin`](Self::begin), now; `configured` gives
    /// the server's address and settings by its name.
    ///
    /// # Errors
    /// Where anything does not fit; then nothing is kept, and the login is over.
    pub async fn finish(
        &self,
        answer: &[(String, String)],
        cookie: Option<&str>,
        session: Option<&str>,
        configured: impl Fn(&str) -> Option<(Config, Url)>,
    ) -> Result<Wanted, LoginError> {
        let said = |name: &str| {
            let mut all = answer.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
            all.next().filter(|_| all.next().is_none()) // said twice, it could be read in two ways
        };
        let under: Under = self.take("state", said("state").ok_or(LoginError::Unknown)?).await?;
        if cookie.map(hash).as_deref() != Some(under.browser.as_str()) {
            return Err(LoginError::OtherBrowser);
        }
        if under.session.is_some() && session.map(hash) != under.session {
            return Err(LoginError::OtherPerson);
        }
        match said("iss") {
            Some(issuer) if issuer != under.issuer => return Err(LoginError::OtherIssuer),
            None if under.says_iss => return Err(LoginError::OtherIssuer),
            _ => {}
        }
        if let Some(error) = said("error") {
            return Err(LoginError::Declined(legible(error)));
        }
        let code = said("code").ok_or(LoginError::Unknown)?;
        let (config, url) = configured(&under.wanted.server).ok_or(LoginError::Unknown)?;
        self.redeem(&under, code, &config, &url).await?;
        Ok(under.wanted)
    }

    async fn redeem(&self, under: &Under, code: &str, config: &Config, url: &Url) -> Result<(), TokenError> {
        let Around { fetcher, clock } = &self.0.around;
        let place = Place::new(url.clone(), config.issuer.clone());
        let server = server_metadata(fetcher, &place, &under.issuer).await?;
        let client = match (&under.client, &config.client) {
            (Some(kept), _) => kept.client(),
            (None, Some(registered)) if config.is_of(&under.issuer) => registered.resolve()?,
            (None, _) => return Err(TokenError::UnknownClient),
        };
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", under.redirect.clone()),
            ("code_verifier", under.verifier.clone()),
            ("resource", under.resource.clone()),
        ];
        let tokens = Asking { fetcher, place: &place, server: &server, client: &client, clock: *clock }.tokens(form).await;
        if matches!(tokens, Err(TokenError::UnknownClient)) {
            self.0.vault.store.give_up_upstream_client(under.issuer.clone(), under.generation).await.map_err(of_vault)?;
        }
        let tokens = tokens?;
        let Owner { tenant, principal } = under.wanted.owner.clone();
        let (owner, resource) = ((Some(tenant.clone()), principal.clone()), url.to_string());
        let id = GrantId { tenant, principal, resource: resource.clone(), issuer: under.issuer.clone() };
        let sealed = Sealed {
            access: tokens.access,
            refresh: tokens.refresh,
            requested: under.requested.clone(),
            granted: tokens.scopes,
            audience: under.resource.clone(),
            client: under.client.clone(),
        };
        // Of an issuer that the server has left nothing is kept.
        self.0.vault.store.forget_upstream_grants(Some(owner), Some(resource)).await.map_err(of_vault)?;
        keep(&self.0.vault, id, under.generation, &sealed, tokens.expires, self.now()).await
    }

    /// The client that the gateway is at an issuer: the configured one, one by its metadata, the one that it registered.
    async fn client(&self, config: &Config, place: &Place, server: &ServerMetadata, redirect: &Url) -> Result<(Known, i64), TokenError> {
        if let Some(registered) = &config.client {
            return Ok((Known::Configured(registered.resolve()?), 0));
        }
        if let Some(url) = config.client_metadata_url.as_ref().filter(|_| server.client_id_metadata_document_supported) {
            return Ok((Known::Kept(KeptClient { id: url.to_string(), secret: None, method: Some("none".to_owned()) }), 0));
        }
        let (issuer, redirect_text) = (server.issuer.as_str(), redirect.as_str());
        let bound = client_bound(issuer, redirect_text);
        let open = |sealed: &[u8]| -> Result<Option<KeptClient>, TokenError> {
            let text = self.0.vault.open_kept(&bound, sealed).map_err(of_vault)?;
            Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
        };
        if let Some((generation, Some(sealed))) = self.0.vault.store.upstream_client(issuer, redirect_text).await.map_err(of_vault)? {
            if let Some(kept) = open(&sealed)? {
                return Ok((Known::Kept(kept), generation));
            }
            self.0.vault.store.give_up_upstream_client(issuer.to_owned(), generation).await.map_err(of_vault)?;
        }
        let registered = register(&self.0.around.fetcher, place, server, redirect).await?;
        let text = serde_json::to_vec(&registered).unwrap_or_default();
        let sealed = self.0.vault.seal(&bound, &text).map_err(of_vault)?;
        let kept = self.0.vault.store.keep_upstream_client(issuer.to_owned(), redirect_text.to_owned(), sealed).await;
        let (generation, sealed) = kept.map_err(of_vault)?;
        Ok((Known::Kept(open(&sealed)?.unwrap_or(registered)), generation))
    }

    async fn put(&self, kind: &str, what: &impl Serialize, owner: &Owner) -> Result<String, TokenError> {
        let id = unguessable().ok_or_else(no_random)?;
        let key = key(kind, &id);
        let text = zeroize::Zeroizing::new(serde_json::to_vec(what).unwrap_or_default());
        let sealed = self.0.vault.seal(&key, &text).map_err(of_vault)?;
        let (now, owner) = (self.now(), format!("{}/{}", owner.tenant, owner.principal));
        let times = (seconds(now), seconds(now.saturating_add(HOLDS)));
        self.0.vault.store.begin_upstream_login(key, sealed, owner, times).await.map_err(of_vault)?;
        Ok(id)
    }

    async fn take<T: for<'de> Deserialize<'de>>(&self, kind: &str, id: &str) -> Result<T, LoginError> {
        let key = key(kind, id);
        let sealed = self.0.vault.store.take_upstream_login(key.clone(), seconds(self.now())).await.map_err(of_vault)?;
        self.open(&key, sealed)
    }

    fn open<T: for<'de> Deserialize<'de>>(&self, key: &str, sealed: Option<Vec<u8>>) -> Result<T, LoginError> {
        let text = self.0.vault.open(key, &sealed.ok_or(LoginError::Unknown)?).map_err(of_vault)?;
        text.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(LoginError::Unknown)
    }
}

/// The client that a login is begun with.
enum Known {
    Configured(Client),
    Kept(KeptClient),
}

impl Known {
    fn id(&self) -> &str {
        match self {
            Self::Configured(client) => &client.id,
            Self::Kept(kept) => &kept.id,
        }
    }

    fn kept(&self) -> Option<KeptClient> {
        match self {
            Self::Configured(_) => None,
            Self::Kept(kept) => Some(kept.clone()),
        }
    }
}

/// The issuer's page, if its answer cannot be intercepted and it is no address that makes a browser do something else.
fn safe_to_visit(server: &ServerMetadata) -> Result<&Url, TokenError> {
    let has_s256 = server.code_challenge_methods_supported.as_ref().is_some_and(|methods| methods.iter().any(|method| method == "S256"));
    if !has_s256 {
        return Err(TokenError::Unusable(format!("the authorization server {:?} does not protect its codes (PKCE S256)", server.issuer)));
    }
    let endpoint = server.authorization_endpoint.as_ref().filter(|url| is_safe_page(url));
    endpoint.ok_or_else(|| TokenError::Unusable(format!("the authorization server {:?} has no page for people over https", server.issuer)))
}

/// What to ask for. `offline_access` goes with it where the issuer knows it: without, many give nothing to renew with.
fn scopes_to_ask(config: &Config, wanted: &Wanted, found: &Discovered) -> Vec<String> {
    let asked = config.scopes.clone().or_else(|| found.scopes.clone()).unwrap_or_default();
    // What was granted before the configuration named less is not asked for again.
    let is_named = |scope: &&String| config.scopes.as_ref().is_none_or(|named| named.contains(*scope));
    let before: Vec<String> = wanted.before.iter().filter(is_named).cloned().collect();
    let mut all = union(&before, &asked);
    if found.server.lists_scope("offline_access") {
        all = union(&all, &["offline_access".to_owned()]);
    }
    all
}

/// Under what a login lies in the store, which never sees the id itself.
fn key(kind: &str, id: &str) -> String {
    format!("{kind} {}", hash(id))
}

fn hash(text: &str) -> String {
    BASE64.encode(digest(&SHA256, text.as_bytes()))
}

fn no_random() -> TokenError {
    TokenError::Own("this system has no random numbers".to_owned())
}

/// A challenge as it is kept: its address and its scopes.
mod kept_challenge {
    use super::{Challenge, Deserialize, Serialize, Url, joined, scopes};

    #[derive(Serialize, Deserialize)]
    struct Kept(Option<Url>, Option<String>);

    pub(super) fn serialize<S: serde::Serializer>(challenge: &Challenge, to: S) -> Result<S::Ok, S::Error> {
        Kept(challenge.resource_metadata.clone(), challenge.scopes.as_deref().map(joined)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Challenge, D::Error> {
        let Kept(resource_metadata, list) = Kept::deserialize(from)?;
        Ok(Challenge { resource_metadata, scopes: list.as_deref().map(scopes), error: None })
    }
}

/// Why a login did not end well.
#[derive(Debug)]
pub enum LoginError {
    /// There is no such login: it never was, was used, or is over.
    Unknown,
    /// The browser is not the one that began.
    OtherBrowser,
    /// Whoever began has logged out of the gateway, or somebody else has logged in.
    OtherPerson,
    /// The answer is not from the issuer that was asked.
    OtherIssuer,
    /// The user, or the issuer, said no: its error code.
    Declined(String),
    /// Something went wrong on the way.
    Failed(TokenError),
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("this link was used already, or is over"),
            Self::OtherBrowser => out.write_str("this is not the browser that the login was begun in"),
            Self::OtherPerson => out.write_str("whoever began this is not logged in at this browser any more"),
            Self::OtherIssuer => out.write_str("the answer is not from the authorization server that was asked"),
            Self::Declined(code) => write!(out, "access was not granted ({code})"),
            Self::Failed(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for LoginError {}
