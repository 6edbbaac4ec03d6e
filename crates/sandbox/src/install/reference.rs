//! How an image of a registry is named: `HOST[:PORT]/NAME[:TAG][@DIGEST]`.

use std::fmt;

/// Characters of a repository's name; registries hold to it because of what a path may be.
const NAME_CHARACTERS: usize = 255;

/// Characters of a tag (distribution specification, "pulling manifests").
const TAG_CHARACTERS: usize = 128;

/// Characters of a digest that are shown as its beginning, as container engines do.
const SHOWN_CHARACTERS: usize = 12;

/// The tag of whoever names none.
const USUAL_TAG: &str = "latest";

/// An image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The registry's host, with a port if one is named.
    pub(super) registry: String,
    /// The name in there.
    pub(super) repository: String,
    /// What it is called now.
    tag: Option<String>,
    /// What it is. Counts before the tag.
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Reads a whole reference; one without a registry is none, because each engine takes another one then.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest)),
            None => (text, None),
        };
        let (registry, path) = text.split_once('/')?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let fits = is_registry(registry) && is_repository(repository) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        fits.then(|| Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// The same as docker reads it, which takes its own registry where none is named.
    pub(super) fn read_as_docker_does(text: &str) -> Option<Self> {
        let names_registry = text.split_once('/').is_some_and(|(first, _)| is_registry(first));
        match (names_registry, text.contains('/')) {
            (true, _) => Self::read(text),
            (false, true) => Self::read(&format!("docker.io/{text}")),
            (false, false) => Self::read(&format!("docker.io/library/{text}")),
        }
    }

    /// Its name without what it is now.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The host to ask.
    pub(super) fn host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        }
    }

    /// What to ask for: a digest or a tag.
    pub(super) fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or(USUAL_TAG)
    }

    /// What one of its states is called: tags move, so the digest's beginning is part of it.
    pub(super) fn version(&self, digest: &str) -> String {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let short = hex.get(..SHOWN_CHARACTERS).unwrap_or(hex);
        match (&self.tag, &self.digest) {
            (None, Some(_)) => format!("sha256:{short}"),
            (tag, _) => format!("{}@sha256:{short}", tag.as_deref().unwrap_or(USUAL_TAG)),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// A digest by SHA-256, the one that every registry has.
pub(super) fn is_digest(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

/// A host, told apart from the first part of a name as engines do: by a dot, a port, or being this machine.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let is_host = host.starts_with(|first: char| first.is_ascii_alphanumeric()) && host.bytes().all(of_host);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    is_host && is_port && (port.is_some() || host.contains('.') || host == "localhost")
}

fn is_repository(text: &str) -> bool {
    let of_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let at_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_part = |part: &str| part.bytes().all(of_part) && at_end(part.bytes().next()) && at_end(part.bytes().last());
    text.len() <= NAME_CHARACTERS && text.split('/').all(is_part)
}

fn is_tag(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    begins && text.len() <= TAG_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn read(text: &str) -> Reference {
        Reference::read(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn references_are_read_and_written() {
        for (text, host, repository, wanted) in [
            ("registry.example.com/team/server:1.2", "registry.example.com", "team/server", "1.2"),
            ("localhost:5000/server", "localhost:5000", "server", "latest"),
            ("localhost/a/b_c-d.e", "localhost", "a/b_c-d.e", "latest"),
            ("docker.io/library/alpine:3", "registry-1.docker.io", "library/alpine", "3"),
            (&format!("ghcr.io/a/b@{DIGEST}"), "ghcr.io", "a/b", DIGEST),
            (&format!("ghcr.io/a/b:1@{DIGEST}"), "ghcr.io", "a/b", DIGEST),
        ] {
            let reference = read(text);
            let seen = (reference.host(), reference.repository.as_str(), reference.wanted(), reference.to_string());
            assert_eq!(seen, (host, repository, wanted, text.to_owned()));
        }
    }

    #[test]
    fn what_is_none_is_not_read() {
        for text in [
            "",
            "alpine",
            "team/server",
            "https://registry.example.com/a",
            "registry.example.com/",
            "registry.example.com/../a",
            "registry.example.com/a/../b",
            "registry.example.com/A",
            "registry.example.com/a:",
            "registry.example.com/a:1:2",
            "registry.example.com/a@sha256:0123",
            "registry.example.com/a?x=1",
            "registry.example.com:0/a",
            "registry.example.com:99999/a",
            "user:password@registry.example.com/a",
            "[::1]:5000/a",
            "a b.example/x",
        ] {
            assert_eq!(Reference::read(text), None, "{text}");
        }
    }

    #[test]
    fn docker_takes_its_own_registry_where_none_is_named() {
        let read = |text| Reference::read_as_docker_does(text).map(|reference| reference.to_string());
        assert_eq!(read("alpine").as_deref(), Some("docker.io/library/alpine"));
        assert_eq!(read("mcp/time:1").as_deref(), Some("docker.io/mcp/time:1"));
        assert_eq!(read("ghcr.io/a/b").as_deref(), Some("ghcr.io/a/b"));
        assert_eq!(read("localhost:5000/b").as_deref(), Some("localhost:5000/b"));
    }

    #[test]
    fn a_version_tells_the_digest() {
        assert_eq!(read("a.example/x:1").version(DIGEST), "1@sha256:0123456789ab");
        assert_eq!(read("a.example/x").version(DIGEST), "latest@sha256:0123456789ab");
        assert_eq!(read(&format!("a.example/x@{DIGEST}")).version(DIGEST), "sha256:0123456789ab");
    }
}
