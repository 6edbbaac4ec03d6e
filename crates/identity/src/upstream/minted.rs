//! Tokens that need no person: got by one request at a time, kept until shortly before they end.

use std::fmt;
use std::sync::Arc;

use sallyport_protocol::{BoxFuture, CallerToken};
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
/// Tokens of one caller for which one was got, and is kept: a person has few programs at work at once. With more, one that was not used for
/// the longest time is got anew when it is needed.
const MOST: usize = 8;
/// For how many seconds a good token is used without a further try, when one to get another has failed: an issuer that hangs would hold up
/// every call.
pub(super) const TRY_AGAIN: u64 = 5;
/// For how many seconds that failure is everybody's where there is no good token: whoever has waited for it does not wait once more.
const SAME_FAILURE: u64 = 2;

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

    /// The caller's token that decides what is got: its issuer alone knows what it looks at (scopes, client, end), so what was got for one
    /// token goes with no request of another. `None` where all requests share what is got.
    fn subject(&self, _: Option<&Arc<CallerToken>>) -> Option<Arc<CallerToken>> {
        None
    }

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
    pub(crate) subject: Option<&'a CallerToken>,
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
    /// The scopes to begin with.
    scopes: Vec<String>,
    kept: Kept,
}

/// What was got for each subject, by its digest; used last comes last.
#[derive(Default)]
struct Kept(Vec<(Option<[u8; 32]>, Got)>);

/// What was got for one subject.
struct Got {
    scopes: Vec<String>,
    tokens: Option<Tokens>,
    renew_at: u64,
    /// Why there was none at last, and when, where another try may go well.
    failed: Option<(TokenError, u64)>,
}

impl Got {
    fn failure(&self, now: u64) -> Option<TokenError> {
        let (error, at) = self.failed.as_ref()?;
        (*at..*at + SAME_FAILURE).contains(&now).then(|| error.clone())
    }

    fn fail(&mut self, error: TokenError, now: u64) -> TokenError {
        self.failed = error.may_pass().then(|| (error.clone(), now));
        error
    }
}

impl Kept {
    /// What there is for a subject; a new one begins with `scopes`.
    fn of(&mut self, subject: Option<&CallerToken>, scopes: &[String]) -> &mut Got {
        let digest = subject.map(CallerToken::digest);
        let known = self.0.iter().position(|(whose, _)| *whose == digest).map(|place| self.0.remove(place));
        if known.is_none() && self.0.len() == MOST {
            self.0.remove(0);
        }
        let new = || (digest, Got { scopes: scopes.to_vec(), tokens: None, renew_at: 0, failed: None });
        &mut self.0.push_mut(known.unwrap_or_else(new)).1
    }
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

    /// Gets tokens with these scopes. What there is stays until others were had: an issuer may refuse scopes that one caller wants, and all
    /// the others go on with what they have.
    async fn renew(
        &self,
        discovered: Option<&Discovered>,
        got: &mut Got,
        scopes: Vec<String>,
        subject: Option<&CallerToken>,
    ) -> Result<(), TokenError> {
        let Some(discovered) = discovered else { return Ok(()) };
        let order = Order { around: &self.around, place: &self.place, discovered, scopes: &scopes, subject };
        let tokens = self.mint.mint(order).await?;
        let now = (self.around.clock)();
        let life = tokens.expires.saturating_sub(now);
        got.renew_at = tokens.expires.saturating_sub(AHEAD.min(life / 10));
        got.tokens = Some(tokens);
        got.scopes = scopes;
        Ok(())
    }
}

impl TokenSource for Minted {
    fn token<'a>(&'a self, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<Token>, Unavailable>> {
        Box::pin(async move {
            let subject = self.mint.subject(caller);
            let mut state = self.state.lock().await;
            let State { discovered, scopes, kept } = &mut *state;
            let got = kept.of(subject.as_deref(), scopes);
            let now = (self.around.clock)();
            if got.tokens.is_none() || now >= got.renew_at {
                let renewed = match got.failure(now) {
                    Some(error) => Err(error),
                    None => self.renew(discovered.as_ref(), got, got.scopes.clone(), subject.as_deref()).await,
                };
                if let Err(error) = renewed {
                    let now = (self.around.clock)();
                    let Some(ends) = got.tokens.as_ref().map(|tokens| tokens.expires).filter(|ends| *ends > now) else {
                        return Err(got.failure(now).unwrap_or_else(|| got.fail(error, now)).into());
                    };
                    // A call may outlive the token that it came with, by which nothing is got any more.
                    tracing::debug!(%error, "a token is used to its end, since there is no other");
                    got.renew_at = ends.min(now + TRY_AGAIN);
                }
            }
            Ok(got.tokens.as_ref().map(|tokens| Token::new(&tokens.access)))
        })
    }

    fn refused<'a>(
        &'a self,
        challenge: Challenge,
        sent: Option<Token>,
        caller: Option<&'a Arc<CallerToken>>,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            let subject = self.mint.subject(caller);
            let mut state = self.state.lock().await;
            let State { discovered, scopes, kept } = &mut *state;
            let got = kept.of(subject.as_deref(), scopes);
            let current = got.tokens.as_ref().map(|tokens| tokens.access.as_str());
            if current.is_some_and(|current| sent.as_ref().is_none_or(|sent| !sent.is(current))) {
                return Ok(()); // another request has got a newer one meanwhile
            }
            if challenge.wants_more_scopes() {
                within(self.mint.scopes(), &challenge)?;
                let wanted = union(&got.scopes, challenge.scopes.as_deref().unwrap_or_default());
                if wanted.len() == got.scopes.len() {
                    let text = "the server wants no other scopes than it was given, and refuses all the same";
                    return Err(TokenError::Unusable(text.to_owned()).into());
                }
                if let Some(error) = got.failure((self.around.clock)()) {
                    return Err(error.into());
                }
                let renewed = self.renew(discovered.as_ref(), got, wanted, subject.as_deref()).await;
                return Ok(renewed.map_err(|error| got.fail(error, (self.around.clock)()))?);
            }
            if let Some(error) = got.failure((self.around.clock)()) {
                return Err(error.into());
            }
            let found = self.mint.discover(&self.around, &self.place, &challenge).await;
            let found = found.map_err(|error| got.fail(error, (self.around.clock)()))?;
            *scopes = self.mint.scopes().map(<[_]>::to_vec).or_else(|| found.scopes.clone()).unwrap_or_default();
            got.scopes.clone_from(scopes);
            *discovered = Some(found); // the issuer may be another one by now
            got.tokens = None; // what was refused is of no use
            let renewed = self.renew(discovered.as_ref(), got, scopes.clone(), subject.as_deref()).await;
            Ok(renewed.map_err(|error| got.fail(error, (self.around.clock)()))?)
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

#[cfg(test)]
mod tests;
