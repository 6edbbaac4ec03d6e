//! Which door a path leads to.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use sallyport_protocol::Endpoint;

/// The doors of every endpoint, by the last part of their paths: Streamable HTTP, and the two of HTTP+SSE.
pub const DOORS: [&str; 3] = [MCP, SSE, MESSAGES];
const MCP: &str = "mcp";
const SSE: &str = "sse";
const MESSAGES: &str = "messages";

/// What the paths of all tenants begin with.
const TENANTS: &str = "/t/";

/// Which door a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Streamable HTTP, both eras.
    Mcp(Endpoint),
    /// The stream of HTTP+SSE.
    Sse(Endpoint),
    /// Where clients of HTTP+SSE post their messages.
    Messages(Endpoint),
    /// None of ours.
    Other,
}

impl Route {
    /// Reads a path.
    pub(crate) fn of(path: &str) -> Self {
        let Some((endpoint, door)) = split(path) else { return Self::Other };
        match door {
            MCP => Self::Mcp(endpoint),
            SSE => Self::Sse(endpoint),
            MESSAGES => Self::Messages(endpoint),
            _ => Self::Other,
        }
    }
}

/// The tenant that a path names (`/t/NAME/…`), and what is left of the path. A name is not unescaped: none that can be configured needs it.
pub(crate) fn split_tenant(path: &str) -> (Option<Arc<str>>, &str) {
    let split = || {
        let rest = path.strip_prefix(TENANTS)?;
        let at = rest.find('/').filter(|at| *at > 0)?;
        rest.split_at_checked(at)
    };
    match split() {
        Some((name, rest)) => (Some(name.into()), rest),
        None => (None, path),
    }
}

fn split(path: &str) -> Option<(Endpoint, &str)> {
    let path = path.strip_prefix('/')?;
    let Some((kind, rest)) = path.split_once('/') else { return Some((Endpoint::All, path)) };
    let (name, door) = rest.split_once('/')?;
    let name: Arc<str> = percent_decode_str(name).decode_utf8().ok().filter(|name| !name.is_empty())?.into();
    match kind {
        "servers" => Some((Endpoint::Server(name), door)),
        "toolsets" => Some((Endpoint::Toolset(name), door)),
        _ => None,
    }
}

/// Where a client of HTTP+SSE at this path posts its messages: beside it.
pub(crate) fn messages_beside(path: &str) -> String {
    format!("{}{MESSAGES}", path.strip_suffix(SSE).unwrap_or("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_door_and_an_endpoint() {
        let server = |name: &str| Endpoint::Server(name.into());
        assert_eq!(Route::of("/mcp"), Route::Mcp(Endpoint::All));
        assert_eq!(Route::of("/servers/git/mcp"), Route::Mcp(server("git")));
        assert_eq!(Route::of("/servers/a%20b/sse"), Route::Sse(server("a b")));
        assert_eq!(Route::of("/toolsets/review/messages"), Route::Messages(Endpoint::Toolset("review".into())));
        for other in
            ["", "/", "mcp", "/mcp/", "/servers//mcp", "/servers/a/b/mcp", "/healthz", "/servers/%ff/mcp", "/x/git/mcp", "/servers/git"]
        {
            assert_eq!(Route::of(other), Route::Other, "{other}");
        }
        assert_eq!(messages_beside("/servers/git/sse"), "/servers/git/messages");
        assert_eq!(messages_beside("/t/acme/sse"), "/t/acme/messages");
    }

    #[test]
    fn a_path_may_name_a_tenant() {
        for (path, tenant, rest) in [
            ("/t/acme/mcp", Some("acme"), "/mcp"),
            ("/t/acme/servers/git/mcp", Some("acme"), "/servers/git/mcp"),
            ("/t/acme/t/acme/mcp", Some("acme"), "/t/acme/mcp"),
            ("/t/a%2Fb/mcp", Some("a%2Fb"), "/mcp"),
            ("/t//mcp", None, "/t//mcp"),
            ("/t/acme", None, "/t/acme"),
            ("/T/acme/mcp", None, "/T/acme/mcp"),
            ("/mcp", None, "/mcp"),
        ] {
            assert_eq!(split_tenant(path), (tenant.map(Arc::from), rest), "{path}");
        }
    }
}
