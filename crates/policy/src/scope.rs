//! What a token is good for (OAuth 2.1 §1.4.1), from everything to one tool. What stands above another implies it:
//!
//! | scope | is good for |
//! | --- | --- |
//! | `mcp` | everything |
//! | `mcp:read` | at every server, what changes nothing |
//! | `SERVER`, `SERVER:*` | everything of one server |
//! | `SERVER:read` | of one server, what changes nothing: resources, prompts, and tools that are believed to only read |
//! | `SERVER:TOOL` | one tool; never the tool called `read`, whose scope would be another's |
//!
//! Anything else that begins with `mcp:` is good for nothing: it would read as another way to write one of the first two.

use std::fmt;
use std::sync::Arc;

use crate::{Resource, ResourceKind};

/// Most scopes of one token: far above what a person consents to, low enough that one look at each costs nothing.
const MOST: usize = 64;
/// Longest scope in bytes: a server's name (32) and a tool's (128) with room for a prefix.
const LONGEST: usize = 200;

/// The scope of everything; no server may have this name.
pub const SCOPE_OF_ALL: &str = "mcp";
/// The part of a scope that means what changes nothing.
const READ: &str = "read";

/// What one scope is good for.
enum Good<'a> {
    All,
    Reading,
    Server(&'a str),
    ReadingOf(&'a str),
    Tool(&'a str, &'a str),
    Nothing,
}

impl<'a> Good<'a> {
    fn of(scope: &'a str) -> Self {
        match scope.split_once(':') {
            None if scope == SCOPE_OF_ALL => Self::All,
            None | Some(("", _)) => Self::Server(scope),
            Some((SCOPE_OF_ALL, READ)) => Self::Reading,
            Some((SCOPE_OF_ALL, _)) => Self::Nothing,
            Some((server, "*")) => Self::Server(server),
            Some((server, READ)) => Self::ReadingOf(server),
            Some((server, tool)) => Self::Tool(server, tool),
        }
    }

    /// Whether it is enough for `resource`.
    fn is_enough(&self, resource: &Resource<'_>) -> bool {
        match *self {
            Self::All => true,
            Self::Nothing => false,
            Self::Reading => resource.is_server() || resource.changes_nothing(),
            Self::Server(server) => server == resource.server,
            // Whatever it is good for there, something of the server is.
            Self::ReadingOf(server) | Self::Tool(server, _) if resource.is_server() => server == resource.server,
            Self::ReadingOf(server) => server == resource.server && resource.changes_nothing(),
            Self::Tool(server, tool) => server == resource.server && names(resource, tool),
        }
    }

    /// Whether whatever the other is good for, this is too.
    fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, other) => !matches!(other, Self::Nothing),
            (Self::Reading, Self::Reading | Self::ReadingOf(_)) => true,
            (Self::Server(own), Self::Server(server) | Self::ReadingOf(server) | Self::Tool(server, _)) => own == server,
            (Self::ReadingOf(own), Self::ReadingOf(server)) => own == server,
            (Self::Tool(own, tool), Self::Tool(server, other)) => (own, tool) == (server, other),
            _ => false,
        }
    }
}

/// Whether who holds one scope may have the other. What is good for nothing implies nothing, and is implied by nothing.
#[must_use]
pub fn implies(held: &str, asked: &str) -> bool {
    Good::of(held).implies(&Good::of(asked))
}

/// Whether `part` of a scope names this very tool.
fn names(resource: &Resource<'_>, part: &str) -> bool {
    resource.kind == ResourceKind::Tool && resource.name == part
}

/// Whether a tool's name can stand in a scope (RFC 6749 §3.3).
fn is_scope_part(name: &str) -> bool {
    (1..=LONGEST - 64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// The scopes of a token, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(Arc<[Arc<str>]>);

impl Scopes {
    /// Reads the form on the wire: scopes with one space between them (RFC 6749 §3.3). `None` if one of them has a character that none may
    /// have, is too long, or there are too many.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut scopes: Vec<Arc<str>> = Vec::new();
        for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
            let fits = scope.len() <= LONGEST && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
            if !fits || scopes.len() == MOST {
                return None;
            }
            scopes.push(scope.into());
        }
        scopes.sort_unstable();
        scopes.dedup();
        Some(Self(scopes.into()))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|scope| &**scope)
    }

    /// Whether this very scope is among them.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(scope)).is_ok()
    }

    /// The least scope that is missing for `resource`; `None` where these are enough.
    #[must_use]
    pub fn missing(&self, resource: &Resource<'_>) -> Option<String> {
        let (server, reads) = (resource.server, resource.changes_nothing());
        if self.iter().any(|scope| Good::of(scope).is_enough(resource)) {
            return None;
        }
        let has_own = resource.kind == ResourceKind::Tool && resource.name != READ && resource.name != "*" && is_scope_part(resource.name);
        Some(match (has_own, reads) {
            (true, _) => format!("{server}:{}", resource.name),
            (false, true) => format!("{server}:{READ}"),
            (false, false) => server.to_owned(),
        })
    }

    /// One that is good for nothing: something else was meant by it.
    #[must_use]
    pub fn idle(&self) -> Option<&str> {
        self.iter().find(|scope| matches!(Good::of(scope), Good::Nothing))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scopes {
    /// As on the wire.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(index, scope)| write!(out, "{}{scope}", if index == 0 { "" } else { " " }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn they_are_read_as_they_are_written() {
        let scopes = Scopes::parse("git:log  files:* git:log").unwrap();
        assert_eq!(scopes.to_string(), "files:* git:log");
        assert!(scopes.has("git:log") && !scopes.has("git"));
        assert!(Scopes::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_broad_scope_implies_the_narrow_ones() {
        let missing = |scopes: &str, resource: &Resource<'_>| Scopes::parse(scopes).unwrap().missing(resource);
        let (write, reading) = (Resource::tool("files", "write", None, true), Resource::tool("files", "list", Some(true), true));
        let claims = Resource::tool("files", "list", Some(true), false);
        let misnamed = Resource::tool("files", "read", None, true);
        for scopes in ["mcp", "files", "files:*", "other files:write", "files:write"] {
            assert_eq!(missing(scopes, &write), None, "{scopes}");
        }
        for scopes in ["", "mcp:read", "files:read", "files:list", "other", "file", "files:writ", "mcp:write", "FILES", "files:write:x"] {
            assert_eq!(missing(scopes, &write).as_deref(), Some("files:write"), "{scopes}");
        }
        for scopes in ["mcp", "mcp:read", "files:read", "files:list"] {
            assert_eq!(missing(scopes, &reading), None, "{scopes}");
            assert_eq!(missing(scopes, &Resource::resource("files", "file:///a")).is_some(), scopes == "files:list");
        }
        assert_eq!(missing("files:read", &claims).as_deref(), Some("files:list"), "its server is not believed");
        assert_eq!(missing("files:read", &misnamed).as_deref(), Some("files"), "a tool of this name is not what only reads");
        assert_eq!(missing("", &Resource::prompt("files", "p")).as_deref(), Some("files:read"));
        assert_eq!(missing("files:read files:vendor/do", &Resource::method("files", "vendor/do")).as_deref(), Some("files"));
        assert_eq!(missing("", &Resource::tool("files", "two words", None, true)).as_deref(), Some("files"));
    }

    #[test]
    fn who_may_have_anything_of_a_server_may_know_that_it_is_there() {
        let known = |scopes: &str| Scopes::parse(scopes).unwrap().missing(&Resource::server("files")).is_none();
        for scopes in ["mcp", "mcp:read", "files", "files:*", "files:read", "files:write", "other files:write"] {
            assert!(known(scopes), "{scopes}");
        }
        for scopes in ["", "other", "other:read", "other:*", "mcp:files", "mcp:*", "file"] {
            assert!(!known(scopes), "{scopes}");
        }
    }

    #[test]
    fn what_implies_another_is_enough_wherever_that_is() {
        let scopes = ["mcp", "mcp:read", "mcp:*", "mcp:write", "files", "files:*", "files:read", "files:write", "git:read", "git:write"];
        let resources = [
            Resource::tool("files", "write", None, true),
            Resource::tool("files", "list", Some(true), true),
            Resource::tool("git", "write", None, true),
            Resource::prompt("git", "p"),
            Resource::method("files", "vendor/do"),
            Resource::tool("mcp", "x", Some(true), true),
        ];
        let enough = |scope: &str, resource: &Resource<'_>| Scopes::parse(scope).unwrap().missing(resource).is_none();
        for (held, asked) in scopes.iter().flat_map(|held| scopes.iter().map(move |asked| (held, asked))) {
            let widens = resources.iter().find(|resource| enough(asked, resource) && !enough(held, resource));
            assert!(!implies(held, asked) || widens.is_none(), "{held} {asked}");
        }
        for (held, asked) in [("mcp", "mcp:read"), ("mcp:read", "files:read"), ("files:*", "files"), ("files", "files:write")] {
            assert!(implies(held, asked), "{held} {asked}");
        }
        for (held, asked) in
            [("mcp:*", "mcp"), ("mcp:*", "mcp:read"), ("mcp", "mcp:*"), ("mcp:read", "files:list"), ("files:read", "files"), ("a", "ab")]
        {
            assert!(!implies(held, asked), "{held} {asked}");
        }
        assert_eq!(Scopes::parse("files mcp:*").unwrap().idle(), Some("mcp:*"));
    }

    #[test]
    fn what_is_no_scope_makes_all_of_them_none() {
        for text in ["a\"b", "a\\b", "a\tb", "ä", &"x".repeat(201), &(0..65).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")]
        {
            assert_eq!(Scopes::parse(text), None, "{text}");
        }
    }
}
