//! The only network of an installation: the registries that the user's own settings name, and the proxies on the way to them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::net::lookup_host;

use super::Source;
use super::nearness::Nearness;
use super::settings::Settings;
use crate::egress::{Allowed, Block, Destination, Hosts, Name};
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

/// The network for `source` under these settings. A registry or a proxy of one's own network is named by one's own settings: what such a
/// name resolves to now may be dialled.
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
        let is_named = settings.remotes.contains(&remote);
        hosts.extend(reached(&remote, is_named).await.into_iter().map(|host| (host, remote.port)));
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

/// The host by name, and its addresses where it is one of one's own network, which only the settings can name.
async fn reached(remote: &Remote, is_named: bool) -> Vec<Hosts> {
    if let Ok(address) = remote.host.parse::<IpAddr>() {
        return vec![Hosts::Addresses(Block::single(address.to_canonical()))];
    }
    let Some(name) = Name::new(&remote.host) else { return Vec::new() };
    let found = lookup_host((remote.host.as_str(), remote.port)).await;
    // A name that cannot be resolved is the package manager's to complain about.
    let addresses: Vec<IpAddr> = found.into_iter().flatten().map(|address| address.ip().to_canonical()).collect();
    let own = if is_named && !is_everybodys(&name) { own(&addresses) } else { Vec::new() };
    if own.is_empty() && !addresses.iter().any(|address| Nearness::of(*address) == Nearness::Public) {
        tracing::warn!(registry = name.as_str(), ?addresses, "its name leads to no public address: nothing is fetched from it");
    }
    // Inside, `localhost` is an address.
    let by_name = (!name.is_localhost()).then_some(Hosts::Exact(name));
    own.into_iter().map(|address| Hosts::Addresses(Block::single(address))).chain(by_name).collect()
}

/// Whether it is the name of a registry for all, which lies on the internet whoever names it.
fn is_everybodys(name: &Name) -> bool {
    let registries = Source::ALL.into_iter().filter_map(Source::registry);
    let files = FILES_OF.iter().flat_map(|(index, files)| [*index, *files]);
    registries.chain(files).any(|known| known == name.as_str())
}

/// Of a name's addresses those of one's own network. None where it has a public one, too: whoever runs a name on the internet could lead
/// into one's own network by one more address. None of the link either: a cloud's metadata is there, and no registry.
fn own(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let near = |address: &&IpAddr| matches!(Nearness::of(**address), Nearness::Private | Nearness::Loopback);
    match addresses.iter().any(|address| Nearness::of(*address) == Nearness::Public) {
        true => Vec::new(),
        false => addresses.iter().filter(near).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
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
        // The usual registry, and where it has its files; wherever they resolve to.
        let usual = network(false, &[]).await;
        assert_eq!(usual, ["files.pythonhosted.org:443", "pypi.org:443"]);
        // The same where a setting names it.
        assert_eq!(network(true, &[("pypi.org", 443)]).await, usual);
    }

    #[test]
    fn a_name_leads_into_ones_own_network_only_where_it_leads_nowhere_else() {
        let own = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            super::own(&addresses).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(own(&["10.0.0.1", "fd00::1", "127.0.0.1"]), ["10.0.0.1", "fd00::1", "127.0.0.1"]);
        assert!(own(&["10.0.0.1", "93.184.215.14"]).is_empty() && own(&["93.184.215.14"]).is_empty());
        assert!(own(&["169.254.169.254", "fe80::1", "0.0.0.0", "100.100.100.200"]).is_empty());
    }
}
