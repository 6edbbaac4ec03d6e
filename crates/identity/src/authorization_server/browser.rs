//! What ties a login to one browser: a cookie, and the tokens in forms that only its holder can have.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use sallyport_store::login;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::accounts::{self, Person};
use super::problem::Problem;
use super::{Asked, Server, unguessable};

/// For how many seconds a browser stays logged in: a working day with its breaks.
const STAYS: i64 = 12 * 60 * 60;

/// A browser, known by its cookie. Whoever has the cookie is logged in, so nothing shows it.
#[derive(Clone)]
pub(super) struct Browser {
    cookie: String,
    /// It has to be told its cookie.
    is_new: bool,
}

impl fmt::Debug for Browser {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Browser").field("is_new", &self.is_new).finish_non_exhaustive()
    }
}

impl Browser {
    /// The browser that asks, if it showed a cookie of the right form.
    pub(super) fn known(server: &Server, asked: &Asked) -> Option<Self> {
        Self::of(server, asked.request.headers())
    }

    /// The browser that sent these headers, the same way.
    pub(super) fn of(server: &Server, headers: &HeaderMap) -> Option<Self> {
        let name = server.cookie.as_str();
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let cookie = pairs.find(|(known, _)| *known == name)?.1;
        let is_ours = unguessable::decode(cookie).is_some_and(|bytes| bytes.len() == 32);
        is_ours.then(|| Self { cookie: cookie.to_owned(), is_new: false })
    }

    /// The same, or a new one.
    pub(super) fn known_or_new(server: &Server, asked: &Asked) -> Result<Self, Problem> {
        Self::known(server, asked).map_or_else(Self::new, Ok)
    }

    fn new() -> Result<Self, Problem> {
        Ok(Self { cookie: unguessable::text()?, is_new: true })
    }

    /// By what it is kept.
    pub(super) fn digest(&self) -> [u8; 32] {
        unguessable::digest(&self.cookie)
    }

    /// What a form about `subject` carries, and nobody else can know.
    pub(super) fn form_token(&self, subject: &str) -> String {
        self.derived("form", subject)
    }

    /// A secret of this browser's for one purpose and subject. It tells nothing of the cookie, or of those for others.
    pub(super) fn derived(&self, purpose: &str, subject: &str) -> String {
        let hash = Sha256::new().chain_update(purpose).chain_update("\0").chain_update(&self.cookie).chain_update("\0");
        unguessable::encode(&hash.chain_update(subject).finalize())
    }

    /// Says whether a form about `subject` came from a page that this browser was shown.
    pub(super) fn check_form(&self, subject: &str, token: Option<&str>) -> Result<(), Problem> {
        let is_own = token.is_some_and(|token| unguessable::equal(token.as_bytes(), self.form_token(subject).as_bytes()));
        if is_own {
            Ok(())
        } else {
            Err(Problem::new("access_denied", "the form did not come from the page that you were shown: go back to it and try again"))
        }
    }

    /// Tells the browser its cookie, if it does not know it.
    pub(super) fn introduce(&self, server: &Server, response: &mut Response<Bytes>) {
        if self.is_new {
            let secure = if server.is_https { "; Secure" } else { "" };
            let path = if server.is_https || server.settings.tenant.is_empty() { "/" } else { server.base.as_str() };
            let cookie = format!("{}={}; Path={path}; HttpOnly; SameSite=Lax{secure}", server.cookie, self.cookie);
            response.headers_mut().extend(HeaderValue::try_from(cookie).ok().map(|cookie| (header::SET_COOKIE, cookie)));
        }
    }
}

/// What the cookie is called. With https it cannot be set by another host, or read without TLS (RFC 6265bis §4.1.3.2). Without, on loopback,
/// gateways at several ports are one host to a browser, and would log each other's people out. So would tenants, which are told apart by the
/// name and not by the path: a cookie that no other host can plant (`__Host-`) is for all paths, and paths keep nothing from one another in a
/// browser.
pub(super) fn cookie_name(issuer: &Url, tenant: &str) -> String {
    let name = match (issuer.scheme(), issuer.port()) {
        ("https", _) => "__Host-sallyport".to_owned(),
        (_, Some(port)) => format!("sallyport-{port}"),
        (_, None) => "sallyport".to_owned(),
    };
    if tenant.is_empty() { name } else { format!("{name}.{tenant}") }
}

impl Server {
    /// Who is logged in at a browser, and since when.
    pub(super) async fn person_at(&self, browser: &Browser, now: i64) -> Result<Option<(Person, i64)>, Problem> {
        let cookie = browser.digest();
        let Some((name, since)) = self.store.read(move |tables| login::find(tables, &cookie, now)).await? else { return Ok(None) };
        Ok(accounts::find(&self.store, &name).await?.map(|person| (person, since)))
    }

    /// Logs a person in, under a new cookie: whoever knew the old one (it may have been planted) knows nothing now.
    pub(super) async fn welcome(&self, person: &Person, old: &Browser, now: i64) -> Result<Browser, Problem> {
        let new = Browser::new()?;
        let (name, old, cookie) = (person.name.clone(), old.digest(), new.digest());
        let change = self.store.write(move |tables| {
            login::remove(tables, &old)?;
            login::add(tables, &cookie, &name, now, now + STAYS)
        });
        change.await?;
        Ok(new)
    }
}
