#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! The whole server over a real store, asked as clients and browsers ask, and as attackers do.

mod attacks;
mod client_assertions;
mod documents;
mod elsewhere;
mod flows;
mod hostile_metadata;
mod identity_assertions;
mod introspected;
mod narrowed;
mod refused_refreshes;
mod signer;
mod withdrawals;

use std::sync::atomic::{AtomicI64, Ordering};

use rustls::RootCertStore;
use rustls::crypto::ring;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;

const ISSUER: &str = "https://gate.example.com";
const CALLBACK: &str = "https://app.example.com/callback";
const VERIFIER: &str = "an-verifier-that-is-long-enough-for-the-specification";
const PASSWORD: &str = "correct horse battery";

/// A running authorization server with a clock that only tests move.
struct Bench {
    server: AuthorizationServer,
    store: Store,
    clock: Arc<AtomicI64>,
    folder: TempDir,
}

fn fetcher() -> Fetcher {
    let tls =
        rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    Fetcher::new(&tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()).unwrap()
}

fn settings() -> Settings {
    let client = |id: &str, secret: Option<&str>, grants: &[&str]| ConfiguredClient {
        id: id.to_owned(),
        name: format!("The {id}"),
        secret: secret.map(unguessable::digest),
        redirects: vec![CALLBACK.to_owned()],
        grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        ..ConfiguredClient::default()
    };
    let every = [clients::metadata::CODE, clients::metadata::REFRESH, clients::metadata::DEVICE];
    let resources: Resources = Arc::new(|path| match path {
        "/mcp" => Scopes::parse("mcp"),
        "/servers/git/mcp" => Scopes::parse("git"),
        "/servers/files/mcp" => Scopes::parse("files"),
        _ => None,
    });
    Settings {
        issuer: ISSUER.to_owned(),
        tenant: String::new(),
        algorithm: SigningAlgorithm::EdDsa,
        access_life: Duration::from_secs(900),
        access_lives: [("/servers/files/mcp".to_owned(), Duration::from_secs(60))].into(),
        refresh_life: Duration::from_secs(30 * 24 * 3600),
        registration: true,
        clients: vec![
            client("app", None, &every),
            client("other", None, &every),
            client("robot", Some("robot's secret"), &[grants::CLIENT_CREDENTIALS, grants::TOKEN_EXCHANGE, grants::JWT_BEARER]),
        ],
        resources,
        providers: BTreeMap::new(),
        sign_ins: BTreeMap::new(),
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let clock = Arc::new(AtomicI64::new(2_100_000_000));
        let server = server(settings, &store, &clock);
        server.tend().await.unwrap();
        accounts::add(&store, "alice", PASSWORD, false, &["staff".to_owned()], 1).await.unwrap();
        Self { server, store, clock, folder }
    }

    /// Another gateway over the same file.
    fn twin(&self) -> AuthorizationServer {
        server(settings(), &Store::open(&self.folder.path().join("store.db")).unwrap(), &self.clock)
    }

    fn wait(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    fn browser(&self) -> Person {
        Person { server: self.server.clone(), cookie: None }
    }

    async fn token(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        token_at(&self.server, form).await
    }

    /// A browser in which alice is logged in, and a code for `app`.
    async fn code(&self, more: &[(&str, &str)]) -> (Person, String) {
        let mut browser = self.browser();
        let consent = browser.log_in(&authorize(more)).await;
        let sent = browser.decide(&consent, "allow").await;
        (browser, parameter(&sent.location, "code").unwrap())
    }

    async fn redeem(&self, code: &str) -> (StatusCode, Value) {
        self.token(&redemption(code)).await
    }

    async fn refresh(&self, token: &Value) -> (StatusCode, Value) {
        self.token(&[("grant_type", "refresh_token"), ("client_id", "app"), ("refresh_token", token.as_str().unwrap())]).await
    }
}

/// Whether the gateway still takes a token that was given out.
async fn is_taken(server: &AuthorizationServer, token: &Value) -> bool {
    !server.is_revoked(claims(token).as_object().unwrap()).await
}

fn server(settings: Settings, store: &Store, clock: &Arc<AtomicI64>) -> AuthorizationServer {
    let clock = Arc::clone(clock);
    AuthorizationServer::with_clock(settings, store.clone(), fetcher(), Arc::new(move || clock.load(Ordering::SeqCst))).unwrap()
}

fn redemption(code: &str) -> [(&str, &str); 5] {
    [("grant_type", "authorization_code"), ("client_id", "app"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)]
}

fn challenge() -> String {
    unguessable::encode(&Sha256::digest(VERIFIER))
}

/// A good authorization request of `app`, with some parameters replaced, or taken out where they are empty.
fn authorize(more: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut parameters: BTreeMap<&str, &str> = [
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("state", "the state"),
        ("resource", "https://gate.example.com/servers/git/mcp"),
    ]
    .into();
    parameters.extend(more.iter().copied());
    parameters.retain(|_, value| !value.is_empty());
    format!("/oauth/authorize?{}", form(&parameters.into_iter().collect::<Vec<_>>()))
}

fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn token_at(server: &AuthorizationServer, pairs: &[(&str, &str)]) -> (StatusCode, Value) {
    post_at(server, "/oauth/token", pairs).await
}

async fn post_at(server: &AuthorizationServer, path: &str, pairs: &[(&str, &str)]) -> (StatusCode, Value) {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded").body(form(pairs).into()).unwrap();
    let response = server.answer(request, None).await.unwrap();
    (response.status(), serde_json::from_slice(response.body()).unwrap_or(Value::Null))
}

fn parameter(location: &str, name: &str) -> Option<String> {
    let url = Url::parse(location).unwrap();
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    serde_json::from_slice(&unguessable::decode(&payload).unwrap()).unwrap()
}

/// What a browser got.
#[derive(Debug)]
struct Page {
    status: StatusCode,
    headers: http::HeaderMap,
    location: String,
    html: String,
}

impl Page {
    /// The value of a hidden field, of the form that comes first.
    fn field(&self, name: &str) -> String {
        let (_, rest) = self.html.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name} in {}", self.html));
        rest.split('"').next().unwrap().to_owned()
    }
}

/// A person's browser: it keeps one cookie, and follows nothing by itself.
#[derive(Clone)]
struct Person {
    server: AuthorizationServer,
    cookie: Option<String>,
}

impl Person {
    async fn get(&mut self, address: &str) -> Page {
        self.send(Request::get(address.strip_prefix(ISSUER).unwrap_or(address)), Bytes::new()).await
    }

    async fn post(&mut self, path: &str, pairs: &[(&str, &str)]) -> Page {
        self.send(Request::post(path).header("content-type", "application/x-www-form-urlencoded"), form(pairs).into()).await
    }

    async fn send(&mut self, mut request: http::request::Builder, body: Bytes) -> Page {
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("theme=dark; {cookie}"));
        }
        let response = self.server.answer(request.body(body).unwrap(), Some([192, 0, 2, 7].into())).await.unwrap();
        let headers = response.headers().clone();
        if let Some(cookie) = headers.get("set-cookie") {
            self.cookie = cookie.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        let location = headers.get("location").map_or("", |location| location.to_str().unwrap()).to_owned();
        Page { status: response.status(), headers, location, html: String::from_utf8(response.into_body().to_vec()).unwrap() }
    }

    /// As far as the login form.
    async fn arrive(&mut self, address: &str) -> Page {
        let sent = self.get(address).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.html);
        self.get(&sent.location).await
    }

    async fn give(&mut self, page: &Page, name: &str, password: &str) -> Page {
        let (request, token) = (page.field("request"), page.field("form_token"));
        self.post("/oauth/login", &[("request", &request), ("form_token", &token), ("name", name), ("password", password)]).await
    }

    /// As far as the consent page.
    async fn log_in(&mut self, address: &str) -> Page {
        let page = self.arrive(address).await;
        let sent = self.give(&page, "alice", PASSWORD).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.html);
        self.get(&sent.location).await
    }

    async fn decide(&mut self, page: &Page, decision: &str) -> Page {
        let (request, token) = (page.field("request"), page.field("form_token"));
        self.post("/oauth/consent", &[("request", &request), ("form_token", &token), ("decision", decision)]).await
    }
}
