//! Tokens that need no person: got by one request at a time, kept until shortly before they end.

use std::fmt;

use sallyport_protocol::BoxFuture;
use tokio::sync::Mutex;
use url::Url;

use super::challenge::Challenge;
use super::discovery::{Discovered, Place, discover};
use super::token::{TokenError, Tokens};
use super::{Clock, CredentialConfig, Subject, Token, TokenSource, Unavailable, union};
use crate::fetch::Fetcher;

/// A token is got anew when a tenth of its life is left, but no sooner than this many seconds before its end: a call takes a while, and
/// clocks differ.
const AHEAD: u64 = 60;

/// What a way to tokens needs around it.
#[derive(Clone, Debug)]
pub struct Around {
    /// Asks others.
    pub fetcher: Fetcher,
    /// Tells the time.
    pub clock: Clock,
}

/// A way to tokens that needs no person.
pub(crate) trait Mint: Send + Sync {
    /// The one issuer that the configuration names for the server's own tokens.
    fn issuer(&self) -> Option<&Url> {
        None
    }

    /// Where tokens come from.
    fn discover<'a>(
        &'a self,
        around: &'a Around,
        place: &'a Place,
        challenge: &'a Challenge,
    ) -> BoxFuture<'a, Result<Discovered, TokenError>> {
        Box::pin(async move { Ok(discover(&around.fetcher, place, challenge).await?) })
    }

    /// The scopes to ask for, where the configuration names them.
    fn scopes(&self) -> Option<&[String]>;

    /// Gets tokens.
    fn mint<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<Tokens, TokenError>>;
}

/// What is wanted of a [`Mint`].
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) around: &'a Around,
    pub(crate) place: &'a Place,
    pub(crate) discovered: &'a Discovered,
    pub(crate) scopes: &'a [String],
}

/// The tokens of one server in one name.
pub struct Minted {
    mint: Box<dyn Mint>,
    around: Around,
    place: Place,
    /// Held while a token is got, so that it is got once for all who wait for it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    discovered: Option<Discovered>,
    scopes: Vec<String>,
    tokens: Option<Tokens>,
    renew_at: u64,
}

impl Minted {
    /// The tokens for the server at `url`, by the way that `config` names; `None` where that needs a person. `subject` is the caller's.
    #[must_use]
    pub fn new(config: &CredentialConfig, url: &Url, around: Around, subject: Subject) -> Option<Self> {
        let mint: Box<dyn Mint> = match config {
            CredentialConfig::ClientCredentials(config) => Box::new(config.clone()),
            CredentialConfig::Exchange(config) => Box::new(super::exchange::Exchange { config: config.clone(), subject }),
            CredentialConfig::IdJag(config) => Box::new(super::id_jag::IdJag { config: config.clone(), subject }),
            CredentialConfig::PerUser(_) => return None,
        };
        let place = Place::new(url.clone(), mint.issuer().cloned());
        Some(Self { mint, around, place, state: Mutex::default() })
    }

    async fn renew(&self, state: &mut State) -> Result<(), TokenError> {
        let Some(discovered) = state.discovered.clone() else { return Ok(()) };
        state.tokens = None;
        let order = Order { around: &self.around, place: &self.place, discovered: &discovered, scopes: &state.scopes };
        let tokens = self.mint.mint(order).await?;
        let now = (self.around.clock)();
        let life = tokens.expires.saturating_sub(now);
        state.renew_at = tokens.expires.saturating_sub(AHEAD.min(life / 10));
        state.tokens = Some(tokens);
        Ok(())
    }

    async fn learn(&self, state: &mut State, challenge: &Challenge) -> Result<(), TokenError> {
        let discovered = self.mint.discover(&self.around, &self.place, challenge).await?;
        state.scopes = self.mint.scopes().map(<[_]>::to_vec).or_else(|| discovered.scopes.clone()).unwrap_or_default();
        state.discovered = Some(discovered);
        Ok(())
    }
}

impl TokenSource for Minted {
    fn token(&self) -> BoxFuture<'_, Result<Option<Token>, Unavailable>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            if state.tokens.is_none() || (self.around.clock)() >= state.renew_at {
                self.renew(&mut state).await?;
            }
            Ok(state.tokens.as_ref().map(|tokens| Token::new(&tokens.access)))
        })
    }

    fn refused<'a>(&'a self, challenge: Challenge, sent: Option<Token>) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let current = state.tokens.as_ref().map(|tokens| tokens.access.as_str());
            if current.is_some_and(|current| sent.as_ref().is_none_or(|sent| !sent.is(current))) {
                return Ok(()); // another request has got a newer one meanwhile
            }
            if challenge.wants_more_scopes() {
                within(self.mint.scopes(), &challenge)?;
                let wanted = union(&state.scopes, challenge.scopes.as_deref().unwrap_or_default());
                if wanted.len() == state.scopes.len() {
                    let text = "the server wants no other scopes than it was given, and refuses all the same";
                    return Err(TokenError::Unusable(text.to_owned()).into());
                }
                state.scopes = wanted;
            } else {
                self.learn(&mut state, &challenge).await?; // the issuer may be another one by now
            }
            Ok(self.renew(&mut state).await?)
        })
    }
}

/// Where the configuration says which scopes are asked for, a server gets no others by refusing what it was given.
pub(super) fn within(configured: Option<&[String]>, challenge: &Challenge) -> Result<(), TokenError> {
    let beyond = beyond(configured, challenge.scopes.as_deref().unwrap_or_default());
    beyond.map_or(Ok(()), |scope| Err(TokenError::Unusable(format!("the server wants the scope {scope:?}, which `scopes` does not name"))))
}

/// A scope that the configuration says nothing of, where it says which are asked for.
pub(super) fn beyond<'a>(configured: Option<&[String]>, wanted: &'a [String]) -> Option<&'a str> {
    let configured = configured?;
    let is_beyond = |scope: &&String| *scope != "offline_access" && !configured.contains(scope);
    wanted.iter().find(is_beyond).map(String::as_str)
}

impl fmt::Debug for Minted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Minted").field("place", &self.place.url().host_str()).finish_non_exhaustive()
    }
}
