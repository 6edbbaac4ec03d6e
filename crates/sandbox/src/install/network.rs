//! The only network of an installation: the registries that the user's own settings name, and the proxies on the way to them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::net::lookup_host;

use super::Source;
use super::settings::Settings;
use crate::egress::{Allowed, Block, Destination, Hosts, Name, is_public};
use crate::profile::Network;

/// A host that a setting names, with its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Remote {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Where the packages of an index lie that has them elsewhere.
const FILES_OF: &[(&str, &str)] =
    &[("pypi.org", "files.pythonhosted.org"), ("test.pypi.org", "test-files.pythonhosted.org"), ("index.crates.io", "static.crates.io")];

impl Source {
    /// The registry that its package managers use when no setting names another. An image names its own.
    fn registry(self) -> Option<&'static str> {
        match self {
            Self::Npm => Some("registry.npmjs.org"),
            Self::PyPi => Some("pypi.org"),
            Self::Cargo => Some("index.crates.io"),
            Self::Oci => None,
        }
    }
}

impl Remote {
    /// All hosts of the `http://` and `https://` URLs in `text`.
    pub(super) fn all_in(text: &str) -> impl Iterator<Item = Self> {
        let schemes = [("http://", 80), ("https://", 443)];
        schemes.into_iter().flat_map(move |(scheme, port)| text.split(scheme).skip(1).filter_map(move |rest| Self::read(rest, port)))
    }

    /// `[USER[:PASSWORD]@]HOST[:PORT]` at the start of `text`.
    pub(super) fn read(text: &str, usual_port: u16) -> Option<Self> {
        let end = text.find(|character: char| "/?#\"' ,;\t\n]})".contains(character) && character != ']').unwrap_or(text.len());
        let authority = text.get(..end)?;
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => v6.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Some(usual_port), |port| port.parse().ok())?;
        (!host.is_empty() && port != 0).then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

/// The network for `source` under these settings. What the names resolve to now may be dialled even where it is not public: a registry
/// or a proxy of one's own network is named by one's own settings.
pub(super) async fn of(source: Source, settings: &Settings) -> Network {
    let mut remotes = settings.remotes.clone();
    let usual = source.registry().filter(|_| !settings.names_registry);
    remotes.extend(usual.map(|host| Remote { host: host.to_owned(), port: 443 }));
    for (index, files) in FILES_OF {
        if remotes.iter().any(|remote| remote.host == *index) {
            remotes.insert(Remote { host: (*files).to_owned(), port: 443 });
        }
    }
    let mut hosts = BTreeSet::new();
    for remote in remotes {
        hosts.extend(reached(&remote).await.into_iter().map(|host| (host, remote.port)));
    }
    let destinations = hosts.into_iter().map(|(hosts, port)| Destination { hosts, ports: vec![port] }).collect();
    match Allowed::new(destinations) {
        Ok(allowed) => Network::Only(allowed),
        Err(error) => {
            tracing::warn!("the package manager's settings name too many registries: {error}");
            Network::None
        }
    }
}

/// The host by name, and its addresses where they are not anybody's on the internet.
async fn reached(remote: &Remote) -> Vec<Hosts> {
    if let Ok(address) = remote.host.parse::<IpAddr>() {
        return vec![Hosts::Addresses(Block::single(address.to_canonical()))];
    }
    let Some(name) = Name::new(&remote.host) else { return Vec::new() };
    let found = lookup_host((remote.host.as_str(), remote.port)).await;
    // A name that cannot be resolved is the package manager's to complain about.
    let addresses = found.into_iter().flatten().map(|address| address.ip().to_canonical());
    let own = addresses.filter(|address| !is_public(*address)).map(|address| Hosts::Addresses(Block::single(address)));
    // Inside, `localhost` is an address.
    let by_name = (!name.is_localhost()).then_some(Hosts::Exact(name));
    own.chain(by_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        Remote::all_in(text).map(|remote| format!("{}:{}", remote.host, remote.port)).collect()
    }

    #[test]
    fn hosts_are_found_wherever_a_setting_has_a_url() {
        for (text, expected) in [
            ("https://npm.example/path", &["npm.example:443"][..]),
            ("https://user:to%40ken@Index.example:8443/simple/", &["index.example:8443"]),
            ("http://127.0.0.1:4873", &["127.0.0.1:4873"]),
            ("http://[::1]:4873/", &["::1:4873"]),
            ("sparse+https://crates.example/index/", &["crates.example:443"]),
            ("[{ url = \"https://a.example/simple\" }, { url = \"https://b.example\" }]", &["a.example:443", "b.example:443"]),
            ("https://a.example https://b.example", &["a.example:443", "b.example:443"]),
            ("/opt/wheels", &[]),
            ("https://", &[]),
            ("https://a.example:none/", &[]),
            ("https://a.example:0/", &[]),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
    }

    async fn network(names_registry: bool, remotes: &[(&str, u16)]) -> Vec<String> {
        let remotes = remotes.iter().map(|(host, port)| Remote { host: (*host).to_owned(), port: *port }).collect();
        let settings = Settings { names_registry, remotes, ..Settings::default() };
        match of(Source::PyPi, &settings).await {
            Network::Only(allowed) => allowed.destinations().iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_the_settings_name_is_reached_and_nothing_else() {
        assert_eq!(network(true, &[("127.0.0.1", 3141)]).await, ["127.0.0.1:3141"]);
        assert!(network(true, &[("localhost", 3141)]).await.contains(&"127.0.0.1:3141".to_owned()));
        // The usual registry, and where it has its files; where they resolve to is the machine's business.
        let usual = network(false, &[]).await;
        assert!(["pypi.org:443", "files.pythonhosted.org:443"].iter().all(|host| usual.contains(&(*host).to_owned())), "{usual:?}");
    }
}
