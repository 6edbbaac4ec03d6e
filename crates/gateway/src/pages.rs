//! The pages beside MCP, in one table: what is not in it is not there.

use sallyport_identity::resource_server::resource::METADATA;

/// A page beside MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The process runs and answers.
    Health,
    /// Every server that starts with the gateway has said what it offers.
    Ready,
    /// Figures, for those who may call.
    Metrics,
    /// Where tokens for an endpoint are had (RFC 9728); the endpoint's path follows.
    ResourceMetadata,
    /// What a user may grant access to; a link follows.
    Connect,
    /// The calls that wait for an approver; one of them follows.
    Approvals,
}

impl Page {
    /// Every page.
    pub const ALL: [Self; 6] = [Self::Health, Self::Ready, Self::Metrics, Self::ResourceMetadata, Self::Connect, Self::Approvals];

    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::ResourceMetadata => METADATA,
            Self::Connect => "/connect",
            Self::Approvals => "/approvals",
        }
    }

    /// The page at a path.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| match (page, path.strip_prefix(page.path())) {
            (_, Some("")) => true,
            (Self::ResourceMetadata | Self::Connect | Self::Approvals, Some(rest)) => rest.starts_with('/'),
            _ => false,
        })
    }
}
