//! From a server that refuses a request to the authorization server whose tokens it takes
//! (MCP 2026-07-28, basic/authorization, "Authorization Server Discovery").
//!
//! Every address on this way but the first is named by somebody else: [`Place`] says which of them may be asked.

use std::fmt;

use http::StatusCode;
use serde::de::DeserializeOwned;
use url::{Origin, Url};

use super::challenge::Challenge;
use super::metadata::{ResourceMetadata, ServerMetadata};
use crate::fetch::{FetchError, Fetcher, Reach, is_loopback};

/// Authorization servers of one resource that are looked at: there is one, seldom two.
const MOST_SERVERS: usize = 4;

/// The server that tokens are wanted for, and what its operator said of it.
#[derive(Clone, Debug)]
pub struct Place {
    url: Url,
    /// The issuer that the configuration names: no other one is asked.
    issuer: Option<String>,
    named: Vec<Origin>,
}

impl Place {
    /// The server at `url`; `issuer` is the only authorization server that may be asked, where the configuration names one.
    #[must_use]
    pub fn new(url: Url, issuer: Option<Url>) -> Self {
        let named = std::iter::once(&url).chain(&issuer).map(Url::origin).collect();
        let issuer = issuer.map(|issuer| issuer.as_str().trim_end_matches('/').to_owned());
        Self { url, issuer, named }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How far a request to `url` may reach. The operator vouches for the origins that the configuration names; and who put a server on
    /// this machine may have its authorization server there too. Whatever else a peer names is public, or is not asked.
    pub(crate) fn reach(&self, url: &Url) -> Reach {
        let is_local = is_loopback(&self.url) && is_loopback(url);
        if is_local || self.named.contains(&url.origin()) { Reach::Configured } else { Reach::Public }
    }

    /// Whether a token for `resource` is one for this server: the same, or what holds it (RFC 9728 section 3.3).
    fn is_within(&self, resource: &str) -> bool {
        let Ok(resource) = Url::parse(resource) else { return false };
        let (own, outer) = (self.url.path().trim_end_matches('/'), resource.path().trim_end_matches('/'));
        let below = own.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        resource.origin() == self.url.origin() && below && resource.fragment().is_none()
    }
}

/// Where tokens for a server come from.
#[derive(Clone, Debug)]
pub(crate) struct Discovered {
    /// What tokens are asked for (RFC 8707).
    pub(crate) resource: String,
    /// Who issues them.
    pub(crate) server: ServerMetadata,
    /// The scopes to ask for: those of the challenge, else those that the server lists; `None` leaves it to the issuer.
    pub(crate) scopes: Option<Vec<String>>,
}

/// Finds out whose tokens the server at `place` takes.
///
/// # Errors
/// Where it does not say, says something that cannot be, or leads somewhere that is not asked.
pub(crate) async fn discover(fetcher: &Fetcher, place: &Place, challenge: &Challenge) -> Result<Discovered, DiscoveryError> {
    let Some(metadata) = resource_metadata(fetcher, place, challenge).await? else {
        return from_origin(fetcher, place, challenge).await;
    };
    if !place.is_within(&metadata.resource) {
        return Err(DiscoveryError::OtherResource(metadata.resource));
    }
    let issuer = choose(place, &metadata)?;
    let server = server_metadata(fetcher, place, &issuer).await?;
    let listed = metadata.scopes_supported.filter(|scopes| !scopes.is_empty());
    Ok(Discovered { resource: metadata.resource, server, scopes: challenge.scopes.clone().or(listed) })
}

/// The issuer that is asked: the one that the operator names, else the first that the server does.
fn choose(place: &Place, metadata: &ResourceMetadata) -> Result<String, DiscoveryError> {
    let mut offered = metadata.authorization_servers.iter().take(MOST_SERVERS);
    match &place.issuer {
        Some(wanted) => offered
            .find(|issuer| issuer.trim_end_matches('/') == wanted)
            .cloned()
            .ok_or_else(|| DiscoveryError::OtherIssuer { wanted: wanted.clone(), named: metadata.authorization_servers.join(", ") }),
        None => offered.next().cloned().ok_or(DiscoveryError::NoServer),
    }
}

/// A server from before 2025-06-18 says nothing of itself: its own origin is its authorization server.
async fn from_origin(fetcher: &Fetcher, place: &Place, challenge: &Challenge) -> Result<Discovered, DiscoveryError> {
    let own = place.issuer.clone().unwrap_or_else(|| place.url.origin().ascii_serialization());
    let server = server_metadata(fetcher, place, &own).await.map_err(|error| match error {
        DiscoveryError::NoMetadata(_) => DiscoveryError::Silent,
        other => other,
    })?;
    let mut resource = place.url.clone();
    resource.set_fragment(None);
    Ok(Discovered { resource: resource.into(), server, scopes: challenge.scopes.clone() })
}

/// The server's own metadata: where its challenge says, else at the well-known places, that of its path first.
async fn resource_metadata(fetcher: &Fetcher, place: &Place, challenge: &Challenge) -> Result<Option<ResourceMetadata>, DiscoveryError> {
    if let Some(named) = &challenge.resource_metadata {
        return document(fetcher, place, named).await;
    }
    let path = place.url.path().trim_end_matches('/');
    let own = (!path.is_empty()).then(|| format!("/.well-known/oauth-protected-resource{path}"));
    for path in own.into_iter().chain(["/.well-known/oauth-protected-resource".to_owned()]) {
        let mut url = place.url.clone();
        url.set_path(&path);
        url.set_query(None);
        if let Some(metadata) = document(fetcher, place, &url).await? {
            return Ok(Some(metadata));
        }
    }
    Ok(None)
}

/// The metadata of `issuer`, which has to say that it is the metadata of `issuer`.
///
/// # Errors
/// Where there is none, or another issuer's.
pub(crate) async fn server_metadata(fetcher: &Fetcher, place: &Place, issuer: &str) -> Result<ServerMetadata, DiscoveryError> {
    let base = Url::parse(issuer).map_err(|_| DiscoveryError::NoMetadata(issuer.to_owned()))?;
    let mut foreign = None;
    for url in well_known(&base) {
        let Some(metadata) = document::<ServerMetadata>(fetcher, place, &url).await? else { continue };
        if metadata.issuer == issuer {
            return Ok(metadata);
        }
        foreign = Some(DiscoveryError::OtherIssuer { wanted: issuer.to_owned(), named: metadata.issuer });
    }
    Err(foreign.unwrap_or_else(|| DiscoveryError::NoMetadata(issuer.to_owned())))
}

/// Where an issuer's metadata may lie, in the order of the specification.
fn well_known(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    let mut places =
        vec![at(format!("/.well-known/oauth-authorization-server{path}")), at(format!("/.well-known/openid-configuration{path}"))];
    if !path.is_empty() {
        places.push(at(format!("{path}/.well-known/openid-configuration")));
    }
    places
}

/// A document; `None` where there is none at `url`.
async fn document<T: DeserializeOwned>(fetcher: &Fetcher, place: &Place, url: &Url) -> Result<Option<T>, DiscoveryError> {
    let failed = |why: FetchError| DiscoveryError::NotHad { url: shown(url), why };
    let answer = fetcher.get(url, place.reach(url)).await.map_err(failed)?;
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map(Some).map_err(|_| DiscoveryError::Unreadable(shown(url))),
        _ => Ok(None),
    }
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Why it is not known where tokens come from.
#[derive(Clone, Debug)]
pub enum DiscoveryError {
    /// Nothing says whose tokens the server takes.
    Silent,
    /// The server's metadata names no authorization server.
    NoServer,
    /// The server's metadata is that of another one.
    OtherResource(String),
    /// An issuer's metadata is that of another one, or the server does not take the tokens of the one that the configuration names.
    OtherIssuer {
        /// Who was asked for.
        wanted: String,
        /// Who answered.
        named: String,
    },
    /// There is no metadata of this issuer.
    NoMetadata(String),
    /// A document is none.
    Unreadable(String),
    /// A document could not be had.
    NotHad {
        /// Where it lies.
        url: String,
        /// Why.
        why: FetchError,
    },
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => out.write_str("it wants a token and does not say whose"),
            Self::NoServer => out.write_str("its metadata names no authorization server"),
            Self::OtherResource(resource) => write!(out, "its metadata is that of another resource, {resource:?}"),
            Self::OtherIssuer { wanted, named } => write!(out, "the authorization server {wanted:?} was asked for, and {named:?} is named"),
            Self::NoMetadata(issuer) => write!(out, "the authorization server {issuer:?} has no metadata"),
            Self::Unreadable(url) => write!(out, "what lies at {url} is no metadata"),
            Self::NotHad { url, why } => write!(out, "{url}: {why}"),
        }
    }
}

impl std::error::Error for DiscoveryError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn place(url: &str) -> Place {
        Place::new(Url::parse(url).unwrap(), None)
    }

    #[test]
    fn metadata_is_looked_for_in_the_order_of_the_specification() {
        let found = |issuer: &str| well_known(&Url::parse(issuer).unwrap()).iter().map(|url| url.path().to_owned()).collect::<Vec<_>>();
        assert_eq!(found("https://a.example"), ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]);
        assert_eq!(
            found("https://a.example/t"),
            ["/.well-known/oauth-authorization-server/t", "/.well-known/openid-configuration/t", "/t/.well-known/openid-configuration"]
        );
    }

    #[test]
    fn what_a_peer_names_is_reached_only_where_the_operator_vouches() {
        let reach = |place: &Place, url: &str| place.reach(&Url::parse(url).unwrap());
        let public = place("https://mcp.example.com/mcp");
        assert_eq!(reach(&public, "https://mcp.example.com/x"), Reach::Configured);
        for url in ["https://as.example.com/", "http://127.0.0.1/", "https://10.0.0.1/", "http://mcp.example.com/"] {
            assert_eq!(reach(&public, url), Reach::Public, "{url}");
        }
        let local = place("http://127.0.0.1:8080/mcp");
        assert_eq!(reach(&local, "http://localhost:9090/token"), Reach::Configured);
        assert_eq!(reach(&local, "https://10.0.0.1/"), Reach::Public);
        let named = Place::new(Url::parse("https://mcp.example.com/").unwrap(), Some(Url::parse("https://10.1.1.1/realm").unwrap()));
        assert_eq!(reach(&named, "https://10.1.1.1/realm/token"), Reach::Configured);
    }

    #[test]
    fn a_resource_is_the_server_or_what_holds_it() {
        let place = place("https://mcp.example.com/a/mcp");
        for resource in
            ["https://mcp.example.com/a/mcp", "https://MCP.example.com/a/mcp/", "https://mcp.example.com", "https://mcp.example.com/a"]
        {
            assert!(place.is_within(resource), "{resource}");
        }
        for resource in [
            "https://mcp.example.com/a/m",
            "https://other.example.com/a/mcp",
            "http://mcp.example.com/a/mcp",
            "x",
            "https://mcp.example.com/a/mcp#f",
        ] {
            assert!(!place.is_within(resource), "{resource}");
        }
    }
}
