//! The token endpoint (RFC 6749 section 3.2): what is asked there, and what comes back.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::Clock;
use super::challenge::scopes;
use super::client::Client;
use super::discovery::{DiscoveryError, Place};
use super::metadata::ServerMetadata;
use super::minted::Order;
use crate::fetch::{FetchError, Fetcher};

/// For how long a token is believed to be good whose issuer does not say: it is tried, and got anew when it is refused.
const UNSAID: Duration = Duration::from_secs(5 * 60);
/// The longest life that is believed: what is cached for longer was revoked by somebody in the meantime.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a token at most: it goes with every request, and servers' limits for all headers begin at 8 KiB.
const MAX_BYTES: usize = 8 * 1024;
/// Letters of an error that are told: a server's code and a sentence.
const TOLD: usize = 200;

/// A token for a server, and what came with it.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    /// The scopes that it is good for, where the issuer says so.
    pub(crate) scopes: Option<Vec<String>>,
    /// Seconds since 1970.
    pub(crate) expires: u64,
}

/// What is asked at a token endpoint.
pub(crate) struct Asking<'a> {
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) place: &'a Place,
    pub(crate) server: &'a ServerMetadata,
    pub(crate) client: &'a Client,
    pub(crate) clock: Clock,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: String,
    expires_in: Option<f64>,
    refresh_token: Option<String>,
    scope: Option<String>,
    issued_token_type: Option<String>,
    id_token: Option<String>,
}

#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl<'a> Asking<'a> {
    /// Asks `server` as `client`, for what is ordered.
    pub(crate) fn at(order: Order<'a>, server: &'a ServerMetadata, client: &'a Client) -> Self {
        Self { fetcher: &order.around.fetcher, place: order.place, server, client, clock: order.around.clock }
    }

    /// Asks for tokens with these parameters and those that say who asks.
    pub(crate) async fn tokens(&self, form: Vec<(&'static str, String)>) -> Result<Tokens, TokenError> {
        let granted = self.granted(form).await?;
        if !granted.token_type.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Nonsense("a token that is no bearer token"));
        }
        let life = granted
            .expires_in
            .filter(|seconds| *seconds >= 0.0)
            .map_or(UNSAID, |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST));
        Ok(Tokens {
            access: granted.access_token,
            refresh: granted.refresh_token.filter(|token| token.len() <= MAX_BYTES),
            scopes: granted.scope.as_deref().map(scopes),
            expires: (self.clock)() + life.min(LONGEST).as_secs(),
        })
    }

    /// Asks for a token of another type than one for a server (RFC 8693): only what it is called is looked at.
    pub(crate) async fn exchanged(&self, form: Vec<(&'static str, String)>, wanted: &str) -> Result<String, TokenError> {
        let granted = self.granted(form).await?;
        match granted.issued_token_type.as_deref() {
            Some(issued) if issued == wanted => Ok(granted.access_token),
            _ => Err(TokenError::Nonsense("a token of another type than was asked for")),
        }
    }

    /// Asks an identity provider for an access token and what it says of the person (OpenID Connect Core §3.1.3.3).
    pub(crate) async fn identified(&self, form: Vec<(&'static str, String)>) -> Result<(String, String), TokenError> {
        let granted = self.granted(form).await?;
        let id_token = granted.id_token.ok_or(TokenError::Nonsense("no ID token"))?;
        Ok((granted.access_token, id_token))
    }

    async fn granted(&self, mut form: Vec<(&'static str, String)>) -> Result<Granted, TokenError> {
        let mut headers = HeaderMap::new();
        self.client.sign(self.server, &mut form, &mut headers, (self.clock)())?;
        let pairs: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let endpoint = &self.server.token_endpoint;
        let answer = self.fetcher.post_form(endpoint, self.place.reach(endpoint), headers, &pairs).await;
        let answer = answer.map_err(TokenError::NotHad)?;
        if !answer.status.is_success() {
            let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(TokenError::of_refusal(answer.status.as_u16(), &refused));
        }
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| TokenError::Nonsense("an answer that holds no token"))?;
        let fits = |token: &str| (1..=MAX_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
        if fits(&granted.access_token) { Ok(granted) } else { Err(TokenError::Nonsense("a token that cannot be sent")) }
    }
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub enum TokenError {
    /// It is not known where tokens come from.
    Discovery(DiscoveryError),
    /// The authorization server cannot be asked.
    NotHad(FetchError),
    /// What the token was asked for with is good no more: `invalid_grant`.
    GrantIsOver,
    /// The authorization server does not know the client any more: `invalid_client`.
    UnknownClient,
    /// It refuses for another reason, which it says.
    Refused(String),
    /// It has too much to do, or is broken: the HTTP status.
    Busy(u16),
    /// Its answer is none.
    Nonsense(&'static str),
    /// What it offers is too weak, or cannot be used here.
    Unusable(String),
    /// The fault lies on this side: the configuration, the store.
    Own(String),
}

impl TokenError {
    fn of_refusal(status: u16, refused: &Refused) -> Self {
        match (status, refused.error.as_str()) {
            (_, "invalid_grant") => Self::GrantIsOver,
            // Some servers say 400 where it has to be 401.
            (_, "invalid_client" | "unauthorized_client") => Self::UnknownClient,
            (429 | 500..=599, _) => Self::Busy(status),
            (_, "") => Self::Refused(format!("HTTP {status}")),
            (_, error) => Self::Refused(legible(&format!("{error} {}", refused.error_description))),
        }
    }

    /// Whether another try may go well.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            Self::NotHad(why) | Self::Discovery(DiscoveryError::NotHad { why, .. }) => matches!(why, FetchError::Failed(_)),
            _ => false,
        }
    }
}

/// A stranger's text, fit for a terminal.
pub(crate) fn legible(text: &str) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).take(TOLD).collect()
}

impl From<DiscoveryError> for TokenError {
    fn from(error: DiscoveryError) -> Self {
        Self::Discovery(error)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(error) => error.fmt(out),
            Self::NotHad(error) => write!(out, "the authorization server cannot be asked: {error}"),
            Self::GrantIsOver => out.write_str("the grant is over"),
            Self::UnknownClient => out.write_str("the authorization server does not know this client"),
            Self::Refused(why) => write!(out, "the authorization server refuses: {why}"),
            Self::Busy(status) => write!(out, "the authorization server is not able to answer (HTTP {status})"),
            Self::Nonsense(what) => write!(out, "the authorization server gave {what}"),
            Self::Unusable(why) | Self::Own(why) => out.write_str(why),
        }
    }
}

impl std::error::Error for TokenError {}
