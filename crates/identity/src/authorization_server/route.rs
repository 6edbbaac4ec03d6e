//! The server's own addresses, in one table: what is not in it is not there.

use http::Method;

/// One of the addresses, below the public URL's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// What the server says of itself (RFC 8414). It lies in four places.
    Metadata,
    /// The public keys.
    Keys,
    /// Where clients send people.
    Authorize,
    /// The login page.
    LogIn,
    /// Logs a browser out.
    LogOut,
    /// Sends a browser to an identity provider.
    SignIn,
    /// Where an identity provider sends it back; its name here follows.
    SignedIn,
    /// What a client asks for.
    Consent,
    /// Where the code of a program without a browser is typed.
    Device,
    /// Where such a program begins.
    DeviceAuthorization,
    /// Where clients get tokens.
    Token,
    /// Where they take them back.
    Revoke,
    /// Where they register.
    Register,
    /// The style of the pages.
    Style,
}

/// Where metadata is looked for.
const METADATA: [&str; 2] = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

impl Route {
    /// Every address.
    pub const ALL: [Self; 14] = [
        Self::Metadata,
        Self::Keys,
        Self::Authorize,
        Self::LogIn,
        Self::LogOut,
        Self::SignIn,
        Self::SignedIn,
        Self::Consent,
        Self::Device,
        Self::DeviceAuthorization,
        Self::Token,
        Self::Revoke,
        Self::Register,
        Self::Style,
    ];

    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Metadata => METADATA[0],
            Self::Keys => "/oauth/jwks",
            Self::Authorize => "/oauth/authorize",
            Self::LogIn => "/oauth/login",
            Self::LogOut => "/oauth/logout",
            Self::SignIn => "/oauth/sign_in",
            Self::SignedIn => "/oauth/callback",
            Self::Consent => "/oauth/consent",
            Self::Device => "/oauth/device",
            Self::DeviceAuthorization => "/oauth/device_authorization",
            Self::Token => "/oauth/token",
            Self::Revoke => "/oauth/revoke",
            Self::Register => "/oauth/register",
            Self::Style => "/oauth/style.css",
        }
    }

    /// How it may be asked.
    #[must_use]
    pub fn methods(self) -> &'static [Method] {
        match self {
            Self::Metadata | Self::Keys | Self::Style => &[Method::GET, Method::HEAD],
            Self::Authorize | Self::LogIn | Self::Consent | Self::Device => &[Method::GET, Method::POST],
            Self::SignIn | Self::SignedIn => &[Method::GET],
            Self::LogOut | Self::DeviceAuthorization | Self::Token | Self::Revoke | Self::Register => &[Method::POST],
        }
    }

    /// The path of the issuer that a path of the whole host asks about (RFC 8414 §3.1): `/t/acme`.
    #[must_use]
    pub fn issuer_asked_about(path: &str) -> Option<&str> {
        METADATA.iter().find_map(|place| path.strip_prefix(place)).filter(|issuer| issuer.starts_with('/'))
    }

    /// Whether browsers come here, so that what goes wrong is told on a page.
    pub(super) fn is_for_people(self) -> bool {
        matches!(self, Self::Authorize | Self::LogIn | Self::LogOut | Self::SignIn | Self::SignedIn | Self::Consent | Self::Device)
    }

    /// Which one is at a path, with the public URL's path (`base`) before it or taken away by a proxy.
    pub(super) fn of(base: &str, path: &str) -> Option<Self> {
        let is_metadata = |place: &&str| path == format!("{place}{base}") || path == format!("{base}{place}");
        if METADATA.iter().any(is_metadata) {
            return Some(Self::Metadata);
        }
        let own = path.strip_prefix(base).filter(|rest| rest.starts_with("/oauth/")).unwrap_or(path);
        if own.strip_prefix(Self::SignedIn.path()).is_some_and(|rest| rest.starts_with('/')) {
            return Some(Self::SignedIn);
        }
        let is_exact = |route: &Self| !matches!(route, Self::Metadata | Self::SignedIn) && route.path() == own;
        Self::ALL.into_iter().find(is_exact)
    }
}
