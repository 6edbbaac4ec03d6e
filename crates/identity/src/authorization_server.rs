//! The gateway's own authorization server: OAuth 2.1 for those who have no other.
//!
//! People log in with names and passwords that live in the store, agree to what a client asks for, and the client gets a short-lived
//! token for one endpoint and a refresh token that is used once. Everything it keeps is in the [store](sallyport_store), so that several
//! gateways over one store are one authorization server. What it keeps has an end, and a bound.

pub mod accounts;
mod answer;
mod authorize;
mod browser;
mod client_authentication;
mod clients;
mod code;
mod consent;
mod device;
mod discovery;
mod grants;
mod keys;
mod log_in;
mod own_keys;
mod pages;
mod parameters;
mod problem;
mod purpose;
mod redirect;
mod route;
pub mod sign_in;
mod token;
mod unguessable;
mod visitor;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use sallyport_policy::Scopes;
use sallyport_store::Store;
use tokio::sync::Mutex;
use url::Url;

use self::client_authentication::ClientKeys;
use self::clients::Clients;
use self::clients::document::Documents;
use self::problem::Problem;
use self::sign_in::Provider;
use crate::fetch::Fetcher;
use crate::resource_server::key_source::{KeySet, KeySource};

pub use self::accounts::LONGEST_TOKEN as LONGEST_ACCESS_LIFE;
pub use self::clients::ConfiguredClient;
pub use self::keys::SigningAlgorithm;
pub use self::redirect::check as check_redirect;
pub use self::route::Route;
pub use self::visitor::Visitor;

/// Tells of a path below the public URL (`/servers/git/mcp`) whether it is an endpoint, and what a token for it is good for where its
/// client asks for nothing (OAuth 2.1 §1.4.1 lets the server choose).
pub type Resources = Arc<dyn Fn(&str) -> Option<Scopes> + Send + Sync>;

/// How the server is set up.
#[derive(Clone)]
pub struct Settings {
    /// The public URL of the gateway or of a tenant, without a slash at its end: the `issuer`, and what all its addresses begin with.
    pub issuer: String,
    /// Whose people they are: a tenant's, or with an empty name nobody's.
    pub tenant: String,
    /// How tokens are signed.
    pub algorithm: SigningAlgorithm,
    /// For how long an access token is good: at most a day.
    pub access_life: Duration,
    /// The same for single endpoints, by path (`/servers/git/mcp`).
    pub access_lives: BTreeMap<String, Duration>,
    /// For how long a refresh token is good that nobody uses.
    pub refresh_life: Duration,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// The clients that are configured.
    pub clients: Vec<ConfiguredClient>,
    /// The endpoints.
    pub resources: Resources,
    /// The keys of the identity providers whose word for a person is taken (ID-JAG), by issuer.
    pub providers: BTreeMap<String, Arc<dyn KeySource>>,
    /// The identity providers that people may log in with, by the name that stands in their addresses.
    pub sign_ins: BTreeMap<String, sign_in::Config>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// The authorization server. Clones are the same one.
#[derive(Clone, Debug)]
pub struct AuthorizationServer(Arc<Server>);

/// What every part of it needs.
pub(crate) struct Server {
    settings: Settings,
    /// The path of the public URL: empty, or `/base`.
    base: String,
    is_https: bool,
    /// What the cookie of browsers is called.
    cookie: String,
    store: Store,
    clients: Clients,
    client_keys: ClientKeys,
    sign_ins: BTreeMap<String, Provider>,
    fetcher: Fetcher,
    clock: Clock,
    /// The public keys, for verifying without a question to the store.
    known: ArcSwap<KeySet>,
    /// When the store was looked through for a key that is not known; held while one looks, so that others wait for what comes of it.
    looked_for_keys: Mutex<Option<Instant>>,
    withdrawals: own_keys::Withdrawals,
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A request with what the parts ask of it.
struct Asked {
    request: Request<Bytes>,
    /// Whom it came from, where no proxy stands between.
    from: Option<IpAddr>,
    now: i64,
}

impl AuthorizationServer {
    /// A server over `store`, which asks others by `fetcher`. `None` where the issuer is no URL.
    #[must_use]
    pub fn new(settings: Settings, store: Store, fetcher: Fetcher) -> Option<Self> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        Self::with_clock(settings, store, fetcher, Arc::new(now))
    }

    fn with_clock(settings: Settings, store: Store, fetcher: Fetcher, clock: Clock) -> Option<Self> {
        let url = Url::parse(&settings.issuer).ok()?;
        let clients = Clients::new(settings.clients.clone(), Documents::new(fetcher.clone()));
        let base = url.path().trim_end_matches('/').to_owned();
        let provider = |(name, config): (&String, &sign_in::Config)| Some((name.clone(), Provider::new(config.clone(), fetcher.clone())?));
        let sign_ins = settings.sign_ins.iter().map(provider).collect::<Option<_>>()?;
        let (is_https, client_keys) = (url.scheme() == "https", ClientKeys::default());
        let cookie = browser::cookie_name(&url, &settings.tenant);
        Some(Self(Arc::new(Server {
            base,
            is_https,
            cookie,
            settings,
            store,
            clients,
            client_keys,
            sign_ins,
            fetcher,
            clock,
            known: ArcSwap::default(),
            looked_for_keys: Mutex::default(),
            withdrawals: own_keys::Withdrawals::default(),
        })))
    }

    /// Looks after the keys, and forgets what has ended. Called before the first request, and then every minute.
    ///
    /// # Errors
    /// Why it cannot be done; the log says more.
    pub async fn tend(&self) -> Result<(), String> {
        accounts::warm_up();
        self.0.tend().await.map_err(|problem| problem.description)
    }

    /// Answers a request, if its path is one of the server's. `from` is whom it came from, where that is known.
    pub async fn answer(&self, request: Request<Bytes>, from: Option<IpAddr>) -> Option<Response<Bytes>> {
        let route = Route::of(&self.0.base, request.uri().path()).filter(|route| self.0.has(*route))?;
        let asked = Asked { request, from, now: (self.0.clock)() };
        let answered = self.0.take(route, &asked).await;
        Some(answered.unwrap_or_else(|problem| match route.is_for_people() {
            true => pages::problem(&self.0, &problem),
            false => problem.response(),
        }))
    }
}

impl Server {
    async fn take(&self, route: Route, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let method = asked.request.method();
        if !route.methods().contains(method) {
            let mut response = answer::bare(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = route.methods().iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            response.headers_mut().extend(allowed.try_into().map(|allowed| (header::ALLOW, allowed)).ok());
            return Ok(response);
        }
        let posts = method == Method::POST;
        match route {
            Route::Metadata => Ok(self.metadata()),
            Route::Keys => Ok(answer::document(&keys::published(&self.store, asked.now).await?, keys::CACHED)),
            Route::Authorize => self.authorize(asked).await,
            Route::LogIn if posts => self.log_in(asked).await,
            Route::LogIn => self.log_in_page(asked).await,
            Route::LogOut => self.log_out(asked).await,
            Route::SignIn => self.sign_in(asked).await,
            Route::SignedIn => self.signed_in(asked).await,
            Route::Consent if posts => self.decide(asked).await,
            Route::Consent => self.consent_page(asked).await,
            Route::Device if posts => self.device_form(asked).await,
            Route::Device => self.device_page(asked).await,
            Route::DeviceAuthorization => self.begin_device(asked).await,
            Route::Token => self.token(asked).await,
            Route::Revoke => self.revoke(asked).await,
            Route::Register => {
                let source = asked.from.map(log_in::network).unwrap_or_default();
                clients::registration::register(&self.store, &asked.request, source, asked.now).await
            }
            Route::Style => Ok(answer::style()),
        }
    }

    /// Whether there is such an address here, as things are configured.
    fn has(&self, route: Route) -> bool {
        match route {
            Route::Register => self.settings.registration,
            Route::SignIn | Route::SignedIn => !self.sign_ins.is_empty(),
            _ => true,
        }
    }

    async fn tend(&self) -> Result<(), Problem> {
        let now = (self.clock)();
        sallyport_store::sweep(&self.store, now).await?;
        keys::tend(&self.store, self.settings.algorithm, self.longest_access_life(), now).await?;
        self.learn_keys().await
    }

    fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// One of the server's own addresses.
    fn url(&self, part: &str) -> String {
        format!("{}/oauth/{part}", self.settings.issuer)
    }

    /// For how many seconds a token for an endpoint is good.
    fn access_life(&self, path: &str) -> i64 {
        seconds(*self.settings.access_lives.get(path).unwrap_or(&self.settings.access_life))
    }

    fn longest_access_life(&self) -> i64 {
        self.settings.access_lives.values().chain([&self.settings.access_life]).map(|life| seconds(*life)).max().unwrap_or_default()
    }

    /// The endpoint that a client asks for (RFC 8707), in its one form, and what a token for it is good for by default. Scheme and host may
    /// be in upper case, and there may be a slash at the end. A client of 2025-03-26 names none and means the whole gateway.
    fn resource(&self, asked: Option<&str>) -> Result<Resource, Problem> {
        let refused = || Problem::new("invalid_target", "`resource` is none of this gateway's endpoints");
        let path = match asked {
            None => "/mcp".to_owned(),
            Some(text) => {
                let url = Url::parse(text).ok().filter(|_| !text.contains(['#', '?', '@', '\\'])).ok_or_else(refused)?;
                let own = url.as_str().strip_prefix(self.issuer()).ok_or_else(refused)?;
                own.strip_suffix('/').unwrap_or(own).to_owned()
            }
        };
        let default_scopes = (self.settings.resources)(&path).ok_or_else(refused)?;
        Ok(Resource { url: format!("{}{path}", self.issuer()), path, default_scopes })
    }
}

/// An endpoint.
struct Resource {
    url: String,
    path: String,
    default_scopes: Scopes,
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
