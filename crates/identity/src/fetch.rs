//! What identity asks others for: keys, tokens, metadata.
//!
//! Every address that a peer can name (a client's metadata document, an upstream's authorization server) is hostile: it may lead into
//! the network that the gateway stands in. Such a request goes to public addresses alone, over https, to where its name resolved when
//! it was checked, and follows no redirect. What the operator configured may be anywhere.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use sallyport_address::is_public;
use url::{Host, Url};

/// Bytes of an answer: key sets and metadata have some 10 KiB, and a hostile peer is not to fill the memory.
const LARGEST: usize = 256 * 1024;
/// A peer that is far away answers in one; a login that waits for longer is one that a person gives up.
const DEADLINE: Duration = Duration::from_secs(10);
/// For how long a name may take to become a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Idle connections to one host: logins come in bursts, not in floods.
const IDLE: usize = 4;

/// Asks other servers. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Fetcher {
    anywhere: reqwest::Client,
    public: reqwest::Client,
}

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere, since the operator named the address: http is allowed on loopback.
    Configured,
    /// To public addresses over https, since somebody else did.
    Public,
}

/// What came back, of whatever status.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body, of 256 KiB at most.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive() // the body may be tokens
    }
}

impl Fetcher {
    /// A fetcher that trusts whom `tls` trusts.
    ///
    /// # Errors
    /// Where `tls` cannot be used.
    pub fn new(tls: &ClientConfig) -> Result<Self, FetchError> {
        Self::resolving(tls, PublicOnly, DEADLINE)
    }

    /// The same with a deadline of its own, and with what finds the addresses of hosts that others name: there tests have an internet of
    /// their own.
    pub(crate) fn resolving(tls: &ClientConfig, public: impl Resolve + 'static, deadline: Duration) -> Result<Self, FetchError> {
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .timeout(deadline)
                .connect_timeout(CONNECT)
                .pool_max_idle_per_host(IDLE)
                .user_agent(concat!("sallyport/", env!("CARGO_PKG_VERSION")))
        };
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|cause| FetchError::Failed(Arc::new(cause)));
        Ok(Self { anywhere: built(builder())?, public: built(builder().https_only(true).dns_resolver(public))? })
    }

    /// Gets a document.
    ///
    /// # Errors
    /// Where the address is not allowed, nobody answers in time, or the answer is too large. A status is not an error.
    pub async fn get(&self, url: &Url, reach: Reach) -> Result<Answer, FetchError> {
        self.get_with(url, reach, HeaderMap::new()).await
    }

    /// Gets a document with further headers, such as what shows who asks.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_with(&self, url: &Url, reach: Reach, headers: HeaderMap) -> Result<Answer, FetchError> {
        self.send(Method::GET, url, reach, headers, Vec::new()).await
    }

    /// Posts a form (`application/x-www-form-urlencoded`), as the endpoints of OAuth take it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post_form(&self, url: &Url, reach: Reach, mut headers: HeaderMap, form: &[(&str, &str)]) -> Result<Answer, FetchError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(Method::POST, url, reach, headers, body.into_bytes()).await
    }

    /// Posts a JSON document.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post_json(&self, url: &Url, reach: Reach, mut headers: HeaderMap, json: Vec<u8>) -> Result<Answer, FetchError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(Method::POST, url, reach, headers, json).await
    }

    async fn send(&self, method: Method, url: &Url, reach: Reach, mut headers: HeaderMap, body: Vec<u8>) -> Result<Answer, FetchError> {
        check(url, reach)?;
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let client = if reach == Reach::Public { &self.public } else { &self.anywhere };
        let failed = |cause: reqwest::Error| FetchError::Failed(Arc::new(cause.without_url()));
        let mut response = client.request(method, url.clone()).headers(headers).body(body).send().await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > LARGEST {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body: body.freeze() })
    }
}

/// Says whether a request may go to `url` at all, as far as the address itself tells.
///
/// # Errors
/// What is wrong with it.
pub fn check(url: &Url, reach: Reach) -> Result<(), FetchError> {
    let address = match url.host() {
        None => return Err(FetchError::NotAllowed("it names no host")),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::NotAllowed("it holds a user's name or password"));
    }
    match (url.scheme(), reach) {
        ("https", Reach::Configured) => Ok(()),
        ("https", Reach::Public) if address.is_none_or(is_public) => Ok(()),
        ("https", Reach::Public) => Err(FetchError::NotAllowed("its host is not a public address")),
        ("http", Reach::Configured) if is_loopback(url) => Ok(()),
        _ => Err(FetchError::NotAllowed("it has to be https")),
    }
}

/// Whether the host of `url` is this machine, by name or address.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether a browser may be sent there with what nobody on the way is to read or change: over https, or on this machine.
pub(crate) fn is_safe_page(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Resolves names to public addresses. One that has another beside them is refused: it is made to be tried until it leads inside.
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(all_public(found)?.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a name, which are then dialled without asking for them again.
fn all_public(found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, FetchError> {
    let is_fit = !found.is_empty() && found.iter().all(|found| is_public(found.ip()));
    if is_fit { Ok(found) } else { Err(FetchError::NotAllowed("its host is not a public address")) }
}

/// Why nothing usable came back.
#[derive(Clone, Debug)]
pub enum FetchError {
    /// The address is none to ask.
    NotAllowed(&'static str),
    /// The answer has more than 256 KiB.
    TooLarge,
    /// Nobody answered, or not in time.
    Failed(Arc<reqwest::Error>),
}

impl fmt::Display for FetchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed(why) => write!(out, "the address is not asked: {why}"),
            Self::TooLarge => write!(out, "the answer is larger than {LARGEST} bytes"),
            Self::Failed(cause) => {
                write!(out, "{cause}")?;
                let mut source = std::error::Error::source(&**cause);
                while let Some(deeper) = source {
                    write!(out, ": {deeper}")?;
                    source = deeper.source();
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for FetchError {}

#[cfg(test)]
mod tests;
