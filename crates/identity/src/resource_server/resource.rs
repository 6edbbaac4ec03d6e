//! Resources: each endpoint is one of its own (RFC 8707), with metadata that says where tokens for it come from (RFC 9728).

use std::fmt;

use sallyport_policy::SCOPE_OF_ALL;
use sallyport_protocol::Endpoint;
use serde_json::{Value, json};
use url::Url;

use crate::fetch::is_loopback;

/// Where metadata of resources lies, in front of the resource's own path (RFC 9728 §3).
pub const METADATA: &str = "/.well-known/oauth-protected-resource";
/// What the paths of a tenant begin with, before its name.
const TENANTS: &str = "/t/";
/// Longest name of a server or toolset, as the configuration bounds it.
const LONGEST_NAME: usize = 32;

/// Under which address callers know the gateway: scheme, host and port, and no path but that of a tenant. It is configured and never taken
/// from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    /// `/t/NAME`, or nothing.
    tenant: String,
}

impl PublicUrl {
    /// Reads `https://HOST[:PORT]`, or `http://` on loopback.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is no URL")?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err("it has to be https, or http on loopback"),
        }
        let is_bare = matches!(url.path(), "/" | "") && url.query().is_none() && url.fragment().is_none();
        if !is_bare || !url.username().is_empty() || url.password().is_some() {
            return Err("it has to be a scheme, a host and perhaps a port, and nothing else");
        }
        Ok(Self { origin: url.origin().ascii_serialization(), tenant: String::new() })
    }

    /// The same of the tenant called so.
    #[must_use]
    pub fn of_tenant(&self, name: &str) -> Self {
        Self { origin: self.origin.clone(), tenant: format!("{TENANTS}{name}") }
    }

    /// The canonical address of an endpoint: what the audience of its tokens has to be.
    #[must_use]
    pub fn resource(&self, endpoint: &Endpoint) -> String {
        format!("{self}{endpoint}")
    }

    /// Where the metadata of an endpoint lies.
    #[must_use]
    pub fn metadata_url(&self, endpoint: &Endpoint) -> String {
        format!("{}{METADATA}{}{endpoint}", self.origin, self.tenant)
    }

    /// The endpoint whose address this is. Scheme and host may be in capitals, and a slash may stand at the end (RFC 3986 §6.2).
    #[must_use]
    pub fn endpoint(&self, resource: &str) -> Option<Endpoint> {
        let url = Url::parse(resource).ok()?;
        let is_ours = url.origin().ascii_serialization() == self.origin && url.username().is_empty() && url.password().is_none();
        let is_whole = url.query().is_none() && url.fragment().is_none();
        let path = url.path().strip_suffix('/').unwrap_or_else(|| url.path());
        (is_ours && is_whole).then(|| endpoint_of(path.strip_prefix(&*self.tenant)?))?
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.origin, self.tenant)
    }
}

/// The tenant that the path of a resource names, and what is left of it. As with endpoints, it is not asked whether there is one.
#[must_use]
pub fn split_tenant(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(TENANTS)?;
    let (name, rest) = rest.split_at_checked(rest.find('/')?)?;
    is_name(name).then_some((name, rest))
}

/// The endpoint at a path, as [`Endpoint`] writes it. Whether there is one of that name is not asked: metadata is for everybody, and
/// must not tell which names there are.
#[must_use]
pub fn endpoint_of(path: &str) -> Option<Endpoint> {
    let named = |kind: &str| path.strip_prefix(kind)?.strip_suffix("/mcp").filter(|name| is_name(name));
    match path {
        "/mcp" => Some(Endpoint::All),
        _ => named("/servers/")
            .map(|name| Endpoint::Server(name.into()))
            .or_else(|| named("/toolsets/").map(|name| Endpoint::Toolset(name.into()))),
    }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// What a client that has shown nothing yet does well to ask for: what the endpoint is about, and no more.
#[must_use]
pub fn usual_scope(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Server(name) => name,
        Endpoint::All | Endpoint::Toolset(_) => SCOPE_OF_ALL,
    }
}

/// The metadata of an endpoint (RFC 9728 §2).
#[must_use]
pub fn metadata<'a>(public: &PublicUrl, endpoint: &Endpoint, issuers: impl Iterator<Item = &'a str>, with_scopes: bool) -> Value {
    let mut document = json!({
        "resource": public.resource(endpoint),
        "authorization_servers": issuers.collect::<Vec<_>>(),
        "bearer_methods_supported": ["header"],
    });
    if let (true, Some(document)) = (with_scopes, document.as_object_mut()) {
        document.insert("scopes_supported".into(), json!([usual_scope(endpoint)]));
    }
    document
}

/// The endpoints that a credential is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resources {
    /// All there are: a key that the operator gave out.
    All,
    /// These alone.
    These(Vec<Endpoint>),
}

impl Resources {
    /// Whether `endpoint` is one of them.
    #[must_use]
    pub fn cover(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(endpoint),
        }
    }
}
